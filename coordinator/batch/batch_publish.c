#include "batch/batch_state.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "batch/batch_paths.h"
#include "batch/batch_target.h"
#include "closure/closure.h"
#include "image/image_json.h"
#include "image/metadata.h"
#include "build/image_layers.h"
#include "cache/layer_cache.h"
#include "cache/shared_cache.h"
#include "monotime.h"
#include "output/oci_blobs.h"
#include "options/options.h"
#include "own.h"
#include "progress/progress.h"
#include "quiet_thread.h"
#include "request/request.h"
#include "timed_cond.h"

#define WAIT_MS 100  /* between looks at whether all is published */
#define PUBLISHERS 4 /* images at once: most of it is waiting */

/*
 * Images that are whole, in the order in which they became so.  There is room
 * for all, so that whoever adds one never waits.
 */
struct batch_publisher {
	struct batch *batch;
	pthread_t thread[PUBLISHERS];
	size_t n_threads, n_running;
	pthread_mutex_t lock;
	pthread_cond_t added, ended;
	uint32_t *ready;
	size_t n, next;
	bool finish; /* nothing comes any more */
};

/* What an image is while it is put where it goes. */
struct publication {
	struct image_layers *layers;
	char **file; /* of each layer that is not the base's */
	size_t n_files;
	struct batch_targets targets;
	char *metadata; /* its file, or NULL */
	struct output *output[BATCH_OUTPUTS_MAX];
	size_t n_outputs;
};

static void
publication_clear(struct publication *p)
{
	for (size_t i = 0; i < p->n_outputs; i++)
		output_free(p->output[i]);
	if (p->layers != NULL)
		p->layers->request = NULL; /* it is the image's */
	image_layers_free(p->layers);
	for (size_t i = 0; i < p->n_files; i++)
		free(p->file[i]);
	free(p->file);
	free(p->metadata);
	batch_targets_clear(&p->targets);
}

/* One layer, whose blob is in the cache. */
static int
add_layer(
    const struct batch *b, struct publication *p, uint32_t index, struct err *e)
{
	const struct batch_layer *l = &b->layers.layer[index];
	const struct batch_spec *spec = &b->spec[l->spec];
	const struct closure *all = batch_paths_closure(spec->paths);
	struct image_layer *to = NULL;

	if (spec->spec.source == LAYER_FROM_STORE) {
		if (image_layers_add(p->layers, IMAGE_STORE, l->n, &to, e) < 0)
			return -1;
		for (size_t i = 0; i < l->n; i++)
			to->paths[to->n_paths++] = all->path[l->path[i]];
	} else if (image_layers_add_root(p->layers, &to, e) < 0) {
		return -1;
	}
	to->result = l->made.result;
	to->media_type = encoding_media_type(spec->spec.encoding.kind);
	to->cached = l->state == BATCH_KNOWN;
	to->seconds = l->made.seconds;
	memcpy(to->worker, l->made.worker, sizeof(to->worker));
	if (l->shared) {
		to->registry = shared_cache_base(b->shared);
		to->repository = shared_cache_repo(b->shared);
	}
	to->remote = l->remote;
	if (to->remote)
		return 0;
	if (oci_blobs_path(layer_cache_pins(b->cache), &l->made.result.digest,
		&p->file[p->n_files], e) < 0)
		return -1;
	to->file = p->file[p->n_files++];
	return 0;
}

static int
put_together(struct batch *b, struct batch_image *image, struct publication *p,
    struct err *e)
{
	struct request *request = image->request;

	if ((p->file = calloc(image->n_layers + 1, sizeof(*p->file))) == NULL)
		return err_set(e, ERR_FATAL, errno, "image");
	if (image_layers_of(&request, image->base, NULL, &p->layers, e) < 0 ||
	    image_layers_begin(p->layers, b->options, image->n_layers, e) < 0)
		return -1;
	for (size_t i = 0; i < image->n_layers; i++)
		if (add_layer(b, p, image->layer[i], e) < 0)
			return -1;
	return image_json_make(&p->layers->image, e);
}

/* The folders that a place is in, which a template may have many of. */
static int
make_folders(const char *path, struct err *e)
{
	AUTO(own_freep) char *folder = strdup(path);

	if (folder == NULL)
		return err_set(e, ERR_FATAL, errno, "output");
	for (char *at = folder + 1; *folder != '\0' && *at != '\0'; at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		if (mkdir(folder, 0777) < 0 && errno != EEXIST)
			return err_set(
			    e, ERR_FATAL, errno, "make folder %s", folder);
		*at = '/';
	}
	return 0;
}

static int
open_outputs(const struct batch *b, struct publication *p, struct err *e)
{
	for (size_t i = 0; i < p->targets.n; i++) {
		const struct output_target *t = &p->targets.target[i];

		if (batch_place_is_file(t) && make_folders(t->path, e) < 0)
			return -1;
		if (output_open(t, b->scratch, &p->output[i], e) < 0)
			return -1;
		p->n_outputs++;
		/* Sizes are known, and all layers are in files. */
		if (output_layout(p->output[i], &p->layers->image, e) < 0)
			return -1;
	}
	return 0;
}

static int
take_result(const struct batch *b, const struct publication *p,
    struct batch_image *image, struct err *e)
{
	const struct image *from = &p->layers->image;

