#include "cache/shared_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blob_dir.h"
#include "err.h"
#include "process/fan_out.h"
#include "registry/image_format.h"
#include "cache/layer_cache.h"
#include "log.h"
#include "own.h"
#include "registry.h"
#include "registry_name.h"
#include "registry/registry_place.h"
#include "cache/shared_record.h"

struct shared_cache {
	struct registry_name name;
	struct registry_place *place;
};

/* What all threads of one call share. */
struct run {
	struct shared_cache *cache;
	bool pull;
	const struct shared_search *how;
	const char *media_type;
	const char *from; /* to be put: where blobs may be, or NULL */
	struct shared_layer *layer;
	struct registry *session[SHARED_CACHE_THREADS]; /* a thread's each */
	atomic_bool stop;
	pthread_mutex_t lock;
	unsigned faults;  /* layers that could not be put; with lock, as is */
	struct err fault; /* the first one */
};

int
shared_cache_check_name(const char *name, struct err *e)
{
	struct registry_name parsed;

	if (registry_name_parse(name, &parsed, e) < 0)
		return -1;
	if (parsed.tag[0] != '\0' || parsed.digest[0] != '\0')
		return err_set(e, ERR_USAGE, 0,
		    "'%.200s': HOST[:PORT]/REPOSITORY is wanted, without tag "
		    "or digest",
		    name);
	return 0;
}

int
shared_cache_open(const char *name, const struct registry_options *options,
    struct shared_cache **out, struct err *e)
{
	AUTO(shared_cache_freep) struct shared_cache *c = NULL;

	if ((c = calloc(1, sizeof(*c))) == NULL)
		return err_set(e, ERR_FATAL, errno, "shared cache");
	if (shared_cache_check_name(name, e) < 0 ||
	    registry_name_parse(name, &c->name, e) < 0 ||
	    registry_place_open(&c->name, options, &c->place, e) < 0)
		return -1;
	*out = STEAL(&c);
	return 0;
}

void
shared_cache_free(struct shared_cache *c)
{
	if (c == NULL)
		return;
	registry_place_free(c->place);
	free(c);
}

void
shared_cache_freep(struct shared_cache **c)
{
	shared_cache_free(*c);
	*c = NULL;
}

const char *
shared_cache_base(const struct shared_cache *c)
{
	return registry_place_base(c->place);
}

const char *
shared_cache_repo(const struct shared_cache *c)
{
	return c->name.repo;
}

/* The thread's own, kept from one layer to the next. */
static int
session(struct run *run, unsigned thread, struct registry **out, struct err *e)
{
	struct registry **own = &run->session[thread];

	if (*own == NULL) {
		if (registry_place_session(run->cache->place,
			run->cache->name.repo, run->pull, &run->stop, own,
			e) < 0)
			return -1;
		registry_set_patience(
		    *own, SHARED_CACHE_TRIES, SHARED_CACHE_PAUSE_MS);
	}
	*out = *own;
	return 0;
}

static int
for_all(struct run *run, size_t n,
    int (*one)(void *arg, unsigned thread, size_t i, struct err *e),
    struct err *e)
{
	const struct fan_out all = {
	    .n = n,
	    .threads = SHARED_CACHE_THREADS,
	    .one = one,
	    .arg = run,
	    .stop = &run->stop,
	};
	int rc = fan_out(&all, e);

	for (unsigned i = 0; i < SHARED_CACHE_THREADS; i++)
		registry_freep(&run->session[i]);
	return rc;
}

/* A failure of one layer is a miss, but not that nobody answers. */
static int
missed(struct shared_layer *l, struct err *e)
{
	l->found = false;
	if (e->kind == ERR_RETRY)
		return -1;
	log_line(LOG_DEBUG, "shared cache: %s", e->text);
	err_clear(e);
	return 0;
}

/* The record, if there is a good one and its blob. */
static int
look_up(struct run *run, struct registry *r, struct shared_layer *l,
    bool must_be_verified, struct err *e)
{
	AUTO(registry_manifest_clear) struct registry_manifest m = {0};
	char tag[SHARED_RECORD_TAG_SIZE];
	bool verified;

	l->found = false;
	shared_record_tag(&l->key, tag);
	if (registry_get_manifest(r, tag, &m, e) < 0)
		return -1;
	if (m.data == NULL)
		return 0;
	if (!shared_record_parse(
		m.data, m.len, &l->key, run->media_type, &verified, &l->result))
		return err_set(e, ERR_FATAL, 0, "%s is no record", tag);
	if (must_be_verified && !verified)
		return 0;
	return registry_find_blob(
	    r, &l->result.digest, l->result.size, &l->found, e);
}

static int
fetch(struct registry *r, const struct layer_result *result, const char *blobs,
    struct err *e)
{
	AUTO(blob_writer_freep) struct blob_writer *w = NULL;

