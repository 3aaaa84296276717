#include "output/push.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "closure/hash_index.h"
#include "output/blob_places.h"
#include "output/blob_places_file.h"
#include "err.h"
#include "log.h"
#include "own.h"
#include "output/push_send.h"
#include "quiet_thread.h"
#include "registry.h"
#include "registry_name.h"
#include "registry/registry_place.h"

struct push {
	struct registry_name name;
	struct registry_place *place;
	struct blob_places *places;
	bool known; /* as registry_options has it */
};

/* What all threads of one push_image share. */
struct run {
	struct push *push;
	const struct push_image *image;
	bool confirm; /* only look whether it is there */
	bool again;   /* blobs were lost: what is here is sent, not mounted */

	pthread_mutex_t lock;
	pthread_cond_t freed;		/* a place, where there were too many */
	size_t next;			/* blob */
	unsigned active, allowed, went; /* went: well, since the last */
	atomic_bool stop;
	bool *lost;	/* blobs that were not confirmed */
	bool *repeated; /* that are an earlier one once more */
	struct push_counts counts;
	struct err err; /* the first one */
};

int
push_session(struct push *p, const atomic_bool *cancel, struct registry **out,
    struct err *e)
{
	return registry_place_session(
	    p->place, p->name.repo, false, cancel, out, e);
}

int
push_lend(const struct push *p, struct registry_place_lent *out, struct err *e)
{
	return registry_place_lend(p->place, out, e);
}

bool
push_resume(const struct push *p, const struct push *other,
    struct registry *session, struct err *e)
{
	return p->place == other->place &&
	    (p == other || registry_go_to(session, p->name.repo, e) == 0);
}

void
push_note(struct push *p, const struct digest *digest, enum registry_way way)
{
	blob_places_note(p->places, push_base(p), p->name.repo, digest, way);
	blob_places_add(p->places, push_base(p), digest);
}

const char *
push_hint(const struct push *p, const struct digest *digest)
{
	return blob_places_hinted(
	    p->places, push_base(p), p->name.repo, digest);
}

/* Whether we may ask there at all is known before the work begins. */
static int
try_it(struct push *p, struct err *e)
{
	AUTO(registry_freep) struct registry *r = NULL;
	struct digest nothing;
	bool there;

	digest_of("", 0, &nothing);
	if (push_session(p, NULL, &r, e) < 0)
		return -1;
	return registry_has_blob(r, &nothing, 0, &there, e);
}

int
push_prepare(const char *name, const struct registry_options *o,
    struct push **out, struct err *e)
{
	AUTO(push_freep) struct push *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return err_set(e, ERR_FATAL, errno, "push");
	if (registry_name_parse(name, &p->name, e) < 0)
		return -1;
	if (p->name.digest[0] != '\0')
		return err_set(e, ERR_USAGE, 0,
		    "a tag is wanted, not a digest, which comes out");
	p->places = o->places;
	p->known = o->known;
	if (registry_place_open(&p->name, o, &p->place, e) < 0)
		return -1;
	*out = STEAL(&p);
	return 0;
}

int
push_open(const char *name, const struct registry_options *o, struct push **out,
    struct err *e)
{
	AUTO(push_freep) struct push *p = NULL;

	if (push_prepare(name, o, &p, e) < 0 || try_it(p, e) < 0)
		return -1;
	*out = STEAL(&p);
	return 0;
}

void
push_free(struct push *p)
{
	if (p == NULL)
		return;
	registry_place_free(p->place);
	free(p);
}

void
push_freep(struct push **p)
{
	push_free(*p);
	*p = NULL;
}

const char *
push_tag(const struct push *p)
{
	return p->name.tag;
}

const char *
push_base(const struct push *p)
{
	return registry_place_base(p->place);
}

const char *
push_repo(const struct push *p)
{
	return p->name.repo;
}

/* Blobs of which an earlier one is the same. */
static int
find_repeated(const struct push_image *image, bool *repeated, struct err *e)
{
	struct hash_index seen = {.n = 0};
	uint64_t hash;
	uint32_t k;
	size_t at;

	if (hash_index_reserve(&seen, image->n_blobs) < 0)
		return err_set(e, ERR_FATAL, ENOMEM, "push");
	for (size_t i = 0; i < image->n_blobs; i++) {
		const struct digest *digest = &image->blob[i].digest;

		memcpy(&hash, digest->b, sizeof(hash));
		k = hash_index_first(&seen, hash, &at);
		while (k != HASH_INDEX_NONE &&
		    !digest_equal(&image->blob[k].digest, digest))
			k = hash_index_next(&seen, hash, &at);
		repeated[i] = k != HASH_INDEX_NONE;
		if (!repeated[i])
			hash_index_put(&seen, hash, (uint32_t)i);
	}
	hash_index_free(&seen);
	return 0;
}

