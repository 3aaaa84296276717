/*
 * Reads arbitrary manifests, indexes and configs as a base image of a
 * registry.  The input is up to four texts with a line "--" between, the
 * named manifest first; in a text, "@N" stands for the digest and "#N" for the
 * size of text N (1 to 4) behind it, so that what is named can be found.  The
 * registry itself is played here.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/base_image.h"
#include "image/base_limits.h"
#include "image/base_registry.h"
#include "err.h"
#include "output/push.h"
#include "registry.h"
#include "registry/registry_place.h"
#include "process/scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TEXTS_MAX 4
#define TEXT_MAX 65536

static struct {
	char *data;
	size_t len;
	struct digest digest;
} text[TEXTS_MAX];
static size_t n_texts;

static const struct base_limits limits = {
    .bytes = 4 << 20,
    .entries = 200,
    .header = 1 << 20,
    .ratio = 100,
    .ratio_free = 1 << 20,
    .json = TEXT_MAX,
    .json_depth = 16,
    .layers = 100,
};

int
registry_place_open(const struct registry_name *name,
    const struct registry_options *options, struct registry_place **out,
    struct err *e)
{
	(void)name, (void)options, (void)e;
	*out = NULL;
	return 0;
}

void
registry_place_free(struct registry_place *p)
{
	(void)p;
}

const char *
registry_place_base(const struct registry_place *p)
{
	(void)p;
	return "https://h.example";
}

int
registry_place_session(struct registry_place *p, const char *repo, bool pull,
    const atomic_bool *cancel, struct registry **out, struct err *e)
{
	(void)p, (void)repo, (void)cancel, (void)e;
	if (!pull)
		abort();
	*out = NULL;
	return 0;
}

static size_t
find(const struct digest *digest)
{
	size_t i = 0;

	while (i < n_texts && !digest_equal(&text[i].digest, digest))
		i++;
	return i;
}

int
registry_get_manifest(struct registry *r, const char *reference,
    struct registry_manifest *out, struct err *e)
{
	struct digest digest;
	size_t i = 0;

	(void)r;
	memset(out, 0, sizeof(*out));
	if (digest_from_text(reference, &digest))
		i = find(&digest);
	if (i == n_texts)
		return 0;
	if ((out->data = malloc(text[i].len + 1)) == NULL)
		return err_set(e, ERR_FATAL, 0, "memory");
	memcpy(out->data, text[i].data, text[i].len);
	out->data[text[i].len] = '\0';
	out->len = text[i].len;
	out->digest = text[i].digest;
	return 0;
}

void
registry_manifest_clear(struct registry_manifest *m)
{
	free(m->data);
	memset(m, 0, sizeof(*m));
}

int
registry_get_blob(struct registry *r, const struct digest *digest,
    uint64_t size, int fd, struct err *e)
{
	size_t i = find(digest);

	(void)r;
	if (i == n_texts || text[i].len != size ||
	    write(fd, text[i].data, size) != (ssize_t)size)
		return err_set(e, ERR_FATAL, 0, "it has no such blob");
	return 0;
}

/* One scratch list for all runs: a reaper for each would take all time. */
static struct scratch *
shared_scratch(void)
{
	static struct scratch *scratch;
	struct err e = ERR_INIT;

	if (scratch == NULL && scratch_new(&scratch, &e) < 0) {
		fprintf(stderr, "%s\n", e.text);
		abort();
	}
	return scratch;
}

/* Text i, with what stands for later texts filled in. */
static void
fill_in(size_t i, const uint8_t *data, size_t len)
{
	size_t room = len + TEXT_MAX;
	FILE *f = fmemopen(text[i].data = calloc(1, room + 1), room, "w");
	char digest[DIGEST_TEXT_SIZE];

	for (size_t k = 0; k < len && ftell(f) < TEXT_MAX; k++) {
		size_t other =
		    k + 1 < len ? i + (size_t)(data[k + 1] - '0') : 0;

		if ((data[k] != '@' && data[k] != '#') || other <= i ||
		    other >= n_texts) {
			fputc(data[k], f);
			continue;
		}
		digest_text(&text[other].digest, digest);
		if (data[k++] == '@')
			fputs(digest, f);
		else
			fprintf(f, "%zu", text[other].len);
	}
	text[i].len = (size_t)ftell(f);
	fclose(f);
	digest_of(text[i].data, text[i].len, &text[i].digest);
}

static void
split(const uint8_t *data, size_t size)
{
	size_t from[TEXTS_MAX] = {0}, to[TEXTS_MAX] = {0};

	n_texts = 1;
	to[0] = size;
	for (size_t k = 0; k + 4 <= size && n_texts < TEXTS_MAX; k++) {
		if (memcmp(data + k, "\n--\n", 4) != 0)
			continue;
		to[n_texts - 1] = k;
		from[n_texts] = k + 4;
		to[n_texts++] = size;
		k += 3;
	}
	for (size_t i = n_texts; i-- > 0;)
		fill_in(i, data + from[i], to[i] - from[i]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct registry_options push = {.stall_s = 1};
	const struct base_source source = {
	    .name = "docker://h.example/r:t",
	    .architecture = "amd64",
	    .push = &push,
	};
	struct base_image *base = NULL;
	struct err e = ERR_INIT;

	if (size > TEXT_MAX)
		return 0;
	split(data, size);
	if (base_image_open_within(
		&source, shared_scratch(), &limits, &base, &e) == 0) {
		/* What was taken can be asked for. */
		for (size_t i = 0; i < base->n; i++)
			if (base->layer[i].file != NULL ||
			    base->layer[i].media_type == NULL ||
			    base->layer[i].name == NULL)
				abort();
	} else if (base != NULL || e.kind == ERR_NONE) {
		abort();
	}
	base_image_free(base);
	for (size_t i = 0; i < n_texts; i++)
		free(text[i].data);
	return 0;
}
