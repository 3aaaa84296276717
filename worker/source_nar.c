#include "source_nar.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache_fetch.h"
#include "err.h"
#include "layer_inputs.h"
#include "layer_spec.h"
#include "monotime.h"
#include "nar_hash.h"
#include "nar_reader.h"
#include "narinfo.h"
#include "own.h"
#include "store_path.h"
#include "tree_walk.h"

/* So long a cache that failed comes after those that did not. */
#define FAILED_MS 60000
/* NARs of a layer that may turn out wrong when most of them was read. */
#define REFUSALS_MAX 16
#define WHY_MAX 240

/* What became of the current item at a cache. */
struct trial {
	bool out; /* not to be asked (again) */
	char why[WHY_MAX];
};

/* A NAR that was seen to be wrong: kept for when the layer starts anew. */
struct refusal {
	size_t item, cache;
	char why[WHY_MAX];
};

struct source_nar {
	struct layer_inputs *inputs;
	const struct layer_spec *spec;
	struct cache_fetch *fetch;
	struct nar_reader *reader;
	struct sha256 *sha;

	const struct layer_item *item;
	size_t index;
	struct trial trial[CACHE_URLS_MAX];
	size_t cache; /* whose narinfo, and NAR, is the current one */
	struct narinfo info;

	const uint8_t *data; /* of the NAR, hashed but not yet read */
	size_t len;
	uint64_t size; /* bytes of the NAR so far */
	uint64_t left; /* of the current file's content */

	struct refusal refusal[REFUSALS_MAX];
	size_t n_refusals;
	bool again;
	uint64_t fetched; /* bytes of NARs, in all */
	int64_t wait_us;  /* for caches, and for decompressing */
	char notice[WHY_MAX + STORE_PATH_MAX];
	char url[CACHE_URL_MAX];
	char text[NARINFO_MAX + 1];
};

int
source_nar_new(struct layer_inputs *inputs, const struct layer_spec *spec,
    const atomic_bool *cancel, struct source_nar **out, struct err *e)
{
	AUTO(source_nar_freep) struct source_nar *s = NULL;

	if ((s = calloc(1, sizeof(*s))) == NULL)
		return err_set(e, ERR_RETRY, errno, "caches");
	s->inputs = inputs;
	s->spec = spec;
	if (cache_fetch_new(cancel, &s->fetch, e) < 0 ||
	    nar_reader_new(&s->reader, e) < 0 || sha256_new(&s->sha, e) < 0)
		return -1;
	*out = STEAL(&s);
	return 0;
}

void
source_nar_free(struct source_nar *s)
{
	if (s == NULL)
		return;
	cache_fetch_free(s->fetch);
	nar_reader_free(s->reader);
	sha256_free(s->sha);
	free(s);
}

void
source_nar_freep(struct source_nar **s)
{
	source_nar_free(*s);
	*s = NULL;
}

static const struct cache_url *
url_of(const struct source_nar *s, size_t cache)
{
	return &s->inputs->caches.url[cache];
}

/* The cache has not, or not rightly, what we want. */
static void
put_out(struct source_nar *s, size_t cache, const char *why)
{
	s->trial[cache].out = true;
	snprintf(s->trial[cache].why, WHY_MAX, "%s", why);
}

/* As put_out, and the cache itself is at fault. */
static void
blame(struct source_nar *s, size_t cache, const char *why)
{
	put_out(s, cache, why);
	atomic_store(&s->inputs->failed_at[cache], monotime_ms());
	if (s->notice[0] == '\0')
		snprintf(s->notice, sizeof(s->notice), "%s: %.*s: %s",
		    s->item->path, (int)url_of(s, cache)->len,
		    url_of(s, cache)->text, why);
}

/* What the closure says counts more than any signature. */
static int
check_info(struct source_nar *s, struct err *e)
{
	const struct layer_item *item = s->item;
	const struct narinfo *info = &s->info;
	char want[NAR_HASH_TEXT_MAX], found[NAR_HASH_TEXT_MAX];

	if (strcmp(info->store_path, item->path) != 0)
		return err_set(e, ERR_RETRY, 0,
		    "narinfo: is of another store path, %.150s",
		    info->store_path);
	nar_hash_print(&item->nar_hash, want);
	nar_hash_print(&info->nar_hash, found);
	if (item->has_hash && strcmp(want, found) != 0)
		return err_set(e, ERR_RETRY, 0,
		    "narinfo: NarHash is %s, the closure's is %s", found, want);
	if (item->has_hash && info->nar_size != item->nar_size)
		return err_set(e, ERR_RETRY, 0,
		    "narinfo: NarSize is %" PRIu64
		    ", the closure's is %" PRIu64,
		    info->nar_size, item->nar_size);
	if (s->inputs->caches.no_require_sigs)
		return 0;
	return narinfo_verify(info, s->spec->store_dir, s->inputs->caches.key,
	    s->inputs->caches.n_keys, e);
}

