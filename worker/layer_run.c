#include "layer_run.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "err.h"
#include "layer_sink.h"
#include "layer_tar.h"
#include "look_ahead.h"
#include "nar_hash.h"
#include "own.h"
#include "store_path.h"
#include "tree_walk.h"

/* The smallest page there is. */
#define PAGE 4096

struct run {
	const struct layer_job *job;
	const struct layer_spec *spec;
	struct layer_tar *lt;
	struct nar_hash *nar; /* or NULL: nothing is verified */
	struct look_ahead *la;
	size_t item;  /* whose entries come now */
	bool hashing; /* its NAR */
};

/* What all entries of a layer have in common. */
static struct tar_entry
blank_entry(const struct layer_spec *spec, enum tar_type type, const char *name)
{
	return (struct tar_entry){.type = type,
	    .name = name,
	    .link = "",
	    .uid = spec->uid,
	    .gid = spec->gid,
	    .uname = spec->uname,
	    .gname = spec->gname,
	    .mtime = spec->mtime};
}

/* The file at fd goes into the tar, and has to stay what it was. */
static int
put_content(struct run *r, int fd, const struct tree_mark *mark,
    struct nar_hash *nar, struct err *e)
{
	struct tree_mark now;
	struct stat st;

	if (layer_tar_content(r->lt, fd, (uint64_t)mark->size, nar, r->la, e) <
	    0)
		return -1;
	/*
	 * What fits a page was read, and seen to end, by one copy of that
	 * page: older or newer, but not a mixture.
	 */
	if (fd < 0 || mark->size <= PAGE)
		return 0;
	if (fstat(fd, &st) < 0)
		return tree_err(e, errno, "look at");
	tree_mark_set(&now, &st);
	if (!tree_mark_equal(&now, mark))
		return err_set(e, ERR_JOB, 0, "changed while it was read");
	return 0;
}

/* Each directory from / down to the store directory. */
static int
put_ancestors(struct run *r, struct err *e)
{
	char name[STORE_PATH_MAX + 1];
	size_t len = strlen(r->spec->store_dir);

	if (store_dir_check(r->spec->store_dir, e) < 0)
		return -1;
	if (len >= sizeof(name))
		return err_set(e, ERR_JOB, 0,
		    "store directory of more than %d bytes", STORE_PATH_MAX);
	for (size_t i = 1; i <= len; i++) {
		struct tar_entry entry;

		if (i < len && r->spec->store_dir[i] != '/')
			continue;
		memcpy(name, r->spec->store_dir, i);
		name[i] = '\0';
		entry = blank_entry(r->spec, TAR_DIRECTORY, name);
		entry.mode = 0755;
		if (layer_tar_header(r->lt, &entry, e) < 0)
			return -1;
	}
	return 0;
}

/* The NAR of the current item is complete: is it the one that is wanted? */
static int
finish_nar(struct run *r, struct err *e)
{
	char want[NAR_HASH_TEXT_MAX], found[NAR_HASH_TEXT_MAX];
	const struct layer_item *item = &r->job->item[r->item];
	struct digest hash;
	uint64_t size;

	if (!r->hashing)
		return 0;
	r->hashing = false;
	nar_hash_finish(r->nar, &hash, &size);
	if (digest_equal(&hash, &item->nar_hash) && size == item->nar_size)
		return 0;
	nar_hash_print(&item->nar_hash, want);
	nar_hash_print(&hash, found);
	return err_set(e, ERR_JOB, 0,
	    "%s is damaged: narHash is %s (%" PRIu64
	    " bytes), expected %s (%" PRIu64
	    " bytes); nix-store --repair-path may mend it",
	    item->path, found, size, want, item->nar_size);
}