	/* No room for it here is no reason to ask for no more. */
	if (blob_writer_new(blobs, NULL, &w, e) < 0) {
		e->kind = ERR_FATAL;
		return -1;
	}
	if (registry_get_blob(
		r, &result->digest, result->size, blob_writer_file(w), e) < 0)
		return -1;
	blob_writer_wrote(w, result->size);
	if (blob_commit(w, &result->digest, e) < 0) {
		e->kind = ERR_FATAL;
		return -1;
	}
	return 0;
}

static int
find_one(void *arg, unsigned thread, size_t i, struct err *e)
{
	struct run *run = arg;
	struct shared_layer *l = &run->layer[i];
	struct registry *r;

	if (session(run, thread, &r, e) < 0 ||
	    look_up(run, r, l, run->how->verified, e) < 0)
		return missed(l, e);
	if (l->found && run->how->blobs != NULL &&
	    fetch(r, &l->result, run->how->blobs, e) < 0)
		return missed(l, e);
	return 0;
}

int
shared_cache_find(struct shared_cache *c, const struct shared_search *how,
    struct shared_layer *layer, size_t n, struct err *e)
{
	struct run run = {
	    .cache = c,
	    .pull = true,
	    .how = how,
	    .media_type = how->media_type,
	    .layer = layer,
	};

	return for_all(&run, n, find_one, e);
}

static int
put_record(struct run *run, struct registry *r, const struct shared_layer *l,
    struct err *e)
{
	const struct layer_record record = {
	    .result = &l->result, .verified = l->verified};
	AUTO(own_freep) char *data = NULL;
	char tag[SHARED_RECORD_TAG_SIZE];
	struct digest digest;
	bool unknown;
	size_t len;

	if (shared_record_print(
		&l->key, &record, run->media_type, &data, &len, e) < 0)
		return -1;
	digest_of(data, len, &digest);
	shared_record_tag(&l->key, tag);
	if (registry_put_manifest(r, tag, image_format_manifest(IMAGE_OCI),
		data, len, &digest, &unknown, e) < 0)
		return -1;
	return unknown ? err_set(e, ERR_FATAL, 0, "it loses blobs") : 0;
}

/* What was known here before may be known there as well. */
static int
put(struct run *run, struct registry *r, struct shared_layer *l, struct err *e)
{
	struct layer_result is = l->result;
	struct registry_blob blob = {
	    .digest = &is.digest,
	    .size = is.size,
	    .from = l->from != NULL ? l->from : run->from,
	};
	AUTO(own_closep) int fd = -1;
	enum registry_way way;

	if (l->known) {
		if (look_up(run, r, l, l->verified, e) < 0 && missed(l, e) < 0)
			return -1;
		if (l->found && digest_equal(&l->result.digest, &is.digest))
			return 0;
		l->found = false;
		l->result = is;
	}
	if ((fd = open(l->file, O_RDONLY | O_CLOEXEC)) < 0)
		return err_set(e, ERR_FATAL, errno, "%s", l->file);
	blob.fd = fd;
	if (registry_push_blob(r, &blob, &way, e) < 0 ||
	    put_record(run, r, l, e) < 0)
		return -1;
	l->found = true;
	return 0;
}

/* What is wrong with one layer is not with others, unless it is with many. */
static int
put_one(void *arg, unsigned thread, size_t i, struct err *e)
{
	struct run *run = arg;
	struct registry *r;
	bool enough;

	if (session(run, thread, &r, e) < 0)
		return -1;
	if (put(run, r, &run->layer[i], e) == 0)
		return 0;
	if (e->kind == ERR_RETRY)
		return -1;
	pthread_mutex_lock(&run->lock);
	if (run->faults++ == 0)
		run->fault = *e;
	enough = run->faults >= SHARED_CACHE_FAULTS_MAX;
	pthread_mutex_unlock(&run->lock);
	if (enough)
		return -1;
	err_clear(e);
	return 0;
}

/* The config of all records. */
static int
put_empty(struct run *run, struct err *e)
{
	static const char empty[] = SHARED_RECORD_EMPTY;
	struct digest digest;
	const struct registry_blob blob = {
	    .digest = &digest,
	    .size = strlen(empty),
	    .fd = -1,
	    .data = empty,
	};
	enum registry_way way;
	struct registry *r;

	digest_of(empty, strlen(empty), &digest);
	if (session(run, 0, &r, e) < 0)
		return -1;
	return registry_push_blob(r, &blob, &way, e);
}

int
shared_cache_put(struct shared_cache *c, const char *media_type,
    const char *from, struct shared_layer *layer, size_t n, struct err *e)
{
	struct run run = {
	    .cache = c,
	    .media_type = media_type,
	    .from = from,
	    .layer = layer,
	    .fault = ERR_INIT,
	};
	int rc;

	if (put_empty(&run, e) < 0) {
		registry_freep(&run.session[0]);
		return -1;
	}
	pthread_mutex_init(&run.lock, NULL);
	rc = for_all(&run, n, put_one, e);
	pthread_mutex_destroy(&run.lock);
	if (rc == 0 && run.faults > 0) {
		*e = run.fault;
		return -1;
	}
	return rc;
}
