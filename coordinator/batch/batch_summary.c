#include "batch/batch_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "text/human.h"
#include "text/json_text.h"
#include "text/stream_end.h"
#include "text/json_file.h"
#include "log.h"
#include "image/metadata.h"
#include "monotime.h"
#include "options/options.h"
#include "own.h"
#include "progress/json_lines.h"
#include "text/python_json.h"

#define NAME_WIDTH_MAX 48
#define ID_WIDTH 12

/* The layers of one image, by where they came from. */
struct tally {
	size_t made, shared, known;
	uint64_t made_bytes; /* of tars that were made for it */
};

static void
tally(const struct batch *b, size_t i, struct tally *out)
{
	const struct batch_image *image = &b->image[i];

	*out = (struct tally){0};
	for (size_t k = 0; k < image->n_layers; k++) {
		const struct batch_layer *l = &b->layers.layer[image->layer[k]];

		if (l->state == BATCH_KNOWN) {
			out->known++;
		} else if (l->state == BATCH_MADE && l->image == i) {
			out->made++;
			out->made_bytes += l->made.result.tar_size;
		} else if (l->state == BATCH_MADE) {
			out->shared++;
		}
	}
}

/* What all of it came to. */
struct totals {
	size_t done, failed;
	struct batch_counts layers;
	uint64_t bytes; /* of all tars of all images that are done */
	struct push_counts pushed;
	double seconds;
};

static void
add_up(const struct batch *b, struct totals *t)
{
	*t = (struct totals){
	    .seconds = (double)(monotime_ms() - b->start) / 1000};
	batch_layers_count(&b->layers, &t->layers);
	for (size_t i = 0; i < b->n; i++) {
		const struct batch_image *image = &b->image[i];

		t->done += image->done;
		t->failed += image->failed;
		for (size_t k = 0; image->done && k < image->n_layers; k++)
			t->bytes += b->layers.layer[image->layer[k]]
					.made.result.tar_size;
		t->pushed.there += image->pushed.there;
		t->pushed.mounted += image->pushed.mounted;
		t->pushed.mounted_bytes += image->pushed.mounted_bytes;
		t->pushed.uploaded += image->pushed.uploaded;
		t->pushed.uploaded_bytes += image->pushed.uploaded_bytes;
	}
}

static json_t *
digest_value(const struct batch_image *image, const struct digest *d)
{
	char text[DIGEST_TEXT_SIZE];

	digest_text(d, text);
	return image->done ? json_string(text) : json_null();
}

/* Microseconds are enough. */
static json_t *
seconds_value(double seconds)
{
	return json_real((double)(long long)(seconds * 1e6 + 0.5) / 1e6);
}

static json_t *
pushed_value(const struct push_counts *c)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "uploaded",
	    (json_int_t)c->uploaded, "uploaded_bytes",
	    (json_int_t)c->uploaded_bytes, "mounted", (json_int_t)c->mounted,
	    "mounted_bytes", (json_int_t)c->mounted_bytes, "there",
	    (json_int_t)c->there);
}

static json_t *
image_value(const struct batch *b, size_t i)
{
	const struct batch_image *image = &b->image[i];
	struct tally t;

	tally(b, i, &t);
	return json_pack("{s:o, s:o, s:s?, s:s?, s:s, s:o, s:o, s:I, s:I, s:I, "
			 "s:I, s:I, s:I, s:I, s:o, s:o, s:o}",
	    "title", json_text(image->title), "request",
	    json_text(image->where), "name", image->name, "tag", image->tag,
	    "status", image->done ? "done" : "failed", "image_id",
	    digest_value(image, &image->id), "manifest_digest",
	    digest_value(image, &image->manifest_digest), "layers",
	    (json_int_t)image->n_layers, "made_layers", (json_int_t)t.made,
	    "shared_layers", (json_int_t)t.shared, "cached_layers",
	    (json_int_t)t.known, "made_bytes", (json_int_t)t.made_bytes,
	    "tar_size", (json_int_t)image->tar_size, "size",
	    (json_int_t)image->size, "pushed", pushed_value(&image->pushed),
	    "seconds",
	    image->done ? seconds_value(image->seconds) : json_null(), "error",
	    json_text_or_null(image->error));
}