static int
run_begin(struct run *run, struct err *e)
{
	run->repeated = calloc(run->image->n_blobs + 1, sizeof(bool));
	if (run->repeated == NULL)
		return err_set(e, ERR_FATAL, errno, "push");
	if (find_repeated(run->image, run->repeated, e) < 0) {
		free(run->repeated);
		return -1;
	}
	pthread_mutex_init(&run->lock, NULL);
	pthread_cond_init(&run->freed, NULL);
	return 0;
}

static void
run_end(struct run *run)
{
	pthread_cond_destroy(&run->freed);
	pthread_mutex_destroy(&run->lock);
	free(run->repeated);
}

/* The next blob that is to be seen to; false: none. */
static bool
take_next(struct run *run, size_t *out)
{
	bool got = false;

	pthread_mutex_lock(&run->lock);
	while (run->active >= run->allowed && !atomic_load(&run->stop))
		pthread_cond_wait(&run->freed, &run->lock);
	while (!got && !atomic_load(&run->stop) &&
	    run->next < run->image->n_blobs) {
		*out = run->next++;
		got = !run->repeated[*out];
	}
	run->active += got;
	pthread_mutex_unlock(&run->lock);
	return got;
}

/* Too many requests: half as many; once as many went well, one more. */
static void
put_back(struct run *run, unsigned throttled, const struct err *failed)
{
	pthread_mutex_lock(&run->lock);
	run->active--;
	run->went = throttled > 0 ? 0 : run->went + 1;
	if (throttled > 0 && run->allowed > 1) {
		run->allowed /= 2;
	} else if (run->went >= run->allowed && run->allowed < PUSH_THREADS) {
		run->allowed++;
		run->went = 0;
	}
	if (failed->kind != ERR_NONE) {
		if (run->err.kind == ERR_NONE)
			run->err = *failed;
		atomic_store(&run->stop, true);
	}
	pthread_cond_broadcast(&run->freed);
	pthread_mutex_unlock(&run->lock);
}

static void
count(struct run *run, enum registry_way way, const struct digest *digest,
    uint64_t size)
{
	const struct push *p = run->push;

	if (way == REGISTRY_UPLOADED)
		blob_places_count(p->places, size);
	if (way == REGISTRY_THERE)
		way = blob_places_noted(
		    p->places, push_base(p), p->name.repo, digest);
	pthread_mutex_lock(&run->lock);
	run->counts.there += way == REGISTRY_THERE;
	run->counts.mounted += way == REGISTRY_MOUNTED;
	run->counts.uploaded += way == REGISTRY_UPLOADED;
	if (way == REGISTRY_UPLOADED)
		run->counts.uploaded_bytes += size;
	if (way == REGISTRY_MOUNTED)
		run->counts.mounted_bytes += size;
	pthread_mutex_unlock(&run->lock);
}

static int
push_one(struct run *run, struct registry *r, size_t i, struct err *e)
{
	const struct push_send to = {
	    .place = run->push->place,
	    .repo = run->push->name.repo,
	    .session = r,
	    .cancel = &run->stop,
	};
	struct push_blob blob = run->image->blob[i];
	struct blob_places *places = run->push->places;
	const char *base = push_base(run->push), *from;
	enum registry_way way;
	bool first;
	int rc;

	first = blob_places_begin(
	    places, base, run->push->name.repo, &blob.digest, &from);
	if (blob.from == NULL)
		blob.from = from;
	if (run->again && (blob.file != NULL || blob.data != NULL))
		blob.from = NULL;
	rc = push_send(&to, &blob, &way, e);
	if (first)
		blob_places_end(places, base, &blob.digest, rc == 0);
	if (first && rc == 0)
		blob_places_add(places, base, &blob.digest);
	if (rc < 0)
		return -1;
	count(run, way, &blob.digest, blob.size);
	return 0;
}

static void *
work(void *arg)
{
	struct run *run = arg;
	AUTO(registry_freep) struct registry *r = NULL;
	struct err e = ERR_INIT;
	size_t i;

	if (push_session(run->push, &run->stop, &r, &e) < 0) {
		pthread_mutex_lock(&run->lock);
		run->active++;
		pthread_mutex_unlock(&run->lock);
		put_back(run, 0, &e);
		return NULL;
	}
	while (take_next(run, &i)) {
		const struct push_blob *b = &run->image->blob[i];
		bool there;

		if (!run->confirm)
			push_one(run, r, i, &e);
		else if (registry_has_blob(
			     r, &b->digest, b->size, &there, &e) == 0)
			run->lost[i] = !there;
		put_back(run, registry_throttled(r), &e);
		if (e.kind != ERR_NONE)
			break;
	}
	return NULL;
}