	if ((image->tag = strdup(from->tag)) == NULL)
		return err_set(e, ERR_FATAL, errno, "image");
	image->id = from->id;
	image->manifest_digest = from->manifest_digest;
	for (size_t i = 0; i < from->n_layers; i++) {
		image->tar_size += from->layer[i].result.tar_size;
		image->size += from->layer[i].result.size;
	}
	for (size_t i = 0; i < p->n_outputs; i++) {
		const struct push_counts *c = output_pushed(p->output[i]);

		image->pushed.there += c->there;
		image->pushed.mounted += c->mounted;
		image->pushed.uploaded += c->uploaded;
		image->pushed.mounted_bytes += c->mounted_bytes;
		image->pushed.uploaded_bytes += c->uploaded_bytes;
	}
	image->seconds = (double)(monotime_ms() - b->start) / 1000;
	return 0;
}

/* Where it goes is known to be good before the image is put anywhere. */
static int
open_metadata(const struct batch *b, const struct batch_image *image,
    struct publication *p, struct err *e)
{
	if (batch_metadata_make(
		b, image, p->layers->image.tag, &p->metadata, e) < 0)
		return -1;
	if (p->metadata == NULL)
		return 0;
	if (make_folders(p->metadata, e) < 0)
		return -1;
	return metadata_check(p->metadata, e);
}

static int
put_image(struct batch *b, struct batch_image *image, struct publication *p,
    struct err *e)
{
	const struct image *made;

	if (put_together(b, image, p, e) < 0)
		return -1;
	made = &p->layers->image;
	if (batch_targets_make(b, image, made->tag, &p->targets, e) < 0 ||
	    open_metadata(b, image, p, e) < 0 || open_outputs(b, p, e) < 0 ||
	    image_build_commit(made, p->output, p->n_outputs, NULL, e) < 0 ||
	    take_result(b, p, image, e) < 0)
		return -1;
	return p->metadata == NULL
	    ? 0
	    : metadata_write(made, image->seconds, p->metadata, b->scratch, e);
}

static void
publish(struct batch *b, struct batch_image *image)
{
	struct publication p = {.n_files = 0};
	struct err e = ERR_INIT;

	image->done = put_image(b, image, &p, &e) == 0;
	publication_clear(&p);
	request_freep(&image->request);
	if (image->done)
		batch_tell(b, image);
	else
		batch_image_failed(b, image, &e);
}

static void *
work(void *arg)
{
	struct batch_publisher *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		uint32_t i;

		while (p->next == p->n && !p->finish)
			pthread_cond_wait(&p->added, &p->lock);
		if (p->next == p->n)
			break;
		i = p->ready[p->next++];
		pthread_mutex_unlock(&p->lock);
		publish(p->batch, &p->batch->image[i]);
		pthread_mutex_lock(&p->lock);
	}
	p->n_running--;
	pthread_cond_signal(&p->ended);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

int
batch_publisher_new(
    struct batch *b, struct batch_publisher **out, struct err *e)
{
	struct batch_publisher *p = calloc(1, sizeof(*p));
	int rc = ENOMEM;

	if (p == NULL ||
	    (p->ready = calloc(b->n + 1, sizeof(*p->ready))) == NULL) {
		free(p);
		return err_set(e, ERR_FATAL, rc, "publisher");
	}
	p->batch = b;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->added, NULL);
	timed_cond_init(&p->ended);
	/* One is enough. */
	pthread_mutex_lock(&p->lock);
	while (p->n_threads < PUBLISHERS && p->n_threads < b->n &&
	    (rc = quiet_thread(&p->thread[p->n_threads], work, p)) == 0)
		p->n_threads++;
	p->n_running = p->n_threads;
	pthread_mutex_unlock(&p->lock);
	if (p->n_threads == 0) {
		batch_publisher_free(p);
		return err_set(e, ERR_FATAL, rc, "thread");
	}
	*out = p;
	return 0;
}

void
batch_publisher_add(struct batch_publisher *p, uint32_t image)
{
	pthread_mutex_lock(&p->lock);
	p->ready[p->n++] = image;
	pthread_cond_signal(&p->added);
	pthread_mutex_unlock(&p->lock);
}

static bool
wait_a_little(struct batch_publisher *p)
{
	const struct timespec until = timed_cond_after(WAIT_MS);
	bool over;

	pthread_mutex_lock(&p->lock);
	if (p->n_running > 0)
		pthread_cond_timedwait(&p->ended, &p->lock, &until);
	over = p->n_running == 0;
	pthread_mutex_unlock(&p->lock);
	return over;
}

static void
nothing_more(struct batch_publisher *p)
{
	pthread_mutex_lock(&p->lock);
	p->finish = true;
	pthread_cond_broadcast(&p->added);
	pthread_mutex_unlock(&p->lock);
}

void
batch_publisher_finish(struct batch_publisher *p, struct progress *progress)
{
	nothing_more(p);
	while (!wait_a_little(p))
		progress_tick(progress, monotime_ms());
}

/* Where it was not finished, it publishes what it has. */
void
batch_publisher_free(struct batch_publisher *p)
{
	if (p == NULL)
		return;
	nothing_more(p);
	for (size_t i = 0; i < p->n_threads; i++)
		pthread_join(p->thread[i], NULL);
	pthread_cond_destroy(&p->ended);
	pthread_cond_destroy(&p->added);
	pthread_mutex_destroy(&p->lock);
	free(p->ready);
	free(p);
}