static json_t *
totals_value(const struct batch *b, const struct totals *t)
{
	const struct batch_counts *c = &t->layers;

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
			 "s:I, s:I, s:I, s:I, s:o, s:o}",
	    "images", (json_int_t)b->n, "done", (json_int_t)t->done, "failed",
	    (json_int_t)t->failed, "wanted_layers", (json_int_t)c->wanted,
	    "distinct_layers", (json_int_t)c->distinct, "cached_layers",
	    (json_int_t)c->known, "made_layers", (json_int_t)c->made,
	    "failed_layers", (json_int_t)c->failed, "wanted_bytes",
	    (json_int_t)t->bytes, "made_bytes", (json_int_t)c->made_bytes,
	    "bytes_read", (json_int_t)b->read, "bytes_fetched",
	    (json_int_t)b->fetched, "shared_found", (json_int_t)b->shared_found,
	    "shared_put", (json_int_t)b->shared_put, "pushed",
	    pushed_value(&t->pushed), "seconds", seconds_value(t->seconds));
}

static int
make_json(const struct batch *b, const struct totals *t, char **out,
    size_t *out_len, struct err *e)
{
	AUTO(json_file_decrefp) json_t *doc = NULL;
	AUTO(own_freep) char *text = NULL;
	json_t *images = json_array();
	size_t len;
	FILE *f;

	for (size_t i = 0; i < b->n; i++)
		if (json_array_append_new(images, image_value(b, i)) < 0) {
			json_decref(images);
			return err_set(e, ERR_FATAL, ENOMEM, "summary");
		}
	doc = json_pack(
	    "{s:o, s:o}", "images", images, "totals", totals_value(b, t));
	if (doc == NULL || (f = open_memstream(&text, &len)) == NULL)
		return err_set(e, ERR_FATAL, ENOMEM, "summary");
	python_json_put(f, doc);
	fputc('\n', f);
	if (stream_close(f) < 0)
		return err_set(e, ERR_FATAL, ENOMEM, "summary");
	*out = STEAL(&text);
	*out_len = len;
	return 0;
}

static void
print_image(FILE *f, const struct batch *b, size_t i, int width)
{
	const struct batch_image *image = &b->image[i];
	char id[DIGEST_HEX_LEN + 1], made[HUMAN_MAX], up[HUMAN_MAX];
	char mounted[HUMAN_MAX], time[HUMAN_MAX];
	char text[ERR_TEXT_MAX + 512];
	struct tally t;

	if (image->failed) {
		snprintf(text, sizeof(text), "%-*s  failed: %s", width,
		    image->title,
		    image->error != NULL ? image->error : "out of memory");
		log_clean(text);
		fprintf(f, "%s\n", text);
		return;
	}
	tally(b, i, &t);
	digest_hex(&image->id, id);
	human_bytes(t.made_bytes, made);
	human_bytes(image->pushed.uploaded_bytes, up);
	human_bytes(image->pushed.mounted_bytes, mounted);
	human_seconds(image->seconds, time);
	fprintf(f, "%-*s  %.*s %6zu %6zu %6zu %6zu %9s %9s %9s %8s\n", width,
	    image->title, ID_WIDTH, id, image->n_layers, t.made, t.shared,
	    t.known, made, up, mounted, time);
}