/* Asks one cache for the narinfo; then *found, or the trial says why not. */
static int
ask(struct source_nar *s, size_t cache, bool *found, struct err *e)
{
	char name[STORE_PATH_HASH_LEN + sizeof(".narinfo")];
	struct err why = ERR_INIT;
	size_t len;
	int rc;

	snprintf(name, sizeof(name), "%.*s.narinfo", STORE_PATH_HASH_LEN,
	    store_path_base(s->item->path));
	rc = cache_url_resolve(url_of(s, cache), name, s->url, &why);
	if (rc == 0)
		rc = cache_fetch_text(
		    s->fetch, s->url, s->text, NARINFO_MAX, &len, found, &why);
	if (rc < 0 && why.sys != ECANCELED)
		err_ctx(&why, "%s", name);
	if (rc == 0 && !*found) {
		put_out(s, cache, "has it not");
		return 0;
	}
	if (rc == 0 && (rc = narinfo_parse(s->text, len, &s->info, &why)) == 0)
		rc = check_info(s, &why);
	if (rc == 0)
		rc = cache_url_resolve(
		    url_of(s, cache), s->info.url, s->url, &why);
	*found = rc == 0;
	if (rc == 0) {
		s->cache = cache;
	} else if (why.sys == ECANCELED) {
		*e = why;
		return -1;
	} else {
		blame(s, cache, why.text);
	}
	return 0;
}

static bool
failed_lately(const struct source_nar *s, size_t cache)
{
	int64_t at = atomic_load(&s->inputs->failed_at[cache]);

	return at != 0 && monotime_ms() - at < FAILED_MS;
}

/* Finds a cache that is not out and has the item. */
static int
locate(struct source_nar *s, bool *found, struct err *e)
{
	size_t n = s->inputs->caches.n_urls;

	*found = false;
	for (int late = 0; late < 2; late++)
		for (size_t c = 0; c < n && !*found; c++)
			if (!s->trial[c].out &&
			    (late == 1 || !failed_lately(s, c)) &&
			    ask(s, c, found, e) < 0)
				return -1;
	return 0;
}

/* It is nowhere: says where it was looked for. */
static int
nowhere(const struct source_nar *s, struct err *e)
{
	char text[ERR_TEXT_MAX];
	size_t at;

	at = (size_t)snprintf(text, sizeof(text), "%s: not in %.200s%.200s",
	    s->item->path, s->spec->store_root, s->spec->store_dir);
	for (size_t c = 0; c < s->inputs->caches.n_urls && at < sizeof(text);
	     c++)
		at += (size_t)snprintf(text + at, sizeof(text) - at,
		    "; %.*s: %s", (int)url_of(s, c)->len, url_of(s, c)->text,
		    s->trial[c].why);
	return err_set(e, ERR_RETRY, 0, "%s", text);
}

/* Starts to read the NAR; false: the trial says why not. */
static int
open_nar(struct source_nar *s, bool *opened, struct err *e)
{
	struct err why = ERR_INIT;
	int rc;

	rc = cache_fetch_open(s->fetch, s->url, s->info.compression,
	    s->info.nar_size, opened, &why);
	if (rc < 0 && why.sys == ECANCELED) {
		*e = why;
		return -1;
	}
	if (rc < 0) {
		err_ctx(&why, "NAR");
		blame(s, s->cache, why.text);
	} else if (!*opened) {
		blame(s, s->cache, "has the narinfo, but not the NAR");
	}
	*opened = rc == 0 && *opened;
	return 0;
}

int
source_nar_open(struct source_nar *s, const struct layer_item *item,
    size_t index, struct err *e)
{
	int64_t start = monotime_us();
	bool opened = false, found;

	if (store_path_check(item->path, s->spec->store_dir, e) < 0)
		return -1;
	s->item = item;
	s->index = index;
	memset(s->trial, 0, sizeof(s->trial));
	for (size_t i = 0; i < s->n_refusals; i++)
		if (s->refusal[i].item == index)
			put_out(s, s->refusal[i].cache, s->refusal[i].why);
	while (!opened) {
		if (locate(s, &found, e) < 0)
			return -1;
		if (!found)
			return nowhere(s, e);
		if (open_nar(s, &opened, e) < 0)
			return -1;
	}
	s->wait_us += monotime_us() - start;
	nar_reader_start(s->reader, item->path, s->info.nar_size);
	sha256_init(s->sha);
	s->data = (const uint8_t *)"";
	s->len = 0;
	s->size = s->left = 0;
	return 0;
}

