#include "batch/batch_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch/batch_target.h"
#include "text/json_file.h"
#include "options/options.h"
#include "own.h"
#include "request/request.h"

void
batch_targets_clear(struct batch_targets *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->text[i]);
	memset(t, 0, sizeof(*t));
}

static int
check_target(const struct output_target *t, const char *text, struct err *e)
{
	if (strcmp(t->path, "-") == 0)
		return err_set(e, ERR_USAGE, 0,
		    "'%.200s': a batch has no standard output for images",
		    text);
	return 0;
}

int
batch_targets_make(const struct batch *b, const struct batch_image *image,
    const char *tag, struct batch_targets *out, struct err *e)
{
	AUTO(batch_targets_clear) struct batch_targets t = {.n = 0};
	bool own = image->extra.n_to > 0;
	size_t n = own ? image->extra.n_to : b->options->n_outputs;

	if (n == 0)
		return err_set(e, ERR_USAGE, 0,
		    "it has no output: \"to\" in the request or --to is "
		    "wanted");
	for (size_t i = 0; i < n; i++) {
		const char *template =
		    own ? image->extra.to[i] : b->options->to[i];

		if (batch_target_expand(
			template, image->request->name, tag, &t.text[i], e) < 0)
			return err_ctx(e, "to");
		t.n++;
		if (output_target_parse(t.text[i], &t.target[i], e) < 0 ||
		    check_target(&t.target[i], t.text[i], e) < 0 ||
		    (batch_place_is_file(&t.target[i]) &&
			batch_place_inside(strchr(template, ':') + 1,
			    t.target[i].path, e) < 0))
			return err_ctx(e, "to");
		t.target[i].push = &b->push;
		t.target[i].links = true;
	}
	*out = t;
	t.n = 0; /* the caller's */
	return 0;
}

int
batch_metadata_make(const struct batch *b, const struct batch_image *image,
    const char *tag, char **out, struct err *e)
{
	const char *template = b->options->image_metadata;
	AUTO(own_freep) char *file = NULL;

	*out = NULL;
	if (template == NULL)
		return 0;
	if (batch_target_expand(template, image->request->name, tag, &file, e) <
		0 ||
	    batch_place_inside(template, file, e) < 0)
		return err_ctx(e, "--image-metadata");
	*out = STEAL(&file);
	return 0;
}

/* Layers of an image are encoded one way, as all its outputs can take it. */
static int
choose_encoding(const struct batch *b, const struct batch_targets *t,
    struct encoding *out, struct err *e)
{
	bool archive = false, registry = false, other = false;

	for (size_t i = 0; i < t->n; i++) {
		archive |= t->target[i].kind == OUTPUT_DOCKER_ARCHIVE;
		registry |= t->target[i].kind == OUTPUT_REGISTRY;
		other |= t->target[i].kind != OUTPUT_DOCKER_ARCHIVE;
	}
	*out = b->options->encoding;
	if (registry && !b->options->encoding_given)
		return encoding_parse("gzip", out, e);
	if (!other)
		*out = (struct encoding){ENCODING_NONE, 0};
	if (archive && out->kind != ENCODING_NONE)
		return err_set(e, ERR_USAGE, 0,
		    "a docker-archive holds plain tars: in a batch it goes "
		    "beside other outputs with --encoding none only");
	return 0;
}

const char *
batch_some_tag(const struct batch_image *image)
{
	return image->request->tag != NULL ? image->request->tag : "tag";
}

/* Errors do not say which request it is. */
static int
read_request(
    struct batch *b, struct batch_image *image, json_t *doc, struct err *e)
{
	const struct request *r;

	if (batch_extra_take(doc, &image->extra, e) < 0 ||
	    request_from(NULL, doc, b->options, &image->request, e) < 0)
		return -1;
	r = image->request;
	free(image->title);
	if (asprintf(&image->title, "%s%s%s", r->name,
		r->tag != NULL ? ":" : "", r->tag != NULL ? r->tag : "") < 0) {
		image->title = NULL;
		return err_set(e, ERR_FATAL, errno, "request");
	}
	free(image->name);
	if ((image->name = strdup(r->name)) == NULL)
		return err_set(e, ERR_FATAL, errno, "request");
	return 0;
}

static int
read_one(struct batch *b, struct batch_image *image,
    const struct batch_entry *entry, struct err *e)
{
	AUTO(batch_targets_clear) struct batch_targets t = {.n = 0};
	AUTO(own_freep) char *metadata = NULL;

	if (entry->doc == NULL)
		return err_set(e, ERR_USAGE, 0, "%s", entry->fault);
	if (read_request(b, image, entry->doc, e) < 0 ||
	    batch_targets_make(b, image, batch_some_tag(image), &t, e) < 0 ||
	    batch_metadata_make(b, image, batch_some_tag(image), &metadata, e) <
		0)
		return -1;
	return choose_encoding(b, &t, &image->encoding, e);
}

/* Until more is known: its name, or else where it is. */
static int
first_title(
    struct batch_image *image, const struct batch_entry *entry, struct err *e)
{
	const char *name =
	    json_string_value(json_object_get(entry->doc, "name"));

	image->where = strdup(entry->title);
	image->title = strdup(name != NULL ? name : entry->title);
	if (name != NULL && (image->name = strdup(name)) == NULL)
		return err_set(e, ERR_FATAL, errno, "requests");
	return image->where != NULL && image->title != NULL
	    ? 0
	    : err_set(e, ERR_FATAL, errno, "requests");
}

int
batch_requests_read(struct batch *b, struct err *e)
{
	AUTO(batch_file_freep) struct batch_file *f = NULL;

	if (batch_file_read(b->options->request_file, &f, e) < 0)
		return -1;
	if ((b->image = calloc(f->n, sizeof(*b->image))) == NULL)
		return err_set(e, ERR_FATAL, errno, "requests");
	b->n = f->n;
	for (size_t i = 0; i < f->n; i++) {
		struct err why = ERR_INIT;

		if (first_title(&b->image[i], &f->entry[i], e) < 0)
			return -1;
		if (read_one(b, &b->image[i], &f->entry[i], &why) == 0)
			continue;
		if (why.kind == ERR_FATAL) {
			*e = why;
			return -1;
		}
		batch_image_fail(b, (uint32_t)i, &why);
	}
	return batch_places_check(b, e);
}
