#include "build.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "build_cache.h"
#include "build_state.h"
#include "closure.h"
#include "curve_key.h"
#include "dispatch.h"
#include "encoder_version.h"
#include "err.h"
#include "file_place.h"
#include "image_json.h"
#include "image_layers.h"
#include "launch.h"
#include "layer_cache_list.h"
#include "layer_plan.h"
#include "log.h"
#include "metadata.h"
#include "metrics.h"
#include "monotime.h"
#include "options.h"
#include "output.h"
#include "own.h"
#include "plan_print.h"
#include "progress.h"
#include "request.h"
#include "root_layer.h"
#include "scratch.h"
#include "store_path.h"

#define LAYERS_OF_ALL_ENGINES 125 /* Docker 20.10 takes no more */
/* Where workers may join that --launch starts, unless --listen says. */
#define LISTEN_ANYWHERE "tcp://*:*"
/* Our own descriptors, beside one for each worker. */
#define DESCRIPTORS 32

static void
build_end(struct build *b)
{
	dispatch_free(b->dispatch);
	launch_free(b->launch);
	for (size_t i = 0; i < b->n_outputs; i++)
		output_free(b->output[i]);
	output_free(b->to_cache);
	image_layers_free(b->layers);
	build_cache_free(b->cache);
	metrics_stop(b->metrics);
	progress_free(b->progress);
	scratch_free(b->scratch);
	free(b->job);
	free(b->spec);
	free(b->label);
	free(b->layer);
}

static int
open_outputs(struct build *b, struct err *e)
{
	const char *metadata = b->options->metadata_file;

	if (metadata != NULL && metadata_check(metadata, e) < 0)
		return -1;
	for (size_t i = 0; i < b->options->n_outputs; i++) {
		struct output_target target = b->options->outputs[i];

		target.push = &b->options->push;
		if (output_open(&target, b->scratch, &b->output[i], e) < 0)
			return -1;
		b->n_outputs++;
	}
	return 0;
}

/* A layer that is read while it is written to would be different each time. */
static int
check_outside(const struct build *b, const char *target, struct err *e)
{
	const char *store_dir = b->layers->request->store_dir;
	AUTO(own_freep) char *given = NULL;
	AUTO(own_freep) char *store = NULL;
	AUTO(own_freep) char *place = NULL;
	AUTO(own_freep) char *path = NULL;
	const char *rest;

	if (asprintf(&given, "%s%s", b->options->store_root, store_dir) < 0)
		return err_set(e, ERR_FATAL, errno, "output");
	if ((store = realpath(given, NULL)) == NULL ||
	    (place = file_place_real(target)) == NULL ||
	    strncmp(place, store, strlen(store)) != 0)
		return 0;
	rest = place + strlen(store);
	if (asprintf(&path, "%s/%.*s", store_dir,
		(int)strcspn(rest + (*rest == '/'), "/"),
		rest + (*rest == '/')) < 0)
		return err_set(e, ERR_FATAL, errno, "output");
	if (*rest == '/' && closure_find(b->layers->closure, path) != SIZE_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "output %s is inside of %s, which is in the image: name "
		    "another place",
		    target, path);
	return 0;
}

static int
check_all_outside(const struct build *b, struct err *e)
{
	const char *metadata = b->options->metadata_file;

	for (size_t i = 0; i < b->options->n_outputs; i++)
		if (b->options->outputs[i].kind != OUTPUT_NONE &&
		    b->options->outputs[i].kind != OUTPUT_REGISTRY &&
		    check_outside(b, b->options->outputs[i].path, e) < 0)
			return -1;
	return metadata == NULL ? 0 : check_outside(b, metadata, e);
}

static size_t
machine_cores(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0
	    ? (size_t)CPU_COUNT(&set)
	    : 1;
}

/* libzmq aborts where it gets no descriptor: there must be enough before. */
static int
check_descriptors(const struct options *options, struct err *e)
{
	rlim_t want = DESCRIPTORS + options->workers +
	    (options->metrics != NULL ? METRICS_DESCRIPTORS : 0);
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= want)
		return 0;
	if (limit.rlim_max < want)
		return err_set(e, ERR_FATAL, 0,
		    "at most %llu files may be open, and this needs %llu: "
		    "raise the limit (ulimit -Hn)%s",
		    (unsigned long long)limit.rlim_max,
		    (unsigned long long)want,
		    options->workers > 1 ? " or lower --workers" : "");
	limit.rlim_cur = want;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		return err_set(e, ERR_FATAL, errno, "raise RLIMIT_NOFILE");
	return 0;
}

/* Our key pair: the one that is given; to launch workers a new one will do. */
static int
take_key(struct build *b, struct err *e)
{
	const struct options *o = b->options;

	if (o->key_file == NULL)
		return curve_key_make(&b->key, e);
	if (curve_key_read(o->key_file, &b->key, e) < 0)
		return err_ctx(e, "--key");
	return 0;
}

