#include "nar_hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "digest.h"
#include "err.h"
#include "own.h"

/* Short strings, and small files, are gathered: hashing has a fixed cost. */
#define GATHER 16384

struct nar_hash {
	struct sha256 *sha;
	uint64_t size; /* bytes of NAR so far */
	size_t open;   /* directories that are not closed */
	bool in_file;  /* a regular file is not closed */
	size_t file_depth;
	uint64_t file_size;
	size_t fill;
	uint8_t gather[GATHER];
};

int
nar_hash_new(struct nar_hash **out, struct err *e)
{
	AUTO(nar_hash_freep) struct nar_hash *h = NULL;

	if ((h = calloc(1, sizeof(*h))) == NULL)
		return err_set(e, ERR_RETRY, errno, "NAR hash");
	if (sha256_new(&h->sha, e) < 0)
		return -1;
	*out = STEAL(&h);
	return 0;
}

void
nar_hash_free(struct nar_hash *h)
{
	if (h == NULL)
		return;
	sha256_free(h->sha);
	free(h);
}

void
nar_hash_freep(struct nar_hash **h)
{
	nar_hash_free(*h);
	*h = NULL;
}

static void
flush(struct nar_hash *h)
{
	sha256_update(h->sha, h->gather, h->fill);
	h->fill = 0;
}

static void
put(struct nar_hash *h, const void *data, size_t len)
{
	h->size += len;
	if (len > GATHER - h->fill)
		flush(h);
	if (len > GATHER) {
		sha256_update(h->sha, data, len);
		return;
	}
	memcpy(h->gather + h->fill, data, len);
	h->fill += len;
}

static void
put_u64(struct nar_hash *h, uint64_t v)
{
	uint8_t b[8];

	for (size_t i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)(v >> 8 * i);
	put(h, b, sizeof(b));
}

static void
put_padding(struct nar_hash *h, uint64_t len)
{
	static const uint8_t zero[8];

	put(h, zero, (size_t)(-len % 8));
}

static void
put_str(struct nar_hash *h, const char *s)
{
	size_t len = strlen(s);

	put_u64(h, len);
	put(h, s, len);
	put_padding(h, len);
}

/* What stands after a node: its own ')', and that of its directory entry. */
static void
close_node(struct nar_hash *h, size_t depth)
{
	put_str(h, ")");
	if (depth > 0)
		put_str(h, ")");
}

/* Closes what the next entry, at depth, is not in. */
static void
close_to(struct nar_hash *h, size_t depth)
{
	if (h->in_file) {
		put_padding(h, h->file_size);
		close_node(h, h->file_depth);
		h->in_file = false;
	}
	while (h->open > depth)
		close_node(h, --h->open);
}

static void
open_node(struct nar_hash *h, size_t depth, const char *name, const char *type)
{
	close_to(h, depth);
	if (depth > 0) {
		put_str(h, "entry");
		put_str(h, "(");
		put_str(h, "name");
		put_str(h, name);
		put_str(h, "node");
	}
	put_str(h, "(");
	put_str(h, "type");
	put_str(h, type);
}

void
nar_hash_start(struct nar_hash *h)
{
	sha256_init(h->sha);
	h->size = 0;
	h->open = 0;
	h->in_file = false;
	h->fill = 0;
	put_str(h, "nix-archive-1");
}

void
nar_hash_directory(struct nar_hash *h, size_t depth, const char *name)
{
	open_node(h, depth, name, "directory");
	h->open = depth + 1;
}

void
nar_hash_symlink(
    struct nar_hash *h, size_t depth, const char *name, const char *target)
{
	open_node(h, depth, name, "symlink");
	put_str(h, "target");
	put_str(h, target);
	close_node(h, depth);
}

void
nar_hash_regular(struct nar_hash *h, size_t depth, const char *name,
    bool executable, uint64_t size)
{
	open_node(h, depth, name, "regular");
	if (executable) {
		put_str(h, "executable");
		put_str(h, "");
	}
	put_str(h, "contents");
	put_u64(h, size);
	h->in_file = true;
	h->file_depth = depth;
	h->file_size = size;
}

void
nar_hash_content(struct nar_hash *h, const void *data, size_t len)
{
	put(h, data, len);
}

void
nar_hash_finish(struct nar_hash *h, struct digest *hash, uint64_t *size)
{
	close_to(h, 0);
	flush(h);
	sha256_final(h->sha, hash);
	*size = h->size;
}

void
nar_hash_print(const struct digest *hash, char out[static NAR_HASH_TEXT_MAX])
{
	memcpy(out, "sha256-", 7);
	EVP_EncodeBlock((unsigned char *)out + 7, hash->b, DIGEST_SIZE);
}
