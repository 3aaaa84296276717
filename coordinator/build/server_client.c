#include "build/server_client.h"

#include <stddef.h>

#include "client/client.h"
#include "dispatch/dispatch.h"
#include "encoder_version.h"
#include "err.h"
#include "options/options.h"

int
server_client_keys(
    struct server_client *s, const struct options *o, struct err *e)
{
	s->has_keys = o->key_file != NULL;
	if (!s->has_keys)
		return 0;
	if (curve_key_public(o->server_key, s->server, e) < 0)
		return err_ctx(e, "--server-key");
	if (curve_key_read(o->key_file, &s->own, e) < 0)
		return err_ctx(e, "--key");
	s->keys = (struct link_keys){.own = &s->own, .server = s->server};
	return 0;
}

int
server_client_open(struct server_client *s, const struct options *o,
    struct client_config *config, struct err *e)
{
	config->endpoint = o->coordinator;
	config->keys = s->has_keys ? &s->keys : NULL;
	return client_new(config, &s->client, e);
}

void
server_client_close(struct server_client *s)
{
	client_freep(&s->client);
	curve_key_clear(&s->own);
}

int
server_client_worker(const struct options *o,
    const struct dispatch_hooks *hooks, const struct encoding *encoding,
    struct progress *progress, struct scratch *scratch, struct dispatch **out,
    struct err *e)
{
	const struct dispatch_config config = {
	    .slots = 1,
	    .workers = 1,
	    .worker_program = o->worker_program,
	    .caches = &o->caches,
	    .progress = progress,
	    .encoding = *encoding,
	    /* The server's is the same, or it does not take us. */
	    .encoder = encoding->kind != ENCODING_NONE
		? encoder_version(encoding->kind)
		: NULL,
	    .hooks = *hooks,
	};

	return dispatch_new(&config, scratch, out, e);
}