static int
make_launch(struct build *b, struct err *e)
{
	const struct launch_config config = {
	    .command = b->options->launch,
	    .advertise = b->options->advertise,
	    .server = b->key.public,
	};

	return launch_new(&config, b->scratch, &b->launch, e);
}

static int
start_workers(struct build *b, struct err *e)
{
	const struct options *o = b->options;
	struct dispatch_config config = {
	    .slots = o->slots,
	    .workers = o->workers,
	    .worker_program = o->worker_program,
	    .caches = &o->caches,
	    .progress = b->progress,
	    .encoding = o->encoding,
	    .listen = o->listen,
	    .keys = o->workers_keys,
	    .plain = o->listen_plain,
	    .no_locality = o->no_locality,
	    .min_workers = o->min_workers,
	    .audit = (unsigned)o->audit,
	    .cached = b->known,
	    .metrics = b->metrics,
	};
	bool encodes = build_cache_encoding(o).kind != ENCODING_NONE;
	int rc;

	if (b->cache != NULL) {
		config.done = build_job_done;
		config.done_arg = b;
	}
	/* All layers of an image are made by the same library. */
	if (b->known > 0 && encodes)
		config.encoder = encoder_version(o->encoding.kind);
	if (config.workers == 0)
		config.workers = 1;
	if (config.slots == 0 && !o->no_local_slots)
		config.slots = machine_cores();
	if (o->no_local_slots)
		config.workers = 0;
	else if (config.slots < config.workers)
		config.slots = config.workers;
	if (o->launch != NULL && config.listen == NULL)
		config.listen = LISTEN_ANYWHERE;
	if (o->key_file != NULL || o->launch != NULL) {
		if (take_key(b, e) < 0)
			return -1;
		config.key = &b->key;
	}
	if (o->launch != NULL && make_launch(b, e) < 0)
		return -1;
	config.launch = b->launch;
	rc = dispatch_new(&config, b->scratch, &b->dispatch, e);
	curve_key_clear(&b->key); /* the socket has it */
	return rc;
}

/*
 * Whether all store paths are sure to be where the work is done: on this
 * machine.  There they must be where there are no caches.
 */
static int
store_is_whole(const struct build *b, bool *whole, struct err *e)
{
	const struct closure *c = b->layers->closure;
	struct stat st;

	*whole = b->options->listen == NULL && b->options->launch == NULL;
	if (b->options->caches.n_urls == 0)
		return 0;
	for (size_t i = 0; i < c->n && *whole; i++) {
		AUTO(own_freep) char *file = NULL;

		if (asprintf(&file, "%s%s", b->options->store_root,
			c->path[i]) < 0) {
			file = NULL;
			return err_set(e, ERR_FATAL, errno, "store path");
		}
		*whole = lstat(file, &st) == 0;
	}
	return 0;
}

/*
 * An archive is one file that workers write in parallel, each at its own
 * place: for that the sizes of all layers are found first (no content is
 * read).  Where a NAR would have to be fetched twice for that, or workers of
 * other machines do not write into the file, layers are written beside the
 * archive and copied into it.
 */
static int
measure(struct build *b, struct err *e)
{
	bool wanted = false, whole;

	if (store_is_whole(b, &whole, e) < 0)
		return -1;
	for (size_t i = 0; i < b->n_outputs; i++) {
		if (!whole)
			output_stage(b->output[i]);
		wanted |= output_needs_sizes(b->output[i]);
	}
	if (!wanted)
		return 0;
	progress_phase(b->progress, "measuring layers");
	for (size_t i = 0; i < b->n_jobs; i++)
		b->spec[i].measure = true;
	if (dispatch_run(b->dispatch, b->job, b->n_jobs, e) < 0)
		return -1;
	for (size_t i = 0; i < b->n_jobs; i++) {
		b->spec[i].measure = false;
		b->job[i].weight = b->job[i].result.tar_size;
		b->layers->image.layer[b->layer[i]].result.tar_size =
		    b->job[i].result.tar_size;
	}
	return 0;
}

int
build_place(struct build *b, struct err *e)
{
	if (b->to_cache != NULL) {
		b->blobs = b->to_cache;
		for (size_t i = 0; i < b->n_jobs; i++)
			output_sink(b->blobs, b->layer[i],
			    &b->spec[i].outputs[b->spec[i].n_outputs++]);
	}
	for (size_t o = 0; o < b->n_outputs; o++) {
		struct output *output = b->output[o];

		if (output_takes_blobs(output) && b->blobs != NULL)
			output_share(output);
		else if (output_takes_blobs(output))
			b->blobs = output;
		if (output_layout(output, &b->layers->image, e) < 0)
			return -1;
		for (size_t i = 0; i < b->n_jobs; i++) {
			struct layer_spec *spec = &b->spec[i];

			if (output_sink(output, b->layer[i],
				&spec->outputs[spec->n_outputs]))
				spec->n_outputs++;
		}
	}
	return 0;
}