static void
print_totals(FILE *f, const struct batch *b, const struct totals *t)
{
	const struct batch_counts *c = &t->layers;
	char made[HUMAN_MAX], alone[HUMAN_MAX], up[HUMAN_MAX], read[HUMAN_MAX];
	char mounted[HUMAN_MAX], time[HUMAN_MAX];

	human_bytes(c->made_bytes, made);
	human_bytes(b->read, read);
	human_bytes(t->bytes, alone);
	human_bytes(t->pushed.uploaded_bytes, up);
	human_bytes(t->pushed.mounted_bytes, mounted);
	human_seconds(t->seconds, time);
	fprintf(f,
	    "\n%zu images: %zu done, %zu failed, in %s\n"
	    "%zu layers wanted, %zu different ones: %zu made (%s, of %s "
	    "read), %zu from the cache\n"
	    "one by one it would have been %zu layers (%s)\n",
	    b->n, t->done, t->failed, time, c->wanted, c->distinct, c->made,
	    made, read, c->known, c->wanted, alone);
	if (t->pushed.there + t->pushed.mounted + t->pushed.uploaded > 0)
		fprintf(f,
		    "%zu blobs uploaded (%s), %zu mounted (%s), %zu were "
		    "there\n",
		    t->pushed.uploaded, up, t->pushed.mounted, mounted,
		    t->pushed.there);
	if (b->shared != NULL)
		fprintf(f,
		    "%zu layers found in the shared cache, %zu put there\n",
		    b->shared_found, b->shared_put);
}

static int
print_table(const struct batch *b, const struct totals *t, struct err *e)
{
	size_t width = strlen("IMAGE");

	for (size_t i = 0; i < b->n; i++)
		if (strlen(b->image[i].title) > width)
			width = strlen(b->image[i].title);
	if (width > NAME_WIDTH_MAX)
		width = NAME_WIDTH_MAX;
	printf("%-*s  %-*s %6s %6s %6s %6s %9s %9s %9s %8s\n", (int)width,
	    "IMAGE", ID_WIDTH, "ID", "LAYERS", "MADE", "SHARED", "CACHED",
	    "BYTES", "UPLOADED", "MOUNTED", "AFTER");
	for (size_t i = 0; i < b->n; i++)
		print_image(stdout, b, i, (int)width);
	print_totals(stdout, b, t);
	if (fflush(stdout) != 0)
		return err_set(e, ERR_FATAL, errno, "standard output");
	return 0;
}

static int
print(const struct batch *b, const char *text, size_t len, bool to_file,
    const struct totals *t, struct err *e)
{
	const char *file = b->options->metadata_file;
	bool json = b->options->json;

	if (to_file && metadata_put(text, len, file, b->scratch, e) < 0)
		return -1;
	if (json && !(to_file && strcmp(file, "-") == 0))
		return metadata_put(text, len, "-", b->scratch, e);
	if (json || (to_file && strcmp(file, "-") == 0))
		return 0;
	return print_table(b, t, e);
}

int
batch_summary(const struct batch *b, struct err *e)
{
	AUTO(own_freep) char *text = NULL;
	struct totals t;
	size_t len = 0;

	add_up(b, &t);
	if (make_json(b, &t, &text, &len, e) < 0)
		return -1;
	return print(b, text, len, b->options->metadata_file != NULL, &t, e);
}

static void
tell_json(const struct batch_image *image)
{
	json_line(json_pack("{s:s, s:o, s:s, s:o, s:o}", "event", "image",
	    "image", json_text(image->title), "status",
	    image->done ? "done" : "failed", "image_id",
	    digest_value(image, &image->id), "error",
	    json_text_or_null(image->error)));
}

void
batch_tell(const struct batch *b, const struct batch_image *image)
{
	char id[DIGEST_TEXT_SIZE];

	if (b->options->progress == PROGRESS_JSON) {
		tell_json(image);
		return;
	}
	if (image->failed) {
		log_line(LOG_ERROR, "%s: failed: %s", image->title,
		    image->error != NULL ? image->error : "out of memory");
		return;
	}
	digest_text(&image->id, id);
	if (b->options->progress != PROGRESS_NONE)
		log_line(LOG_INFO, "%s: done: %s", image->title, id);
}