/* Tells the NAR hash, if one is made, of the entry. */
static int
put_nar(struct run *r, const struct tree_entry *entry, struct err *e)
{
	const char *base = entry->name + entry->base;

	if (entry->depth == 0) {
		if (finish_nar(r, e) < 0)
			return -1;
		r->item = entry->item;
		r->hashing =
		    r->nar != NULL && r->job->item[entry->item].has_hash;
		if (r->hashing)
			nar_hash_start(r->nar);
	}
	if (!r->hashing)
		return 0;
	switch (entry->type) {
	case TAR_DIRECTORY:
		nar_hash_directory(r->nar, entry->depth, base);
		break;
	case TAR_SYMLINK:
		nar_hash_symlink(r->nar, entry->depth, base, entry->target);
		break;
	case TAR_REGULAR:
		nar_hash_regular(r->nar, entry->depth, base,
		    (entry->mode & 0100) != 0, entry->size);
		break;
	}
	return 0;
}

static int
put_tree_entry(struct run *r, const struct tree_entry *found, struct err *e)
{
	struct tar_entry entry = blank_entry(r->spec, found->type, found->name);
	char shown[TREE_SHOWN_MAX];

	entry.link = found->target;
	entry.mode = found->mode;
	entry.size = found->size;
	if (put_nar(r, found, e) < 0 || layer_tar_header(r->lt, &entry, e) < 0)
		return -1;
	if (found->type != TAR_REGULAR)
		return 0;
	if (put_content(r, found->fd, &found->mark, r->hashing ? r->nar : NULL,
		e) < 0) {
		tree_show(r->spec->store_root, found->name, shown);
		return err_ctx(e, "%s", shown);
	}
	return 0;
}

static int
run_store(struct run *r, struct err *e)
{
	AUTO(look_ahead_freep) struct look_ahead *la = NULL;
	AUTO(tree_walk_freep) struct tree_walk *walk = NULL;
	struct tree_entry found;
	int rc;

	if (put_ancestors(r, e) < 0 ||
	    tree_walk_new(r->spec->store_dir, r->spec->store_root, r->job->item,
		r->job->n, !r->spec->measure, &walk, e) < 0 ||
	    look_ahead_new(walk, &la, e) < 0)
		return -1;
	r->la = la;
	while ((rc = look_ahead_next(la, &found, e)) > 0)
		if (put_tree_entry(r, &found, e) < 0)
			return -1;
	if (rc < 0 || finish_nar(r, e) < 0)
		return -1;
	return layer_tar_end(r->lt, e);
}

/* Opens a file that is named by the job itself. */
static int
open_file(const char *path, int *out, struct tree_mark *mark, struct err *e)
{
	struct stat st;
	int fd;

	fd = open(
	    path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
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
	return put_content(r, fd, &mark, NULL, e);
}

static int
put_entry(struct run *r, const struct layer_entry *given, struct err *e)
{
	struct tar_entry entry = blank_entry(r->spec, given->type, given->name);

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
		return run_store(r, e);
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
run(const struct layer_job *job, struct layer_progress *progress,
    struct layer_result *out, struct err *e)
{
	AUTO(layer_sink_freep) struct layer_sink *sink = NULL;
	AUTO(layer_tar_freep) struct layer_tar *lt = NULL;
	AUTO(nar_hash_freep) struct nar_hash *nar = NULL;
	struct run r = {.job = job, .spec = &job->spec};
	struct layer_result result = {.size = 0};

	if (check_spec(&job->spec, e) < 0)
		return -1;
	if (!job->spec.measure &&
	    layer_sink_new(&job->spec, job->behind, &sink, e) < 0)
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
	result.bytes_read = layer_tar_bytes_read(lt);
	*out = result;
	return 0;
}

int
layer_run(const struct layer_job *job, struct layer_progress *progress,
    struct layer_result *out, struct err *e)
{
	atomic_store_explicit(&progress->bytes, 0, memory_order_relaxed);
	if (run(job, progress, out, e) == 0)
		return 0;
	/* What a job may fail with: its input, or this machine. */
	if (e->kind == ERR_USAGE)
		e->kind = ERR_JOB;
	else if (e->kind != ERR_JOB)
		e->kind = ERR_RETRY;
	return -1;
}
