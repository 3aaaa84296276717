#include "layer_store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "err.h"
#include "layer_put.h"
#include "layer_run.h"
#include "layer_tar.h"
#include "look_ahead.h"
#include "nar_hash.h"
#include "own.h"
#include "source_nar.h"
#include "store_path.h"
#include "tree_walk.h"

struct store {
	const struct layer_job *job;
	const struct layer_spec *spec;
	struct layer_tar *lt;
	struct nar_hash *nar;	   /* or NULL: nothing is verified */
	struct source_nar *source; /* or NULL: no caches */
	struct look_ahead *la;	   /* of the walk, if the path is here */
	size_t item;		   /* whose entries come now */
	bool hashing;		   /* its NAR */
};

/* Each directory from / down to the store directory. */
static int
put_ancestors(struct store *r, struct err *e)
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
		entry = layer_put_blank(r->spec, TAR_DIRECTORY, name);
		entry.mode = 0755;
		if (layer_tar_header(r->lt, &entry, e) < 0)
			return -1;
	}
	return 0;
}

/* The NAR of the current item is complete: is it the one that is wanted? */
static int
finish_nar(struct store *r, struct err *e)
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

/*
 * Tells the NAR hash, if one is made, of the entry; what comes as a NAR has it.
 */
static int
put_nar(struct store *r, const struct tree_entry *entry, struct err *e)
{
	const char *base = entry->name + entry->base;

	if (entry->depth == 0 && r->la != NULL) {
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

/* Local or out of a NAR: r->la says which. */
static int
put_content(struct store *r, const struct tree_entry *found, struct err *e)
{
	char shown[TREE_SHOWN_MAX];

	if (r->la == NULL)
		return layer_tar_content_nar(r->lt, r->source, found->size, e);
	if (layer_put_file(r->lt, found->fd, &found->mark,
		r->hashing ? r->nar : NULL, r->la, e) == 0)
		return 0;
	tree_show(r->spec->store_root, found->name, shown);
	return err_ctx(e, "%s", shown);
}

static int
put_tree_entry(struct store *r, const struct tree_entry *found, struct err *e)
{
	struct tar_entry entry =
	    layer_put_blank(r->spec, found->type, found->name);

	entry.link = found->target;
	entry.mode = found->mode;
	entry.size = found->size;
	if (put_nar(r, found, e) < 0 || layer_tar_header(r->lt, &entry, e) < 0)
		return -1;
	return found->type == TAR_REGULAR ? put_content(r, found, e) : 0;
}

/* n store paths from first on, which are here. */
static int
put_local(struct store *r, size_t first, size_t n, struct err *e)
{
	AUTO(look_ahead_freep) struct look_ahead *la = NULL;
	AUTO(tree_walk_freep) struct tree_walk *walk = NULL;
	struct tree_entry found;
	int rc;

	if (tree_walk_new(r->spec->store_dir, r->spec->store_root,
		r->job->item + first, n, !r->spec->measure, &walk, e) < 0 ||
	    look_ahead_new(walk, r->job->files_ahead, &la, e) < 0)
		return -1;
	r->la = la;
	while ((rc = look_ahead_next(la, &found, e)) > 0) {
		found.item += first;
		if (put_tree_entry(r, &found, e) < 0)
			return -1;
	}
	r->la = NULL;
	return rc < 0 ? -1 : finish_nar(r, e);
}

static int
put_nar_of(struct store *r, size_t i, struct err *e)
{
	struct tree_entry found;
	int rc;

	if (r->spec->measure)
		return err_set(e, ERR_RETRY, 0,
		    "%s: not in %s%s, and what is only in a cache cannot be "
		    "measured",
		    r->job->item[i].path, r->spec->store_root,
		    r->spec->store_dir);
	if (source_nar_open(r->source, &r->job->item[i], i, e) < 0)
		return -1;
	while ((rc = source_nar_next(r->source, &found, e)) > 0)
		if (put_tree_entry(r, &found, e) < 0)
			return -1;
	return rc;
}

/* What cannot be looked at counts as here: reading it will say why. */
static int
is_here(const struct store *r, size_t i, bool *here, struct err *e)
{
	AUTO(own_freep) char *file = NULL;
	struct stat st;

	if (asprintf(&file, "%s%s", r->spec->store_root, r->job->item[i].path) <
	    0) {
		file = NULL;
		return err_set(e, ERR_RETRY, ENOMEM, "store path");
	}
	*here = lstat(file, &st) == 0 || (errno != ENOENT && errno != ENOTDIR);
	return 0;
}

/* Neighbours that are here are walked together: that can look far ahead. */
static int
put_from_both(struct store *r, struct err *e)
{
	size_t first = 0; /* of those that are here and not yet put */
	bool here = false;

	for (size_t i = 0; i < r->job->n; i++) {
		if (is_here(r, i, &here, e) < 0)
			return -1;
		if (here)
			continue;
		if ((first < i && put_local(r, first, i - first, e) < 0) ||
		    put_nar_of(r, i, e) < 0)
			return -1;
		first = i + 1;
	}
	return first < r->job->n ? put_local(r, first, r->job->n - first, e)
				 : 0;
}

int
layer_store_put(const struct layer_job *job, struct layer_tar *lt,
    struct nar_hash *nar, struct source_nar *source, struct err *e)
{
	struct store r = {.job = job,
	    .spec = &job->spec,
	    .lt = lt,
	    .nar = nar,
	    .source = source};

	if (put_ancestors(&r, e) < 0)
		return -1;
	return source != NULL ? put_from_both(&r, e)
			      : put_local(&r, 0, job->n, e);
}
