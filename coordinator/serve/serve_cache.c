#include "serve/serve_cache.h"

#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "err.h"
#include "cache/layer_cache.h"
#include "cache/layer_cache_list.h"
#include "layer_spec.h"
#include "log.h"
#include "own.h"
#include "quiet_thread.h"

/* Blobs that are suspect while nobody refers to them; beyond that they go. */
#define DOUBTS_MAX 65536

/* A blob that somebody refers to, or that is suspect. */
struct blob {
	struct digest digest;
	size_t refs;
	bool doubted;
};

struct serve_cache {
	struct layer_cache *cache;
	void *blobs; /* a tree of struct blob */
	size_t n_doubts;
	uint64_t max_bytes;
	int64_t prune_at;
	pthread_t thread;
	bool started;
	atomic_bool pruning; /* the thread works */
};

int
serve_cache_open(const char *folder, uint64_t max_bytes,
    struct serve_cache **out, struct err *e)
{
	struct serve_cache *c;

	if ((c = calloc(1, sizeof(*c))) == NULL)
		return err_set(e, ERR_FATAL, errno, "layer cache");
	c->max_bytes = max_bytes;
	if (layer_cache_open(folder, &c->cache, e) < 0) {
		free(c);
		return -1;
	}
	*out = c;
	return 0;
}

static void
join(struct serve_cache *c)
{
	if (c->started)
		pthread_join(c->thread, NULL);
	c->started = false;
}

void
serve_cache_free(struct serve_cache *c)
{
	if (c == NULL)
		return;
	join(c);
	tdestroy(c->blobs, free);
	layer_cache_free(c->cache);
	free(c);
}

const char *
serve_cache_blobs(const struct serve_cache *c)
{
	return layer_cache_blobs(c->cache);
}

const char *
serve_cache_pins(const struct serve_cache *c)
{
	return layer_cache_pins(c->cache);
}

static int
compare(const void *a, const void *b)
{
	const struct blob *x = a, *y = b;

	return memcmp(x->digest.b, y->digest.b, DIGEST_SIZE);
}

static struct blob *
find(struct serve_cache *c, const struct digest *digest)
{
	const struct blob key = {.digest = *digest};
	struct blob **at = tfind(&key, &c->blobs, compare);

	return at == NULL ? NULL : *at;
}

/* NULL: out of memory. */
static struct blob *
take(struct serve_cache *c, const struct digest *digest)
{
	struct blob *b = find(c, digest);

	if (b != NULL || (b = calloc(1, sizeof(*b))) == NULL)
		return b;
	b->digest = *digest;
	if (tsearch(b, &c->blobs, compare) == NULL)
		own_freep(&b);
	return b;
}

static void
set_doubt(struct serve_cache *c, struct blob *b, bool doubted)
{
	c->n_doubts -= b->doubted;
	b->doubted = doubted;
	c->n_doubts += b->doubted;
}

/* Forgets one of which there is nothing to know. */
static void
let_go(struct serve_cache *c, struct blob *b)
{
	if (b->refs > 0)
		return;
	layer_cache_unpin_blob(c->cache, &b->digest);
	if (b->doubted)
		return;
	tdelete(b, &c->blobs, compare);
	free(b);
}

enum serve_found
serve_cache_find(struct serve_cache *c, const struct digest *key, bool verified,
    struct layer_result *out)
{
	AUTO(own_freep) char *file = NULL;
	struct blob *b;

	if (!layer_cache_find(c->cache, key, verified, out, &file))
		return SERVE_MISSING;
	/* Out of memory: it is pinned for longer than need be. */
	if ((b = take(c, &out->digest)) == NULL)
		return SERVE_MISSING;
	b->refs++;
	return b->doubted ? SERVE_SUSPECT : SERVE_FOUND;
}

int
serve_cache_put(struct serve_cache *c, const struct digest *key,
    const struct layer_result *result, bool verified, struct err *e)
{
	const struct layer_record record = {result, verified};
	struct blob *b;

	if ((b = take(c, &result->digest)) == NULL)
		return err_set(e, ERR_FATAL, errno, "layer cache");
	b->refs++;
	if (layer_cache_put(c->cache, key, &record, e) < 0) {
		serve_cache_drop(c, &result->digest);
		return -1;
	}
	return 0;
}

void
serve_cache_refer(struct serve_cache *c, const struct digest *digest)
{
	struct blob *b = find(c, digest);

	if (b != NULL)
		b->refs++;
}

void
serve_cache_drop(struct serve_cache *c, const struct digest *digest)
{
	struct blob *b = find(c, digest);

	if (b == NULL || b->refs == 0)
		return;
	b->refs--;
	let_go(c, b);
}

void
serve_cache_doubt(struct serve_cache *c, const struct digest *digest)
{
	struct blob *b = find(c, digest);

	if (b == NULL)
		return;
	if (c->n_doubts < DOUBTS_MAX)
		set_doubt(c, b, true);
	else
		layer_cache_remove(c->cache, NULL, digest);
}

void
serve_cache_trust(struct serve_cache *c, const struct digest *digest)
{
	struct blob *b = find(c, digest);

	if (b != NULL)
		set_doubt(c, b, false);
}

void
serve_cache_condemn(struct serve_cache *c, const struct digest *key,
    const struct digest *digest)
{
	layer_cache_remove(c->cache, key, digest);
	serve_cache_trust(c, digest);
}

static void *
prune(void *arg)
{
	struct serve_cache *c = arg;
	const struct layer_cache_bounds bounds = {
	    .bytes = c->max_bytes, .unused = -1};
	struct layer_cache_pruned gone;
	struct err e = ERR_INIT;

	if (layer_cache_prune(
		layer_cache_folder(c->cache), &bounds, &gone, &e) < 0)
		log_line(LOG_WARNING, "%s", e.text);
	else if (gone.records > 0)
		log_line(
		    LOG_INFO, "layer cache: %zu layers removed", gone.records);
	atomic_store(&c->pruning, false);
	return NULL;
}

void
serve_cache_tick(struct serve_cache *c, int64_t now)
{
	if (now < c->prune_at || atomic_load(&c->pruning))
		return;
	join(c);
	c->prune_at = now + SERVE_CACHE_PRUNE_MS;
	atomic_store(&c->pruning, true);
	if (quiet_thread(&c->thread, prune, c) == 0)
		c->started = true;
	else
		atomic_store(&c->pruning, false);
}