/*
 * The NAR is not what it should be: refused for the rest of the job.  Starting
 * anew is worth while only where another cache has it.
 */
static int
lost(struct source_nar *s, struct err *e)
{
	struct refusal *r = &s->refusal[s->n_refusals];
	bool found;

	if (e->sys == ECANCELED)
		return -1;
	blame(s, s->cache, e->text);
	if (s->n_refusals == REFUSALS_MAX)
		return err_ctx(e, "%s: %.*s", s->item->path,
		    (int)url_of(s, s->cache)->len, url_of(s, s->cache)->text);
	*r = (struct refusal){.item = s->index, .cache = s->cache};
	memcpy(r->why, s->trial[s->cache].why, sizeof(r->why));
	s->n_refusals++;
	err_clear(e);
	if (locate(s, &found, e) < 0)
		return -1;
	s->again = found;
	return nowhere(s, e);
}

/* More of the NAR; len stays 0 at its end. */
static int
read_more(struct source_nar *s, struct err *e)
{
	int64_t start = monotime_us();

	if (cache_fetch_read(s->fetch, &s->data, &s->len, e) < 0)
		return err_ctx(e, "NAR");
	s->wait_us += monotime_us() - start;
	s->fetched += s->len;
	sha256_update(s->sha, s->data, s->len);
	s->size += s->len;
	return 0;
}

static int
step(struct source_nar *s, size_t max, enum nar_event *event,
    struct tree_entry *entry, struct err *e)
{
	size_t used;

	for (;;) {
		size_t len = s->len < max ? s->len : max;

		if (nar_reader_next(
			s->reader, s->data, len, &used, event, entry, e) < 0)
			return -1;
		s->data += used;
		s->len -= used;
		if (*event != NAR_NEED_MORE)
			return 0;
		if (s->len == 0 && read_more(s, e) < 0)
			return -1;
		if (s->len == 0)
			return err_set(e, ERR_RETRY, 0,
			    "NAR: ends after %" PRIu64 " of %" PRIu64 " bytes",
			    s->size, s->info.nar_size);
	}
}

/* All entries were read: is it the NAR that the narinfo is about? */
static int
finish(struct source_nar *s, struct err *e)
{
	char want[NAR_HASH_TEXT_MAX], found[NAR_HASH_TEXT_MAX];
	struct digest hash;

	if (s->len == 0 && read_more(s, e) < 0)
		return -1;
	if (s->len > 0)
		return err_set(e, ERR_RETRY, 0, "NAR: more follows it");
	sha256_final(s->sha, &hash);
	cache_fetch_close(s->fetch);
	if (s->size != s->info.nar_size)
		return err_set(e, ERR_RETRY, 0,
		    "NAR: has %" PRIu64 " bytes, but NarSize is %" PRIu64,
		    s->size, s->info.nar_size);
	if (digest_equal(&hash, &s->info.nar_hash))
		return 0;
	nar_hash_print(&s->info.nar_hash, want);
	nar_hash_print(&hash, found);
	return err_set(e, ERR_RETRY, 0,
	    "NAR: is damaged: its hash is %s, expected %s", found, want);
}

int
source_nar_next(struct source_nar *s, struct tree_entry *out, struct err *e)
{
	enum nar_event event;

	assert(s->left == 0);
	if (step(s, SIZE_MAX, &event, out, e) < 0)
		return lost(s, e);
	if (event == NAR_END)
		return finish(s, e) < 0 ? lost(s, e) : 0;
	assert(event == NAR_ENTRY);
	out->item = s->index;
	s->left = out->size;
	return 1;
}

int
source_nar_read(
    struct source_nar *s, void *data, size_t len, size_t *n, struct err *e)
{
	const uint8_t *from;
	enum nar_event event;
	struct tree_entry none;

	assert(len > 0 && len <= s->left);
	if (s->len == 0 && read_more(s, e) < 0)
		return lost(s, e);
	from = s->data;
	if (step(s, len, &event, &none, e) < 0)
		return lost(s, e);
	assert(event == NAR_CONTENT);
	*n = (size_t)(s->data - from);
	memcpy(data, from, *n);
	s->left -= *n;
	return 0;
}

bool
source_nar_again(struct source_nar *s)
{
	bool again = s->again;

	s->again = false;
	return again;
}

const char *
source_nar_notice(const struct source_nar *s)
{
	return s->notice;
}

uint64_t
source_nar_fetched(const struct source_nar *s, uint64_t *us)
{
	*us = (uint64_t)s->wait_us;
	return s->fetched;
}