static int
take_results(struct build *b, struct err *e)
{
	const struct digest *want = &b->layers->root_digest;

	for (size_t i = 0; i < b->n_jobs; i++) {
		struct image_layer *l = &b->layers->image.layer[b->layer[i]];

		l->result = b->job[i].result;
		l->seconds = b->job[i].seconds;
		l->media_type = encoding_media_type(b->spec[i].encoding.kind);
		memcpy(l->worker, b->job[i].worker, sizeof(l->worker));
		if (l->kind == IMAGE_ROOT && b->layers->root_file != NULL &&
		    !digest_equal(&l->result.diff_id, want))
			return err_set(e, ERR_USAGE, 0,
			    "%s: its SHA-256 is not what 'checksum' beside it "
			    "says",
			    b->layers->root_file);
	}
	return 0;
}

static void
tell_commits(const struct build *b)
{
	enum progress_mode mode = b->options->progress;

	if (mode == PROGRESS_NONE || mode == PROGRESS_JSON)
		return;
	for (size_t i = 0; i < b->n_outputs; i++)
		if (*output_said(b->output[i]) != '\0')
			log_line(
			    LOG_INFO, "pushed   %s", output_said(b->output[i]));
}

static int
commit(struct build *b, struct err *e)
{
	struct image *image = &b->layers->image;

	progress_phase(b->progress, "writing the image");
	if (image_json_make(image, e) < 0)
		return -1;
	for (size_t i = 0; i < b->n_outputs; i++)
		if (output_commit(b->output[i], image,
			b->output[i] == b->blobs ? NULL : b->blobs, e) < 0)
			return -1;
	tell_commits(b);
	return 0;
}

static int
finish(struct build *b, struct err *e)
{
	const char *file = b->options->metadata_file;
	struct progress_summary summary = {
	    .image = &b->layers->image,
	    .targets = b->options->outputs,
	    .n_targets = b->options->n_outputs,
	    .seconds = (double)(monotime_ms() - b->start) / 1000,
	};

	if (file != NULL &&
	    metadata_write(
		&b->layers->image, summary.seconds, file, b->scratch, e) < 0)
		return -1;
	progress_summary(b->progress, &summary);
	return 0;
}

/*
 * Which engines will not take so many layers.  Runtimes that fail below the
 * default number of layers are `quarry plan`'s to name.
 */
static void
warn(const struct build *b)
{
	char text[PLAN_WARNINGS_MAX][PLAN_WARNING_MAX];
	size_t layers = b->layers->image.n_layers;
	size_t n = layers > LAYERS_OF_ALL_ENGINES
	    ? plan_print_warnings(layers, text)
	    : 0;

	for (size_t i = 0; i < n; i++)
		log_line(LOG_WARNING, "%s", text[i]);
}

static int
start_metrics(struct build *b, struct err *e)
{
	if (b->options->metrics == NULL)
		return 0;
	if (metrics_start(b->options->metrics, "build", &b->metrics, e) < 0)
		return -1;
	log_line(LOG_INFO, "metrics are at %s", metrics_url(b->metrics));
	return 0;
}

static int
by_workers(struct build *b, struct err *e)
{
	if (start_workers(b, e) < 0 || measure(b, e) < 0 ||
	    build_place(b, e) < 0)
		return -1;
	progress_phase(b->progress, "building layers");
	progress_tell_jobs(b->progress);
	if (dispatch_run(b->dispatch, b->job, b->n_jobs, e) < 0)
		return -1;
	dispatch_freep(&b->dispatch);
	return 0;
}

static int
run(struct build *b, struct err *e)
{
	if (check_descriptors(b->options, e) < 0 ||
	    scratch_new(&b->scratch, e) < 0 ||
	    progress_new(b->options->progress, &b->progress, e) < 0 ||
	    start_metrics(b, e) < 0 || open_outputs(b, e) < 0 ||
	    image_layers_plan(
		b->options, b->scratch, b->progress, &b->layers, e) < 0 ||
	    check_all_outside(b, e) < 0 ||
	    image_layers_make(b->layers, b->options, e) < 0 ||
	    build_describe_jobs(b, e) < 0)
		return -1;
	warn(b);
	if (b->options->coordinator != NULL ? build_by_server(b, e) < 0
					    : by_workers(b, e) < 0)
		return -1;
	if (take_results(b, e) < 0 || commit(b, e) < 0)
		return -1;
	return finish(b, e);
}

/* A cache that has grown too large loses what was not used for longest. */
static void
trim(const struct options *o)
{
	const struct layer_cache_bounds bounds = {
	    .bytes = o->max_size, .unused = -1};
	struct layer_cache_pruned gone;
	struct err e = ERR_INIT;

	if (layer_cache_prune(o->cache_dir, &bounds, &gone, &e) < 0)
		log_line(LOG_WARNING, "%s", e.text);
	else if (gone.records > 0)
		log_line(
		    LOG_DEBUG, "layer cache: %zu layers removed", gone.records);
}

int
build_run(const struct options *options, struct err *e)
{
	struct build b = {.options = options, .start = monotime_ms()};
	int rc = run(&b, e);
	bool trims;

	trims = rc == 0 && b.cache != NULL && b.n_jobs > 0;
	build_end(&b);
	if (trims)
		trim(options);
	return rc;
}
