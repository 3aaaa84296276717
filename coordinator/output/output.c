#include "output/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "output/output_ops.h"
#include "own.h"
#include "registry_name.h"

static void
none_free(struct output *o)
{
	free(o);
}

static const struct output_ops none_ops = {
    .free = none_free,
};

static int
output_none_open(const struct output_target *target, struct scratch *scratch,
    struct output **out, struct err *e)
{
	struct output *o = calloc(1, sizeof(*o));

	(void)target;
	if (o == NULL)
		return err_set(e, ERR_FATAL, errno, "output");
	o->ops = &none_ops;
	o->scratch = scratch;
	*out = o;
	return 0;
}

static const struct {
	const char *name, *place; /* place: what errors call it */
	int (*open)(const struct output_target *target, struct scratch *scratch,
	    struct output **out, struct err *e);
} kinds[] = {
    [OUTPUT_NONE] = {"none", NULL, output_none_open},
    [OUTPUT_DOCKER_ARCHIVE] = {"docker-archive", "FILE",
	output_docker_archive_open},
    [OUTPUT_OCI] = {"oci", "DIR", output_oci_open},
    [OUTPUT_OCI_ARCHIVE] = {"oci-archive", "FILE", output_oci_archive_open},
    [OUTPUT_REGISTRY] = {"docker", "//HOST[:PORT]/REPOSITORY[:TAG]",
	output_registry_open},
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

const char *
output_kind_name(enum output_kind kind)
{
	return kinds[kind].name;
}

/* skopeo's oci:DIR:TAG; here the tag has its own option. */
static int
check_no_tag(const char *text, const char *path, struct err *e)
{
	const char *slash = strrchr(path, '/');
	const char *colon = strchr(slash != NULL ? slash : path, ':');

	if (colon == NULL)
		return 0;
	return err_set(e, ERR_USAGE, 0,
	    "'%s': '%s' is not part of the folder's name; give the tag with "
	    "--tag",
	    text, colon);
}

static int
check_registry(const char *text, const char *path, struct err *e)
{
	struct registry_name name;

	if (strncmp(path, "//", 2) != 0)
		return err_set(e, ERR_USAGE, 0,
		    "'%.200s': docker://HOST[:PORT]/REPOSITORY[:TAG] is wanted",
		    text);
	return registry_name_parse(path + 2, &name, e);
}

int
output_target_parse(const char *text, struct output_target *out, struct err *e)
{
	size_t len = strcspn(text, ":");

	for (size_t k = 0; k < N_KINDS; k++) {
		const char *path = text + len;

		if (strlen(kinds[k].name) != len ||
		    strncmp(kinds[k].name, text, len) != 0)
			continue;
		if (kinds[k].place == NULL && *path != '\0')
			return err_set(
			    e, ERR_USAGE, 0, "'%s': none takes no place", text);
		if (kinds[k].place != NULL && *path == ':')
			path++;
		if (kinds[k].place != NULL && *path == '\0')
			return err_set(e, ERR_USAGE, 0,
			    "'%s': a place is missing: %s:%s", text,
			    kinds[k].name, kinds[k].place);
		if (k != OUTPUT_OCI && path[0] != '\0' &&
		    path[strlen(path) - 1] == '/')
			return err_set(e, ERR_USAGE, 0,
			    "'%s': a file is wanted, not a folder", text);
		if (k == OUTPUT_OCI && strcmp(path, "-") == 0)
			return err_set(e, ERR_USAGE, 0,
			    "'%s': a layout is a folder; oci-archive:- goes "
			    "to standard output",
			    text);
		if (k == OUTPUT_OCI && check_no_tag(text, path, e) < 0)
			return -1;
		if (k == OUTPUT_REGISTRY && check_registry(text, path, e) < 0)
			return -1;
		/* Whatever it is: it is written on where it stands. */
		if ((k == OUTPUT_DOCKER_ARCHIVE || k == OUTPUT_OCI_ARCHIVE) &&
		    strcmp(path, "/dev/stdout") == 0)
			path = "-";
		out->kind = (enum output_kind)k;
		out->path = path;
		return 0;
	}
	return err_set(e, ERR_USAGE, 0,
	    "'%s' is no output: docker-archive:FILE, oci:DIR, "
	    "oci-archive:FILE, "
	    "docker://HOST/REPOSITORY or none is wanted ('-' is standard "
	    "output)",
	    text);
}

int
output_open(const struct output_target *target, struct scratch *scratch,
    struct output **out, struct err *e)
{
	if (kinds[target->kind].open(target, scratch, out, e) < 0)
		return err_ctx(
		    e, "output %s:%s", kinds[target->kind].name, target->path);
	return 0;
}

bool
output_takes_blobs(const struct output *o)
{
	return o->ops->takes_blobs;
}

const char *
output_blobs(const struct output *o)
{
	return o->blobs;
}

const char *
output_registry(const struct output *o)
{
	return o->registry;
}

const char *
output_repository(const struct output *o)
{
	return o->repository;
}

struct push *
output_push(const struct output *o)
{
	return o->push;
}

bool
output_needs_sizes(const struct output *o)
{
	return o->needs_sizes;
}

void
output_stage(struct output *o)
{
	o->needs_sizes = false;
}

void
output_share(struct output *o)
{
	o->shares = o->ops->takes_blobs;
}

int
output_layout(struct output *o, const struct image *image, struct err *e)
{
	return o->ops->layout != NULL ? o->ops->layout(o, image, e) : 0;
}

bool
output_sink(struct output *o, size_t i, struct layer_output *out)
{
	return !o->shares && o->ops->sink != NULL && o->ops->sink(o, i, out);
}

int
output_commit(struct output *o, const struct image *image,
    const struct output *blobs_of, struct err *e)
{
	if (o->ops->commit == NULL)
		return 0;
	return o->ops->commit(o, image, o->shares ? blobs_of : NULL, e);
}

const char *
output_said(const struct output *o)
{
	return o->said;
}

const struct push_counts *
output_pushed(const struct output *o)
{
	return &o->pushed;
}

void
output_free(struct output *o)
{
	if (o != NULL)
		o->ops->free(o);
}

void
output_freep(struct output **o)
{
	output_free(*o);
	*o = NULL;
}
