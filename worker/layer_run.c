#include "layer_run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "blob_stream.h"
#include "err.h"
#include "layer_inputs.h"
#include "layer_put.h"
#include "layer_sink.h"
#include "layer_store.h"
#include "layer_tar.h"
#include "long_path.h"
#include "nar_hash.h"
#include "own.h"
#include "source_nar.h"
#include "tree_walk.h"

struct run {
	const struct layer_job *job;
	const struct layer_spec *spec;
	struct layer_tar *lt;
	struct nar_hash *nar;	   /* or NULL: nothing is verified */
	struct source_nar *source; /* or NULL: no caches */
};

/* Opens a file that is named by the job itself. */
static int
open_file(const char *path, int *out, struct tree_mark *mark, struct err *e)
{
	struct stat st;
	int fd;

	fd =
	    long_path_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return tree_err(e, errno, "open");
	*out = fd;
	if (fstat(fd, &st) < 0)
		return tree_err(e, errno, "look at");
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_JOB, 0, "not a regular file");
	tree_mark_set(mark, &st);
	return 0;
}

static int
put_entry_file(
    struct run *r, const char *path, struct tar_entry *entry, struct err *e)
{
	AUTO(own_closep) int fd = -1;
	struct tree_mark mark;

	if (open_file(path, &fd, &mark, e) < 0)
		return -1;
	entry->size = (uint64_t)mark.size;
	if (layer_tar_header(r->lt, entry, e) < 0)
		return -1;
	return layer_put_file(r->lt, fd, &mark, NULL, NULL, e);
}

static int
put_entry(struct run *r, const struct layer_entry *given, struct err *e)
{
	struct tar_entry entry =
	    layer_put_blank(r->spec, given->type, given->name);

	if (given->name[0] != '/' || strlen(given->name) >= TAR_NAME_MAX)
		return err_set(e, ERR_JOB, 0,
		    "a name must be absolute and shorter than %d bytes",
		    TAR_NAME_MAX);
	entry.mode = given->mode;
	entry.uid = given->uid;
	entry.gid = given->gid;
	switch (given->type) {
	case TAR_REGULAR:
		return put_entry_file(r, given->target, &entry, e);
	case TAR_SYMLINK:
		if (strlen(given->target) > TAR_NAME_MAX)
			return err_set(e, ERR_JOB, 0,
			    "link to more than %d bytes", TAR_NAME_MAX);
		entry.link = given->target;
		break;
	case TAR_DIRECTORY:
		break;
	}
	return layer_tar_header(r->lt, &entry, e);
}

static int
run_entries(struct run *r, struct err *e)
{
	for (size_t i = 0; i < r->job->n; i++) {
		const struct layer_entry *given = &r->job->entry[i];
		char shown[TREE_SHOWN_MAX];

		if (put_entry(r, given, e) == 0)
			continue;
		tree_show("",
		    given->type == TAR_REGULAR ? given->target : given->name,
		    shown);
		return err_ctx(e, "%s", shown);
	}
	return layer_tar_end(r->lt, e);
}

static int
copy_file(struct run *r, struct err *e)
{
	AUTO(own_closep) int fd = -1;
	struct tree_mark mark, now;
	struct stat st;

	if (open_file(r->spec->file, &fd, &mark, e) < 0 ||
	    layer_tar_copy(r->lt, fd, (uint64_t)mark.size, e) < 0)
		return -1;
	if (fstat(fd, &st) < 0)
		return tree_err(e, errno, "look at");
	tree_mark_set(&now, &st);
	if (!tree_mark_equal(&now, &mark))
		return err_set(e, ERR_JOB, 0, "changed while it was read");
	return 0;
}

static int
run_source(struct run *r, struct err *e)
{
	switch (r->spec->source) {
	case LAYER_FROM_STORE:
		if (layer_store_put(r->job, r->lt, r->nar, r->source, e) < 0)
			return -1;
		return layer_tar_end(r->lt, e);
	case LAYER_FROM_ENTRIES:
		return run_entries(r, e);
	case LAYER_FROM_FILE:
		if (copy_file(r, e) == 0)
			return 0;
		return err_ctx(e, "%s", r->spec->file);
	}
	return err_set(e, ERR_JOB, 0, "unknown kind of layer");
}

