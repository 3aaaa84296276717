#include "dispatch/dispatch_state.h"

#include <string.h>

#include "transfer/blob_fetch.h"
#include "curve_key.h"
#include "dispatch/dispatch.h"
#include "encoding.h"
#include "err.h"
#include "dispatch/key_list.h"
#include "dispatch/launch.h"
#include "log.h"
#include "monotime.h"
#include "own.h"
#include "protocol.h"
#include "dispatch/zap.h"

/* Who may join; *listed: how many the operator lists. */
static int
read_keys(const struct dispatch *d, struct key_list **out, size_t *listed,
    struct err *e)
{
	AUTO(key_list_freep) struct key_list *list = NULL;

	if (d->keys_path == NULL ? key_list_new(&list, e) < 0
				 : key_list_read(d->keys_path, &list, e) < 0)
		return -1;
	*listed = key_list_count(list);
	if (d->launch_key != NULL &&
	    key_list_add(list, d->launch_key, "launch", e) < 0)
		return -1;
	*out = STEAL(&list);
	return 0;
}

int
dispatch_remote_open(
    struct dispatch *d, const struct dispatch_config *config, struct err *e)
{
	const struct link_keys keys = {
	    .own = config->key, .plain = config->plain};
	AUTO(key_list_freep) struct key_list *list = NULL;
	size_t listed;

	if (config->listen == NULL)
		return 0;
	d->min_workers = config->min_workers;
	d->keys_path = config->keys;
	if (config->launch != NULL)
		d->launch_key = launch_public_key(config->launch);
	if (config->key != NULL) {
		if (read_keys(d, &list, &listed, e) < 0)
			return err_ctx(e, "--workers-keys");
		if (listed == 0 && config->keys != NULL)
			log_line(LOG_WARNING,
			    "--workers-keys %s: no key is in it yet, so nobody "
			    "can join",
			    config->keys);
		if (zap_start(d->ctx, &list, &d->zap, e) < 0)
			return -1;
	}
	if (link_listen(d->ctx, config->listen, &keys, &d->remote, e) < 0)
		return err_ctx(e, "--listen");
	if (dispatch_blobs_open(d, config, &keys, e) < 0)
		return err_ctx(e, "--listen");
	log_line(LOG_INFO, "workers may join at %s (and %s)",
	    link_endpoint(d->remote), blob_fetch_endpoint(d->fetch));
	return 0;
}

void
dispatch_remote_close(struct dispatch *d)
{
	dispatch_blobs_close(d);
	link_close(d->remote, 2000); /* BYE has to get there */
	d->remote = NULL;
	zap_stop(d->zap);
	d->zap = NULL;
}

/* What makes the bytes of blobs, by the worker's own words; "" if nothing. */
static const char *
encoder_of(enum encoding_kind kind, const struct msg_hello *hello)
{
	switch (kind) {
	case ENCODING_GZIP:
		return hello->gzip;
	case ENCODING_ZSTD:
		return hello->zstd;
	case ENCODING_NONE:
		break;
	}
	return "";
}

/* NULL: its encoders are everybody's. */
static const char *
compare_encoders(
    struct dispatch *d, const struct msg_hello *hello, char *text, size_t size)
{
	for (size_t i = 0; i < ENCODING_KINDS; i++) {
		const char *encoder = encoder_of((enum encoding_kind)i, hello);

		if (!d->encodes[i])
			continue;
		if (d->encoder[i][0] == '\0')
			snprintf(d->encoder[i], sizeof(d->encoder[i]), "%s",
			    encoder);
		if (strcmp(d->encoder[i], encoder) == 0)
			continue;
		snprintf(text, size,
		    "it would make other bytes: its encoder is %s, this "
		    "build's is %s",
		    encoder, d->encoder[i]);
		return text;
	}
	return NULL;
}

const char *
dispatch_remote_refusal(struct dispatch *d, const struct link_peer *p,
    const struct msg_hello *hello, char *text, size_t size)
{
	if (p != NULL && d->zap != NULL &&
	    !zap_allows(d->zap, p->key, NULL, 0)) {
		snprintf(text, size, "its key is not listed any more");
		return text;
	}
	return compare_encoders(d, hello, text, size);
}

void
dispatch_remote_reload(struct dispatch *d)
{
	AUTO(key_list_freep) struct key_list *list = NULL;
	struct err e = ERR_INIT;
	size_t listed;

	if (d->zap == NULL)
		return;
	if (read_keys(d, &list, &listed, &e) < 0) {
		log_line(LOG_WARNING, "the keys stay as they were: %s", e.text);
		return;
	}
	log_line(LOG_INFO, "%zu keys may join", listed);
	zap_replace(d->zap, &list);
	for (size_t i = d->n_peers; i-- > 0;) {
		struct peer *p = &d->peer[i];

		if (p->via != d->remote ||
		    zap_allows(d->zap, p->link.key, NULL, 0))
			continue;
		log_line(LOG_WARNING,
		    "worker %s: its key is not listed any more: its jobs go "
		    "elsewhere",
		    p->name);
		peer_gone(d, p, "its key was taken off the list");
	}
}
