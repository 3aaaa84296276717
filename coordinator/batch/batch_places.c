#include "batch/batch_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch/batch_target.h"
#include "options/options.h"
#include "own.h"
#include "process/file_place.h"
#include "registry_name.h"
#include "request/request.h"
#include "text/json_file.h"

/* Where one image goes, however that is spelled. */
struct place {
	char *text;
	size_t image;
	bool file; /* or folder, and not a registry's */
};

struct places {
	struct place *place;
	size_t n, room;
};

static void
places_clear(struct places *all)
{
	for (size_t i = 0; i < all->n; i++)
		free(all->place[i].text);
	free(all->place);
}

bool
batch_place_is_file(const struct output_target *t)
{
	return t->kind != OUTPUT_NONE && t->kind != OUTPUT_REGISTRY;
}

/* "docker://HOST/REPOSITORY:TAG" */
static int
registry_place(
    const struct output_target *t, const char *tag, char **out, struct err *e)
{
	struct registry_name name;

	if (registry_name_parse(t->path + strlen("//"), &name, e) < 0)
		return -1;
	if (asprintf(out, "docker://%s/%s:%s", registry_name_server(name.host),
		name.repo, name.tag[0] != '\0' ? name.tag : tag) < 0) {
		*out = NULL;
		return err_set(e, ERR_FATAL, errno, "requests");
	}
	return 0;
}

int
batch_place_inside(const char *template, const char *path, struct err *e)
{
	const char *word = strchr(template, '{');
	AUTO(own_freep) char *folder = NULL;
	size_t len = word != NULL ? (size_t)(word - template) : 0;

	if (word == NULL)
		return 0;
	while (len > 0 && template[len - 1] != '/')
		len--;
	folder = len > 0 ? strndup(template, len) : strdup(".");
	if (folder == NULL)
		return err_set(e, ERR_FATAL, errno, "output");
	if (!file_place_below(path, folder))
		return err_set(e, ERR_USAGE, 0,
		    "%.300s leads to a place that is not inside of %.300s",
		    path, folder);
	return 0;
}

static int
add(struct places *all, char **text, size_t image, bool file, struct err *e)
{
	if (all->n == all->room) {
		size_t room = all->room == 0 ? 64 : 2 * all->room;
		struct place *grown =
		    reallocarray(all->place, room, sizeof(*grown));

		if (grown == NULL)
			return err_set(e, ERR_FATAL, errno, "requests");
		all->place = grown;
		all->room = room;
	}
	all->place[all->n++] = (struct place){STEAL(text), image, file};
	return 0;
}

static int
add_metadata(const struct batch *b, size_t i, struct places *all, struct err *e)
{
	const struct batch_image *image = &b->image[i];
	AUTO(own_freep) char *file = NULL;
	AUTO(own_freep) char *text = NULL;

	if (batch_metadata_make(b, image, batch_some_tag(image), &file, e) < 0)
		return -1;
	if (file == NULL)
		return 0;
	if ((text = file_place_real(file)) == NULL)
		return err_set(e, ERR_FATAL, errno, "%s", file);
	return add(all, &text, i, true, e);
}

static int
add_image(const struct batch *b, size_t i, struct places *all, struct err *e)
{
	AUTO(batch_targets_clear) struct batch_targets t = {.n = 0};
	const struct batch_image *image = &b->image[i];
	const char *tag = batch_some_tag(image);

	if (batch_targets_make(b, image, tag, &t, e) < 0)
		return -1;
	for (size_t k = 0; k < t.n; k++) {
		const struct output_target *target = &t.target[k];
		bool file = batch_place_is_file(target);
		AUTO(own_freep) char *text = NULL;

		if (target->kind == OUTPUT_NONE)
			continue;
		if (!file && registry_place(target, tag, &text, e) < 0)
			return -1;
		if (file && (text = file_place_real(target->path)) == NULL)
			return err_set(
			    e, ERR_FATAL, errno, "output %s", target->path);
		if (add(all, &text, i, file, e) < 0)
			return -1;
	}
	return add_metadata(b, i, all, e);
}

