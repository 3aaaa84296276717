#include "cache/layer_key.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "closure/closure.h"
#include "digest.h"
#include "err.h"
#include "plan/layer_plan.h"
#include "layer_spec.h"
#include "own.h"

static void
put_number(uint8_t out[static 8], uint64_t v)
{
	for (size_t i = 0; i < 8; i++)
		out[i] = (uint8_t)(v >> (56 - 8 * i));
}

static void
add_bytes(struct sha256 *h, const void *data, size_t len)
{
	uint8_t length[8];

	put_number(length, len);
	sha256_update(h, length, sizeof(length));
	sha256_update(h, data, len);
}

static void
add_string(struct sha256 *h, const char *s)
{
	add_bytes(h, s, strlen(s));
}

static void
add_number(struct sha256 *h, uint64_t v)
{
	uint8_t bytes[8];

	put_number(bytes, v);
	add_bytes(h, bytes, sizeof(bytes));
}

static const char *
dialect_name(enum tar_dialect dialect)
{
	switch (dialect) {
	case TAR_PAX:
		return "pax";
	case TAR_GNU:
		return "gnu";
	}
	return "?";
}

/* All but the store paths, of which n follow. */
static void
add_spec(struct sha256 *h, const struct layer_spec *spec, size_t n)
{
	add_string(h, "quarry layer");
	add_number(h, LAYER_KEY_VERSION);
	add_string(h, dialect_name(spec->dialect));
	add_string(h, spec->store_dir);
	add_number(h, (uint64_t)spec->mtime);
	add_number(h, spec->uid);
	add_number(h, spec->gid);
	add_string(h, spec->uname);
	add_string(h, spec->gname);
	add_number(h, n);
}

int
layer_key(const struct layer_spec *spec, const struct closure *c,
    const struct layer *layer, struct digest *out, struct err *e)
{
	AUTO(sha256_freep) struct sha256 *h = NULL;

	if (c->nar_hash == NULL)
		return 0;
	if (sha256_new(&h, e) < 0)
		return -1;
	add_spec(h, spec, layer->n);
	for (size_t i = 0; i < layer->n; i++) {
		add_string(h, c->path[layer->path[i]]);
		add_bytes(h, c->nar_hash[layer->path[i]].b, DIGEST_SIZE);
	}
	sha256_final(h, out);
	return 1;
}

int
layer_key_items(const struct layer_spec *spec, const struct layer_item *item,
    size_t n, struct digest *out, struct err *e)
{
	AUTO(sha256_freep) struct sha256 *h = NULL;

	for (size_t i = 0; i < n; i++)
		if (!item[i].has_hash)
			return 0;
	if (sha256_new(&h, e) < 0)
		return -1;
	add_spec(h, spec, n);
	for (size_t i = 0; i < n; i++) {
		add_string(h, item[i].path);
		add_bytes(h, item[i].nar_hash.b, DIGEST_SIZE);
	}
	sha256_final(h, out);
	return 1;
}
