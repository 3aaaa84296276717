#include "batch/batch_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "build/base_fetch.h"
#include "image/base_image.h"
#include "own.h"
#include "progress/progress.h"
#include "registry_name.h"
#include "request/request.h"

/* One that was opened, or what is wrong with it. */
struct base {
	char *name, *architecture; /* or NULL: this machine's */
	struct base_image *image;
	struct err err;
};

struct batch_bases {
	struct base *base;
	size_t n;
};

int
batch_bases_new(struct batch_bases **out, struct err *e)
{
	if ((*out = calloc(1, sizeof(**out))) == NULL)
		return err_set(e, ERR_FATAL, errno, "base images");
	return 0;
}

void
batch_bases_free(struct batch_bases *all)
{
	if (all == NULL)
		return;
	for (size_t i = 0; i < all->n; i++) {
		free(all->base[i].name);
		free(all->base[i].architecture);
		base_image_free(all->base[i].image);
	}
	free(all->base);
	free(all);
}

static bool
same(const struct base *base, const struct base_source *from)
{
	const char *a = base->architecture, *b = from->architecture;

	return strcmp(base->name, from->name) == 0 &&
	    (a == NULL || b == NULL ? a == b : strcmp(a, b) == 0);
}

static int
add(struct batch_bases *all, const struct base_source *from, struct err *e)
{
	struct base *base;

	base = reallocarray(all->base, all->n + 1, sizeof(*base));
	if (base == NULL)
		return err_set(e, ERR_FATAL, errno, "base images");
	all->base = base;
	base = &all->base[all->n++];
	*base = (struct base){.err = ERR_INIT};
	if ((base->name = strdup(from->name)) == NULL ||
	    (from->architecture != NULL &&
		(base->architecture = strdup(from->architecture)) == NULL))
		return err_set(e, ERR_FATAL, errno, "base images");
	return 0;
}

int
batch_bases_open(struct batch_bases *all, const struct base_source *from,
    struct scratch *scratch, const struct base_image **out, struct err *e)
{
	struct base *base;
	size_t i = 0;

	while (i < all->n && !same(&all->base[i], from))
		i++;
	if (i == all->n) {
		if (add(all, from, e) < 0)
			return -1;
		base_image_open(
		    from, scratch, &all->base[i].image, &all->base[i].err);
	}
	base = &all->base[i];
	if (base->err.kind != ERR_NONE) {
		*e = base->err;
		return -1;
	}
	*out = base->image;
	return 0;
}

bool
batch_image_stays(const struct batch *b, const struct batch_image *image,
    const char *registry)
{
	AUTO(batch_targets_clear) struct batch_targets t = {.n = 0};
	const char *host = strstr(registry, "://");
	struct err e = ERR_INIT;

	if (host == NULL ||
	    batch_targets_make(b, image, batch_some_tag(image), &t, &e) < 0)
		return false;
	for (size_t i = 0; i < t.n; i++) {
		struct registry_name name;

		if (t.target[i].kind == OUTPUT_NONE)
			continue;
		if (t.target[i].kind != OUTPUT_REGISTRY ||
		    registry_name_parse(
			t.target[i].path + strlen("//"), &name, &e) < 0 ||
		    strcmp(registry_name_server(name.host),
			host + strlen("://")) != 0)
			return false;
	}
	return true;
}

/* Whether the image needs the bytes of what this base has elsewhere. */
static bool
needs(const struct batch *b, size_t i, const struct base *base)
{
	const struct batch_image *image = &b->image[i];

	return !image->failed && image->base == base->image &&
	    !batch_image_stays(b, image, base->image->registry);
}

void
batch_bases_fetch(struct batch *b)
{
	for (size_t k = 0; k < b->bases->n; k++) {
		struct base *base = &b->bases->base[k];
		struct err why = ERR_INIT;
		size_t i = 0;

		if (base->image == NULL || base->image->registry == NULL)
			continue;
		while (i < b->n && !needs(b, i, base))
			i++;
		if (i == b->n)
			continue;
		progress_phase(b->progress, "fetching base images");
		if (base_fetch(base->image, b->cache, NULL, &why) == 0)
			continue;
		for (; i < b->n; i++)
			if (needs(b, i, base))
				batch_image_fail(b, (uint32_t)i, &why);
	}
}