/* A folder, what is in it, and only then what goes on with another letter. */
static int
rank(unsigned char c)
{
	return c == '/' ? 1 : c == '\0' ? 0 : 1 + c;
}

/* Of equals, the first image's. */
static int
compare(const void *a, const void *b)
{
	const struct place *pa = a, *pb = b;
	const char *x = pa->text, *y = pb->text;

	while (*x != '\0' && *x == *y) {
		x++;
		y++;
	}
	if (*x != *y)
		return rank((unsigned char)*x) - rank((unsigned char)*y);
	return pa->image < pb->image ? -1 : pa->image > pb->image;
}

static bool
is_inside(const struct place *outer, const struct place *inner)
{
	size_t len = strlen(outer->text);

	return outer->file && inner->file &&
	    strncmp(outer->text, inner->text, len) == 0 &&
	    inner->text[len] == '/';
}

/* The image that is replaced as a whole takes what is in it along. */
static int
check_pair(const struct batch *b, const struct place *p, const struct place *q,
    struct err *e)
{
	bool same = strcmp(p->text, q->text) == 0;

	if (!same && !is_inside(p, q))
		return 0;
	if (same)
		return err_set(e, ERR_USAGE, 0,
		    "requests %zu (%.100s) and %zu (%.100s) have the same "
		    "place: %.200s",
		    p->image + 1, b->image[p->image].title, q->image + 1,
		    b->image[q->image].title, p->text);
	return err_set(e, ERR_USAGE, 0,
	    "the place of request %zu (%.100s) is inside of that of %zu "
	    "(%.100s): %.200s",
	    q->image + 1, b->image[q->image].title, p->image + 1,
	    b->image[p->image].title, q->text);
}

static int
check_metadata(const struct batch *b, const struct places *all, struct err *e)
{
	const char *file = b->options->metadata_file;
	struct place at = {.file = true};
	int rc = 0;

	if (file == NULL || strcmp(file, "-") == 0)
		return 0;
	if ((at.text = file_place_real(file)) == NULL)
		return err_set(e, ERR_FATAL, errno, "%s", file);
	for (size_t i = 0; i < all->n && rc == 0; i++) {
		const struct place *p = &all->place[i];

		if (strcmp(p->text, at.text) == 0 || is_inside(p, &at) ||
		    is_inside(&at, p))
			rc = err_set(e, ERR_USAGE, 0,
			    "%s: --metadata-file is in the place of %s", file,
			    b->image[p->image].title);
	}
	free(at.text);
	return rc;
}

static int
check_places(const struct batch *b, struct err *e)
{
	AUTO(places_clear) struct places all = {.n = 0};

	for (size_t i = 0; i < b->n; i++)
		if (!b->image[i].failed && add_image(b, i, &all, e) < 0)
			return -1;
	if (all.n > 0)
		qsort(all.place, all.n, sizeof(*all.place), compare);
	for (size_t i = 1; i < all.n; i++)
		if (check_pair(b, &all.place[i - 1], &all.place[i], e) < 0)
			return -1;
	return check_metadata(b, &all, e);
}

static int
check_names(const struct batch *b, struct err *e)
{
	AUTO(json_file_decrefp) json_t *seen = json_object();

	for (size_t i = 0; i < b->n; i++) {
		const char *title = b->image[i].title;
		const json_t *other = json_object_get(seen, title);

		if (b->image[i].failed)
			continue;
		if (other != NULL)
			return err_set(e, ERR_USAGE, 0,
			    "requests %lld and %zu have the same name: %.200s",
			    json_integer_value(other) + 1, i + 1, title);
		if (json_object_set_new_nocheck(
			seen, title, json_integer((json_int_t)i)) < 0)
			return err_set(e, ERR_FATAL, ENOMEM, "requests");
	}
	return 0;
}

/* What has no tag has one each, but nobody could tell them apart. */
int
batch_places_check(const struct batch *b, struct err *e)
{
	if (check_names(b, e) < 0)
		return -1;
	return check_places(b, e);
}
