#include "cache/layer_cache_list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "err.h"
#include "cache/layer_cache_scan.h"
#include "own.h"

#define YOUNG_S 3600 /* a build may be about to rely on it */
#define READ_SIZE ((size_t)256 << 10)

static void
remove_record(const struct cache_scan *s, const struct digest *key)
{
	char name[DIGEST_HEX_LEN + 1];

	digest_hex(key, name);
	unlinkat(s->at.layers, name, 0);
}

/* Which records go; what stays is known afterwards. */
static size_t
choose_records(struct cache_scan *s, const struct layer_cache_bounds *b)
{
	uint64_t left = s->list.bytes;
	int64_t now = (int64_t)time(NULL);
	size_t gone = 0;

	for (size_t i = 0; i < s->n_blobs; i++) {
		if (!s->blob[i].known)
			left -= s->blob[i].size;
		s->blob[i].known = false;
	}
	for (size_t i = 0; i < s->list.n; i++) {
		struct layer_cache_entry *l = &s->list.entry[i];
		bool old = b->unused >= 0 && now - l->used > b->unused;

		if (l->good && !old && left <= b->bytes) {
			cache_scan_blob(s, &l->result.digest)->known = true;
			continue;
		}
		/* A blob that a later record has, too, is not gone yet. */
		if (l->last)
			left -= l->result.size;
		remove_record(s, &l->key);
		gone++;
	}
	return gone;
}

/* Whether builds run: then nobody may lose what it is about to rely on. */
static bool
is_alone(const struct cache_scan *s)
{
	return flock(s->at.lock, LOCK_EX | LOCK_NB) == 0;
}

