#include "batch/batch_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch/batch_target.h"
#include "dispatch/dispatch.h"
#include "log.h"
#include "options/options.h"
#include "own.h"
#include "registry_name.h"
#include "request/request.h"
#include "text/json_file.h"

/* That an image goes to a repository. */
struct want {
	uint32_t image, push;
};

/*
 * Repositories that images go to.  Of each registry one is a layer's home:
 * the first image's that wants it there.
 */
struct batch_homes {
	struct push **push;
	size_t *registry; /* each one's number */
	size_t n, room;
	const char **base; /* of each registry */
	size_t n_registries;
	json_t *known; /* "HOST/REPOSITORY": its number; "HOST": it is away */
	struct want *want;
	size_t n_wants, room_wants;
	bool whole;	/* it is known where all images go */
	bool *only;	/* images that go to registries alone */
	uint32_t *home; /* n_registries a layer */
	bool *alone;	/* layers that are wanted there alone */
};

void
batch_homes_free(struct batch_homes *h)
{
	if (h == NULL)
		return;
	for (size_t i = 0; i < h->n; i++)
		push_free(h->push[i]);
	json_decref(h->known);
	free(h->push);
	free(h->registry);
	free(h->base);
	free(h->want);
	free(h->only);
	free(h->home);
	free(h->alone);
	free(h);
}

static int
no_memory(struct err *e)
{
	return err_set(e, ERR_FATAL, ENOMEM, "pushes");
}

static int
find_registry(struct batch_homes *h, const char *base, size_t *out)
{
	const char **grown;

	for (*out = 0; *out < h->n_registries; ++*out)
		if (strcmp(h->base[*out], base) == 0)
			return 0;
	grown = reallocarray(h->base, h->n_registries + 1, sizeof(*grown));
	if (grown == NULL)
		return -1;
	h->base = grown;
	h->base[h->n_registries++] = base;
	return 0;
}

static int
make_room(struct batch_homes *h, struct err *e)
{
	size_t room = h->room == 0 ? 64 : 2 * h->room;
	struct push **push;
	size_t *registry;

	if (h->n < h->room)
		return 0;
	if ((push = reallocarray(h->push, room, sizeof(*push))) == NULL)
		return no_memory(e);
	h->push = push;
	registry = reallocarray(h->registry, room, sizeof(*registry));
	if (registry == NULL)
		return no_memory(e);
	h->registry = registry;
	h->room = room;
	return 0;
}

/*
 * *out: the repository's number, or -1: its registry is away, as images that
 * go there will say.  Nothing but the registry itself is asked.
 */
static int
open_home(struct batch *b, struct batch_homes *h, const char *place,
    const struct registry_name *name, json_int_t *out, struct err *e)
{
	char text[sizeof(name->host) + sizeof(name->repo) + 1];
	struct err why = ERR_INIT;
	const json_t *known;

	snprintf(text, sizeof(text), "%s/%s", name->host, name->repo);
	known = json_object_get(h->known, text);
	if (known == NULL)
		known = json_object_get(h->known, name->host);
	*out = json_integer_value(known);
	if (known != NULL)
		return 0;
	if (make_room(h, e) < 0)
		return -1;
	*out = (json_int_t)h->n;
	if (push_prepare(place, &b->push, &h->push[h->n], &why) < 0) {
		log_line(LOG_DEBUG, "%s: %s", name->host, why.text);
		*out = -1;
	} else {
		const char *base = push_base(h->push[h->n]);

		h->n++;
		if (find_registry(h, base, &h->registry[*out]) < 0)
			return no_memory(e);
	}
	if (json_object_set_new(
		h->known, *out < 0 ? name->host : text, json_integer(*out)) < 0)
		return no_memory(e);
	return 0;
}

static int
add_want(struct batch_homes *h, uint32_t image, uint32_t push, struct err *e)
{
	size_t room = h->room_wants == 0 ? 64 : 2 * h->room_wants;
	struct want *grown;

	if (h->n_wants == h->room_wants) {
		grown = reallocarray(h->want, room, sizeof(*grown));
		if (grown == NULL)
			return no_memory(e);
		h->want = grown;
		h->room_wants = room;
	}
	h->want[h->n_wants++] = (struct want){image, push};
	return 0;
}

/* Whether the repository is another one as soon as the tag is known. */
static bool
hangs_on_tag(const struct batch *b, const struct batch_image *image, size_t k,
    const struct registry_name *name)
{
	AUTO(batch_targets_clear) struct batch_targets t = {.n = 0};
	struct registry_name other;
	struct err e = ERR_INIT;

	return image->request->tag == NULL &&
	    (batch_targets_make(b, image, "other", &t, &e) < 0 ||
		registry_name_parse(
		    t.target[k].path + strlen("//"), &other, &e) < 0 ||
		strcmp(other.repo, name->repo) != 0 ||
		strcmp(other.host, name->host) != 0);
}