static int
check_spec(const struct layer_spec *spec, struct err *e)
{
	if (spec->dialect != TAR_PAX && spec->dialect != TAR_GNU)
		return err_set(e, ERR_JOB, 0, "unknown tar dialect");
	if (strlen(spec->uname) > TAR_NAME_MAX ||
	    strlen(spec->gname) > TAR_NAME_MAX)
		return err_set(e, ERR_JOB, 0,
		    "uname or gname of more than %d bytes", TAR_NAME_MAX);
	return 0;
}

static int
run_into(const struct layer_job *job, struct source_nar *source,
    struct blob_stream *stream, struct layer_progress *progress,
    struct layer_result *out, struct err *e)
{
	AUTO(layer_sink_freep) struct layer_sink *sink = NULL;
	AUTO(layer_tar_freep) struct layer_tar *lt = NULL;
	AUTO(nar_hash_freep) struct nar_hash *nar = NULL;
	struct run r = {.job = job, .spec = &job->spec, .source = source};
	struct layer_result result = {.size = 0};

	if (check_spec(&job->spec, e) < 0)
		return -1;
	if (!job->spec.measure &&
	    layer_sink_new(
		&job->spec, job->behind, job->crew, stream, &sink, e) < 0)
		return -1;
	if (layer_tar_new(&job->spec, sink, progress, &lt, e) < 0)
		return -1;
	if (job->spec.verify && !job->spec.measure && nar_hash_new(&nar, e) < 0)
		return -1;
	r.lt = lt;
	r.nar = nar;
	if (run_source(&r, e) < 0 || layer_tar_flush(lt, e) < 0)
		return -1;
	if (sink != NULL && layer_sink_commit(sink, &result, e) < 0)
		return -1;
	result.tar_size = layer_tar_size(lt);
	result.entries = layer_tar_entries(lt);
	result.bytes_read = progress->read;
	*out = result;
	return 0;
}

static int
run(const struct layer_job *job, struct source_nar *source,
    struct layer_progress *progress, struct layer_result *out, struct err *e)
{
	AUTO(blob_stream_freep) struct blob_stream *stream = NULL;
	int rc;

	progress->stream = LAYER_STREAM_NONE;
	if (job->stream != NULL && !job->spec.measure &&
	    blob_stream_new(job->stream, &progress->cancel, &progress->sending,
		&stream, e) < 0)
		return -1;
	rc = run_into(job, source, stream, progress, out, e);
	if (stream != NULL)
		progress->stream = blob_stream_end(stream, e);
	return rc;
}

/* With another cache, as often as one turns out to be wrong on the way. */
static int
run_again(const struct layer_job *job, struct layer_progress *progress,
    struct layer_result *out, struct err *e)
{
	AUTO(source_nar_freep) struct source_nar *source = NULL;
	int rc;

	if (job->spec.source == LAYER_FROM_STORE && job->inputs != NULL &&
	    job->inputs->caches.n_urls > 0 &&
	    source_nar_new(
		job->inputs, &job->spec, &progress->cancel, &source, e) < 0)
		return -1;
	while ((rc = run(job, source, progress, out, e)) < 0 &&
	    source != NULL && source_nar_again(source))
		err_clear(e);
	if (rc == 0 && source != NULL) {
		out->fetched = source_nar_fetched(source, &out->fetch_us);
		snprintf(progress->notice, sizeof(progress->notice), "%s",
		    source_nar_notice(source));
	}
	return rc;
}

int
layer_run(const struct layer_job *job, struct layer_progress *progress,
    struct layer_result *out, struct err *e)
{
	atomic_store_explicit(&progress->bytes, 0, memory_order_relaxed);
	progress->notice[0] = '\0';
	if (run_again(job, progress, out, e) == 0)
		return 0;
	/* What a job may fail with: its input, or this machine. */
	if (e->kind == ERR_USAGE)
		e->kind = ERR_JOB;
	else if (e->kind != ERR_JOB)
		e->kind = ERR_RETRY;
	return -1;
}