/* What an earlier prune has left, unless a build has pinned it since. */
static void
empty_trash(
    const struct cache_scan *s, bool alone, struct layer_cache_pruned *out)
{
	int fd = openat(s->at.trash, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	while (d != NULL && (entry = readdir(d)) != NULL) {
		struct stat st;

		if (fstatat(s->at.trash, entry->d_name, &st,
			AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode) ||
		    (!alone && time(NULL) - st.st_ctime < YOUNG_S))
			continue;
		if (unlinkat(s->at.trash, entry->d_name, 0) == 0 &&
		    st.st_nlink == 1)
			out->bytes += (uint64_t)st.st_size;
	}
	if (d != NULL)
		closedir(d);
	else if (fd >= 0)
		close(fd);
}

static void
remove_blob(const struct cache_scan *s, const struct cached_blob *b, bool alone,
    struct layer_cache_pruned *out)
{
	char name[DIGEST_HEX_LEN + 1];

	digest_hex(&b->digest, name);
	if (alone && unlinkat(s->at.blobs, name, 0) == 0) {
		out->blobs++;
		out->bytes += b->size;
		return;
	}
	if (!alone && !b->pinned && time(NULL) - b->changed > YOUNG_S &&
	    renameat(s->at.blobs, name, s->at.trash, name) == 0) {
		out->blobs++;
		return;
	}
	out->left += b->size;
}

int
layer_cache_prune(const char *folder, const struct layer_cache_bounds *bounds,
    struct layer_cache_pruned *out, struct err *e)
{
	struct cache_scan s;
	bool alone;

	*out = (struct layer_cache_pruned){0, 0, 0, 0};
	if (cache_scan_new(folder, &s, e) < 0)
		return -1;
	layer_cache_sweep(&s.at);
	layer_cache_sweep_temps(s.at.layers);
	alone = is_alone(&s);
	/* Where files cannot be without a name, killed workers leave some. */
	if (alone)
		layer_cache_sweep_temps(s.at.blobs);
	empty_trash(&s, alone, out);
	out->records = choose_records(&s, bounds);
	for (size_t i = 0; i < s.n_blobs; i++)
		if (s.blob[i].known)
			out->left += s.blob[i].size;
		else
			remove_blob(&s, &s.blob[i], alone, out);
	cache_scan_clear(&s);
	return 0;
}

/* What it is read with. */
struct reading {
	struct sha256 *hash;
	char *buffer;
};

static void
reading_clear(struct reading *r)
{
	sha256_free(r->hash);
	free(r->buffer);
}

/*
 * *what is wrong with the blob; NULL: it is what its name says, or gone.  An
 * error is one of this process, and says nothing of the blob.
 */
static int
examine(const struct cache_scan *s, struct cached_blob *b, struct reading *r,
    const char **what, struct err *e)
{
	char name[DIGEST_HEX_LEN + 1];
	AUTO(own_closep) int fd = -1;
	struct digest got;
	ssize_t n;

	digest_hex(&b->digest, name);
	fd = openat(
	    s->at.blobs, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
		return err_set(e, ERR_FATAL, errno, "layer cache: open %s/%s",
		    s->at.folder, name);
	b->gone = fd < 0 && errno == ENOENT;
	*what = fd < 0 && !b->gone ? strerror(errno) : NULL;
	if (fd < 0)
		return 0;
	sha256_init(r->hash);
	while ((n = read(fd, r->buffer, READ_SIZE)) > 0)
		sha256_update(r->hash, r->buffer, (size_t)n);
	if (n < 0) {
		*what = strerror(errno);
		return 0;
	}
	sha256_final(r->hash, &got);
	if (!digest_equal(&got, &b->digest))
		*what = "its bytes have changed";
	return 0;
}

/* Takes a blob away so that nobody is given it; builds keep what they have. */
static void
condemn(const struct cache_scan *s, struct cached_blob *b,
    void (*told)(const char *path, const char *what), const char *what)
{
	char name[DIGEST_HEX_LEN + 1], path[8192];

	digest_hex(&b->digest, name);
	snprintf(path, sizeof(path), "%s/blobs/sha256/%s", s->at.folder, name);
	told(path, what);
	unlinkat(s->at.blobs, name, 0);
	b->size = UINT64_MAX; /* no record has that */
}

/* Reads and hashes all blobs; *bad: those that no record counts. */
static int
verify_blobs(struct cache_scan *s,
    void (*told)(const char *path, const char *what), size_t *bad,
    struct err *e)
{
	AUTO(reading_clear)
	struct reading r = {.buffer = malloc(READ_SIZE)};
	const char *what = NULL;

	if (r.buffer == NULL)
		return err_set(e, ERR_FATAL, errno, "layer cache");
	if (sha256_new(&r.hash, e) < 0)
		return -1;
	for (size_t i = 0; i < s->n_blobs; i++) {
		struct cached_blob *b = &s->blob[i];

		if (examine(s, b, &r, &what, e) < 0)
			return -1;
		if (what == NULL)
			continue;
		condemn(s, b, told, what);
		*bad += !b->known;
	}
	return 0;
}

/* Those that others have pruned meanwhile are neither good nor bad. */
static void
verify_records(struct cache_scan *s,
    void (*told)(const char *path, const char *what), size_t *good, size_t *bad)
{
	for (size_t i = 0; i < s->list.n; i++) {
		const struct layer_cache_entry *l = &s->list.entry[i];
		struct cached_blob *b = cache_scan_blob(s, &l->result.digest);
		char name[DIGEST_HEX_LEN + 1], path[8192];

		if (b != NULL && b->gone && !cache_scan_has_record(s, &l->key))
			continue;
		if (b != NULL && !b->gone && b->size == l->result.size) {
			(*good)++;
			continue;
		}
		digest_hex(&l->key, name);
		snprintf(
		    path, sizeof(path), "%s/layers/%s", s->at.folder, name);
		if (b == NULL || b->gone)
			told(path, "it is damaged, or its blob is gone");
		else if (b->size != UINT64_MAX)
			condemn(s, b, told, "it has another size");
		remove_record(s, &l->key);
		(*bad)++;
	}
}

int
layer_cache_verify(const char *folder, bool deep,
    void (*told)(const char *path, const char *what), size_t *good, size_t *bad,
    struct err *e)
{
	struct cache_scan s;
	int rc = 0;

	*good = *bad = 0;
	if (cache_scan_new(folder, &s, e) < 0)
		return -1;
	if (deep)
		rc = verify_blobs(&s, told, bad, e);
	if (rc == 0)
		verify_records(&s, told, good, bad);
	cache_scan_clear(&s);
	return rc;
}
