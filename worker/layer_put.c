#include "layer_put.h"

#include <errno.h>
#include <sys/stat.h>

#include "err.h"
#include "layer_spec.h"
#include "layer_tar.h"
#include "tree_walk.h"

/* The smallest page there is. */
#define PAGE 4096

struct tar_entry
layer_put_blank(
    const struct layer_spec *spec, enum tar_type type, const char *name)
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

int
layer_put_file(struct layer_tar *lt, int fd, const struct tree_mark *mark,
    struct nar_hash *nar, struct look_ahead *la, struct err *e)
{
	struct tree_mark now;
	struct stat st;

	if (layer_tar_content(lt, fd, (uint64_t)mark->size, nar, la, e) < 0)
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