/* Where the image goes; *only: to registries, all of which are known. */
static int
open_image(struct batch *b, struct batch_homes *h, uint32_t i, bool *only,
    struct err *e)
{
	const struct batch_image *image = &b->image[i];
	AUTO(batch_targets_clear) struct batch_targets t = {.n = 0};
	struct err why = ERR_INIT;

	*only = false;
	if (batch_targets_make(b, image, batch_some_tag(image), &t, &why) < 0)
		return 0;
	*only = true;
	for (size_t k = 0; k < t.n; k++) {
		const char *place = t.target[k].path + strlen("//");
		struct registry_name name;
		json_int_t push = -1;

		if (t.target[k].kind == OUTPUT_NONE)
			continue;
		if (t.target[k].kind == OUTPUT_REGISTRY &&
		    registry_name_parse(place, &name, &why) == 0 &&
		    !hangs_on_tag(b, image, k, &name) &&
		    open_home(b, h, place, &name, &push, e) < 0)
			return -1;
		*only &= push >= 0;
		h->whole &= push >= 0 || t.target[k].kind != OUTPUT_REGISTRY;
		if (push >= 0 && add_want(h, i, (uint32_t)push, e) < 0)
			return -1;
	}
	return 0;
}

/* Layers that have a home somewhere, and no image that needs their bytes. */
static void
find_alone(const struct batch *b, struct batch_homes *h)
{
	for (size_t k = 0; k < h->n_wants; k++) {
		const struct batch_image *image = &b->image[h->want[k].image];

		for (size_t i = 0; i < image->n_layers; i++)
			h->alone[image->layer[i]] = true;
	}
	for (size_t i = 0; i < b->n; i++) {
		const struct batch_image *image = &b->image[i];

		for (size_t k = 0; !h->only[i] && k < image->n_layers; k++)
			h->alone[image->layer[k]] = false;
	}
}

static int
find_homes(const struct batch *b, struct batch_homes *h, struct err *e)
{
	size_t n = h->n_registries;

	h->home = calloc(b->layers.n * n + 1, sizeof(*h->home));
	h->alone = calloc(b->layers.n + 1, sizeof(*h->alone));
	if (h->home == NULL || h->alone == NULL)
		return no_memory(e);
	memset(h->home, 0xff, b->layers.n * n * sizeof(*h->home));
	for (size_t k = 0; k < h->n_wants; k++) {
		const struct batch_image *image = &b->image[h->want[k].image];
		uint32_t push = h->want[k].push;

		for (size_t i = 0; i < image->n_layers; i++) {
			uint32_t *home =
			    &h->home[image->layer[i] * n + h->registry[push]];

			if (*home == DISPATCH_NO_HOME)
				*home = push;
		}
	}
	/* What is kept, shared or compared is wanted here, too. */
	if (b->temp != NULL && b->shared == NULL && b->options->audit == 0)
		find_alone(b, h);
	return 0;
}

int
batch_homes_find(struct batch *b, struct err *e)
{
	struct batch_homes *h = calloc(1, sizeof(*h));

	if (b->options->push_from_here || b->n_jobs == 0) {
		free(h);
		return 0;
	}
	if (h == NULL)
		return no_memory(e);
	b->homes = h;
	h->whole = true;
	if ((h->known = json_object()) == NULL ||
	    (h->only = calloc(b->n + 1, sizeof(*h->only))) == NULL)
		return no_memory(e);
	for (size_t i = 0; i < b->n; i++)
		if (!b->image[i].failed &&
		    open_image(b, h, (uint32_t)i, &h->only[i], e) < 0)
			return -1;
	return find_homes(b, h, e);
}

bool
batch_homes_may_be_at(const struct batch *b, uint32_t layer, const char *base)
{
	const struct batch_homes *h = b->homes;

	if (h == NULL || !h->whole)
		return true;
	for (size_t r = 0; r < h->n_registries; r++)
		if (strcmp(h->base[r], base) == 0)
			return h->home[layer * h->n_registries + r] !=
			    DISPATCH_NO_HOME;
	return false;
}

void
batch_homes_tell(struct batch *b, struct push *const **pushes, size_t *n_pushes)
{
	struct batch_homes *h = b->homes;

	if (h == NULL || h->n == 0)
		return;
	*pushes = h->push;
	*n_pushes = h->n;
	for (size_t j = 0; j < b->n_jobs; j++) {
		size_t layer = b->layer_of[j];

		b->job[j].home = &h->home[layer * h->n_registries];
		b->job[j].n_homes = h->n_registries;
		b->job[j].only_push = h->alone[layer];
	}
}
