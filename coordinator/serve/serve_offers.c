#include "serve/serve_state.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "transfer/blob_offer.h"
#include "err.h"
#include "log.h"
#include "own.h"
#include "serve/serve_cache.h"

/* Of a client: layers, and their bytes, which stay on the disk for it. */
#define OFFERS_MAX 4096
#define OFFER_BYTES_MAX ((uint64_t)64 << 30)
/* Of all clients; each takes about a KiB of memory. */
#define ALL_OFFERS_MAX ((size_t)1 << 18)

static int
compare(const void *a, const void *b)
{
	const struct serve_offer *x = a, *y = b;

	if (x->id.job != y->id.job)
		return x->id.job < y->id.job ? -1 : 1;
	return x->id.attempt == y->id.attempt ? 0
	    : x->id.attempt < y->id.attempt   ? -1
					      : 1;
}

struct serve_offer *
serve_offer_of(const struct serve_client *c, const struct data_id *id)
{
	const struct serve_offer key = {.id = *id};
	struct serve_offer **at = tfind(&key, &c->offer_by_id, compare);

	return at == NULL ? NULL : *at;
}

bool
serve_offered(const struct serve_client *c, const struct data_id *id)
{
	return serve_offer_of(c, id) != NULL;
}

const char *
serve_offers_refusal(const struct serve *s, const struct serve_client *c)
{
	/* What is queued will be offered, too. */
	if (c->n_offers + c->flow->n_wants >= OFFERS_MAX ||
	    c->offer_bytes >= OFFER_BYTES_MAX)
		return "this client has as many layers to fetch as it may";
	if (s->n_offers >= ALL_OFFERS_MAX)
		return "clients have as many layers to fetch as they may";
	return NULL;
}

static int
list(struct serve *s, struct serve_client *c, struct serve_offer *offer,
    struct err *e)
{
	if (tsearch(offer, &c->offer_by_id, compare) == NULL)
		return err_set(e, ERR_FATAL, errno, "offer");
	TAILQ_INSERT_TAIL(&c->offers, offer, entry);
	c->n_offers++;
	c->offer_bytes += offer->size;
	s->n_offers++;
	serve_cache_refer(s->cache, &offer->digest);
	return 0;
}

static void
end(struct serve *s, struct serve_client *c, struct serve_offer *offer)
{
	tdelete(offer, &c->offer_by_id, compare);
	TAILQ_REMOVE(&c->offers, offer, entry);
	c->n_offers--;
	c->offer_bytes -= offer->size;
	s->n_offers--;
	serve_cache_drop(s->cache, &offer->digest);
	free(offer);
}

int
serve_offer(struct serve *s, struct serve_client *c, const struct data_id *id,
    const struct layer_result *r, bool encoded, struct err *e)
{
	char hex[DIGEST_HEX_LEN + 1];
	AUTO(own_freep) char *path = NULL;
	struct blob_offer_file file = {
	    .form = encoded ? DATA_BLOB : DATA_TAR, .size = r->size};
	struct serve_offer *offer;

	digest_hex(&r->digest, hex);
	if (asprintf(&path, "%s/%s", serve_cache_pins(s->cache), hex) < 0) {
		path = NULL;
		return err_set(e, ERR_FATAL, errno, "offer");
	}
	if ((offer = calloc(1, sizeof(*offer))) == NULL)
		return err_set(e, ERR_FATAL, errno, "offer");
	offer->id = *id;
	offer->digest = r->digest;
	offer->size = r->size;
	offer->greeted = c->greeted;
	file.path = path;
	if (blob_offer_add(s->offer, c->token, id, &file, 1, e) < 0) {
		free(offer);
		return -1;
	}
	if (list(s, c, offer, e) < 0) {
		free(offer);
		return -1;
	}
	return 0;
}

void
serve_offers_clear(struct serve *s, struct serve_client *c)
{
	while (!TAILQ_EMPTY(&c->offers))
		end(s, c, TAILQ_FIRST(&c->offers));
}

int
serve_offer_cancel(struct serve *s, struct serve_client *c,
    const struct data_id *id, struct err *e)
{
	struct serve_offer *offer = serve_offer_of(c, id);

	if (offer == NULL)
		return 0;
	end(s, c, offer);
	return blob_offer_withdraw(s->offer, c->token, id, e);
}

int
serve_offer_renew(struct serve *s, struct serve_client *c,
    const struct data_id *id, struct err *e)
{
	const struct data_id before = {id->job, id->attempt - 1};
	const struct serve_offer *offer = serve_offer_of(c, &before);

	/* One of this connection is being refused, maybe: see take_event. */
	if (offer == NULL || offer->greeted == c->greeted)
		return 0;
	return serve_offer_cancel(s, c, &before, e);
}

static int
take_event(struct serve *s, const struct blob_offer_event *ev, struct err *e)
{
	struct serve_client *c = serve_client_by_token(s, ev->token);
	struct serve_offer *offer =
	    c == NULL ? NULL : serve_offer_of(c, &ev->id);

	if (ev->what == BLOB_OFFER_DROPPED && ev->err.kind != ERR_NONE) {
		*e = ev->err;
		return -1;
	}
	if (ev->what == BLOB_OFFER_FAULT && c != NULL) {
		log_line(LOG_WARNING, "%s: dropped", ev->err.text);
		c->lost = true;
	}
	if (offer == NULL)
		return 0;
	if (ev->what == BLOB_OFFER_UNREADABLE)
		log_line(LOG_WARNING, "%s", ev->err.text);
	if (ev->what == BLOB_OFFER_UNREADABLE || ev->what == BLOB_OFFER_DROPPED)
		serve_cache_doubt(s->cache, &offer->digest);
	if (ev->what == BLOB_OFFER_COMMITTED || ev->what == BLOB_OFFER_DROPPED)
		end(s, c, offer);
	return 0;
}

int
serve_offers_collect(struct serve *s, struct err *e)
{
	struct blob_offer_event ev;

	while (blob_offer_take(s->offer, &ev))
		if (take_event(s, &ev, e) < 0)
			return -1;
	return 0;
}