/* Has threads see to all blobs. */
static int
for_all_blobs(struct run *run, bool confirm, struct err *e)
{
	pthread_t thread[PUSH_THREADS];
	size_t n = 0;
	int rc = 0;

	run->confirm = confirm;
	run->next = 0;
	run->allowed = PUSH_THREADS;
	while (n < PUSH_THREADS && n < run->image->n_blobs &&
	    (rc = quiet_thread(&thread[n], work, run)) == 0)
		n++;
	for (size_t i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	if (n == 0 && run->image->n_blobs > 0)
		return err_set(e, ERR_FATAL, rc, "thread");
	if (run->err.kind == ERR_NONE)
		return 0;
	*e = run->err;
	e->kind = ERR_FATAL;
	return -1;
}

/* Whether any are lost; where they were thought to be they are not. */
static bool
any_lost(const struct run *run)
{
	const struct push *p = run->push;
	bool any = false;

	for (size_t i = 0; i < run->image->n_blobs; i++) {
		const struct digest *digest = &run->image->blob[i].digest;

		if (!run->lost[i])
			continue;
		any = true;
		blob_places_lost(p->places, push_base(p), p->name.repo, digest);
	}
	return any;
}

/* Blobs, a second look, the manifest; *again: a blob was lost meanwhile. */
static int
push_once(struct run *run, struct registry *r, bool *again, struct err *e)
{
	const struct push_image *image = run->image;

	if (for_all_blobs(run, false, e) < 0 || for_all_blobs(run, true, e) < 0)
		return -1;
	if ((*again = any_lost(run)))
		return 0;
	return registry_put_manifest(r, image->tag, image->media_type,
	    image->manifest, image->manifest_len, &image->manifest_digest,
	    again, e);
}

/* Then nothing of it is looked at, let alone sent. */
static bool
is_known(struct run *run, struct registry *r)
{
	const struct push_image *image = run->image;
	struct err e = ERR_INIT;
	bool there = false;

	/* What is wrong there will be said of the blobs. */
	if (!run->push->known ||
	    registry_has_manifest(
		r, image->tag, &image->manifest_digest, &there, &e) < 0 ||
	    !there)
		return false;
	for (size_t i = 0; i < image->n_blobs; i++)
		if (!run->repeated[i]) {
			const struct push_blob *b = &image->blob[i];

			push_note(run->push, &b->digest, REGISTRY_THERE);
			count(run, REGISTRY_THERE, &b->digest, b->size);
		}
	return true;
}

int
push_lost(struct push *p, const struct push_blob *blob, size_t n, bool *lost,
    struct err *e)
{
	const struct push_image image = {.blob = blob, .n_blobs = n};
	struct run run = {
	    .push = p, .image = &image, .lost = lost, .err = ERR_INIT};
	int rc;

	if (run_begin(&run, e) < 0)
		return -1;
	rc = for_all_blobs(&run, true, e);
	run_end(&run);
	return rc;
}

int
push_image(struct push *p, const struct push_image *image,
    struct push_counts *counts, struct err *e)
{
	AUTO(registry_freep) struct registry *r = NULL;
	AUTO(own_freep) bool *lost = calloc(image->n_blobs + 1, sizeof(*lost));
	struct run run = {
	    .push = p, .image = image, .lost = lost, .err = ERR_INIT};
	bool again = false;
	int rc;

	if (lost == NULL)
		return err_set(e, ERR_FATAL, errno, "push");
	if (push_session(p, NULL, &r, e) < 0)
		return -1;
	if (run_begin(&run, e) < 0)
		return -1;
	rc = is_known(&run, r) ? 0 : push_once(&run, r, &again, e);
	if (rc == 0 && again) {
		log_line(LOG_WARNING,
		    "%s has lost a blob that it had: it is sent again",
		    push_base(p));
		run.counts.there = run.counts.mounted = 0; /* seen again */
		run.counts.mounted_bytes = 0;
		run.again = true;
		rc = push_once(&run, r, &again, e);
	}
	if (rc == 0 && again)
		rc = err_set(e, ERR_FATAL, 0,
		    "%s: it loses blobs: the manifest was not put",
		    push_base(p));
	run_end(&run);
	*counts = run.counts;
	if (rc < 0)
		e->kind = e->kind == ERR_USAGE ? ERR_USAGE : ERR_FATAL;
	return rc;
}
