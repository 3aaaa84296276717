#include "cache/layer_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "digest.h"
#include "encoding.h"
#include "err.h"
#include "cache/layer_cache_state.h"
#include "log.h"
#include "own.h"

struct layer_cache {
	struct layer_cache_folders at;
	char *blobs, *pins;
	char pin[LAYER_CACHE_NAME_MAX];
	int pin_fd, pin_lock;
	bool warned;
};

static int
no_memory(struct err *e)
{
	return err_set(e, ERR_FATAL, ENOMEM, "layer cache");
}

int
layer_cache_open(const char *folder, struct layer_cache **out, struct err *e)
{
	AUTO(layer_cache_freep) struct layer_cache *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return no_memory(e);
	c->pin_fd = c->pin_lock = -1;
	if (layer_cache_folders_open(folder, &c->at, e) < 0)
		return -1;
	layer_cache_sweep(&c->at);
	if (layer_cache_pin_new(&c->at, c->pin, &c->pin_fd, &c->pin_lock, e) <
	    0)
		return -1;
	if (asprintf(&c->blobs, "%s/blobs/sha256", c->at.folder) < 0) {
		c->blobs = NULL;
		return no_memory(e);
	}
	if (asprintf(&c->pins, "%s/pins/%s", c->at.folder, c->pin) < 0) {
		c->pins = NULL;
		return no_memory(e);
	}
	*out = STEAL(&c);
	return 0;
}

void
layer_cache_free(struct layer_cache *c)
{
	if (c == NULL)
		return;
	if (c->pin_fd >= 0)
		layer_cache_unpin(c->at.pins, c->pin);
	own_closep(&c->pin_fd);
	own_closep(&c->pin_lock);
	layer_cache_folders_close(&c->at);
	free(c->blobs);
	free(c->pins);
	free(c);
}

void
layer_cache_freep(struct layer_cache **c)
{
	layer_cache_free(*c);
	*c = NULL;
}

const char *
layer_cache_folder(const struct layer_cache *c)
{
	return c->at.folder;
}

const char *
layer_cache_blobs(const struct layer_cache *c)
{
	return c->blobs;
}

const char *
layer_cache_pins(const struct layer_cache *c)
{
	return c->pins;
}

int
layer_cache_key(const struct digest *layer_key, const struct encoding *encoding,
    const char *library, struct digest *out, struct err *e)
{
	AUTO(sha256_freep) struct sha256 *h = NULL;
	char text[160];
	int n;

	n = snprintf(text, sizeof(text), "quarry blob %d\n%s:%d\n%s\n%zu %zu\n",
	    LAYER_CACHE_VERSION, encoding_name(encoding->kind), encoding->level,
	    library, ENCODING_GZIP_CHUNK, ENCODING_ZSTD_CHUNK);
	if (n < 0 || (size_t)n >= sizeof(text))
		return err_set(e, ERR_FATAL, 0, "layer cache: encoder's name");
	if (sha256_new(&h, e) < 0)
		return -1;
	sha256_update(h, text, (size_t)n);
	sha256_update(h, layer_key->b, DIGEST_SIZE);
	sha256_final(h, out);
	return 0;
}

long
layer_cache_read(int folder, const char *name, char *out, size_t size)
{
	AUTO(own_closep)
	int fd = openat(
	    folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	return fd < 0 ? -1 : (long)read(fd, out, size);
}

/* A second name for the blob, which keeps it.  errno 0: it is damaged. */
static bool
pin(struct layer_cache *c, const struct layer_result *r)
{
	char hex[DIGEST_HEX_LEN + 1];
	struct stat st;

	digest_hex(&r->digest, hex);
	if (linkat(c->at.blobs, hex, c->pin_fd, hex, 0) < 0 &&
	    errno != EEXIST &&
	    (linkat(c->at.trash, hex, c->pin_fd, hex, 0) < 0 &&
		errno != EEXIST))
		return false;
	if (fstatat(c->pin_fd, hex, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size == r->size)
		return true;
	/* It must not be in the way of the one that is made. */
	unlinkat(c->at.blobs, hex, 0);
	unlinkat(c->pin_fd, hex, 0);
	errno = 0;
	return false;
}

bool
layer_cache_find(struct layer_cache *c, const struct digest *key, bool verified,
    struct layer_result *out, char **file)
{
	char name[DIGEST_HEX_LEN + 1], blob[DIGEST_HEX_LEN + 1];
	char data[LAYER_CACHE_RECORD_MAX];
	bool was_verified;
	long n;

	digest_hex(key, name);
	n = layer_cache_read(c->at.layers, name, data, sizeof(data));
	if (n < 0)
		return false;
	if (!layer_record_parse(data, (size_t)n, &was_verified, out)) {
		log_line(LOG_WARNING,
		    "layer cache: %s/layers/%s is damaged: its layer is made "
		    "again",
		    c->at.folder, name);
		return false;
	}
	if ((verified && !was_verified) || !pin(c, out))
		return false;
	digest_hex(&out->digest, blob);
	if (asprintf(file, "%s/%s", c->pins, blob) < 0) {
		*file = NULL;
		return false;
	}
	/* What is used is not the first to be pruned. */
	utimensat(c->at.layers, name, NULL, AT_SYMLINK_NOFOLLOW);
	return true;
}

static void
write_record(struct layer_cache *c, const struct digest *key,
    const struct layer_record *record)
{
	char name[DIGEST_HEX_LEN + 1], temp[DIGEST_HEX_LEN + 32];
	char data[LAYER_CACHE_RECORD_MAX];
	AUTO(own_closep) int fd = -1;
	size_t n;

	digest_hex(key, name);
	snprintf(temp, sizeof(temp), ".%s-%s", name, c->pin);
	n = layer_record_print(
	    record->result, record->verified, data, sizeof(data));
	fd = openat(
	    c->at.layers, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	/*
	 * Not synced: after a power cut it may be empty, and is then no record.
	 */
	if (fd >= 0 && write(fd, data, n) == (ssize_t)n &&
	    renameat(c->at.layers, temp, c->at.layers, name) == 0)
		return;
	if (!c->warned)
		log_line(LOG_WARNING,
		    "layer cache: write a record in %s/layers: %s: layers will "
		    "be made again",
		    c->at.folder, strerror(errno));
	c->warned = true;
	unlinkat(c->at.layers, temp, 0);
}

int
layer_cache_put(struct layer_cache *c, const struct digest *key,
    const struct layer_record *record, struct err *e)
{
	char hex[DIGEST_HEX_LEN + 1];

	if (!pin(c, record->result)) {
		digest_hex(&record->result->digest, hex);
		return err_set(e, ERR_FATAL, errno,
		    "layer cache: %s/%s, which was just made, %s", c->blobs,
		    hex,
		    errno == 0 ? "has another size by now" : "cannot be had");
	}
	if (key != NULL)
		write_record(c, key, record);
	return 0;
}

void
layer_cache_unpin_blob(struct layer_cache *c, const struct digest *digest)
{
	char hex[DIGEST_HEX_LEN + 1];

	digest_hex(digest, hex);
	unlinkat(c->pin_fd, hex, 0);
}

void
layer_cache_remove(struct layer_cache *c, const struct digest *key,
    const struct digest *digest)
{
	char hex[DIGEST_HEX_LEN + 1];

	layer_cache_unpin_blob(c, digest);
	digest_hex(digest, hex);
	unlinkat(c->at.blobs, hex, 0);
	unlinkat(c->at.trash, hex, 0);
	if (key == NULL)
		return;
	digest_hex(key, hex);
	unlinkat(c->at.layers, hex, 0);
}
