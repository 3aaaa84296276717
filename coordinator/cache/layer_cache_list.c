#include "cache/layer_cache_list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "cache/layer_cache.h"
#include "cache/layer_cache_scan.h"
#include "cache/layer_cache_state.h"
#include "own.h"

static int
no_memory(struct err *e)
{
	return err_set(e, ERR_FATAL, ENOMEM, "layer cache");
}

static DIR *
open_names(int folder)
{
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

	if (d == NULL && fd >= 0)
		close(fd);
	return d;
}

static int
digest_cmp(const void *a, const void *b)
{
	const struct cached_blob *x = a, *y = b;

	return memcmp(&x->digest, &y->digest, sizeof(x->digest));
}

static int
add_blob(struct cache_scan *s, const struct cached_blob *blob, struct err *e)
{
	struct cached_blob *more;
	size_t room = s->room_blobs * 2 + 64;

	if (s->n_blobs == s->room_blobs) {
		if ((more = realloc(s->blob, room * sizeof(*more))) == NULL)
			return no_memory(e);
		s->blob = more;
		s->room_blobs = room;
	}
	s->blob[s->n_blobs++] = *blob;
	return 0;
}

static int
scan_blobs(struct cache_scan *s, struct err *e)
{
	AUTO(own_closedirp) DIR *d = open_names(s->at.blobs);
	struct dirent *entry;

	if (d == NULL)
		return err_set(
		    e, ERR_FATAL, errno, "layer cache: %s/blobs", s->at.folder);
	while ((entry = readdir(d)) != NULL) {
		struct cached_blob blob = {.known = false};
		struct stat st;

		if (!digest_from_hex(
			entry->d_name, strlen(entry->d_name), &blob.digest) ||
		    fstatat(s->at.blobs, entry->d_name, &st,
			AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		blob.size = (uint64_t)st.st_size;
		blob.pinned = st.st_nlink > 1;
		blob.changed = st.st_ctime;
		if (add_blob(s, &blob, e) < 0)
			return -1;
	}
	if (s->n_blobs > 0)
		qsort(s->blob, s->n_blobs, sizeof(*s->blob), digest_cmp);
	return 0;
}

struct cached_blob *
cache_scan_blob(const struct cache_scan *s, const struct digest *digest)
{
	const struct cached_blob key = {.digest = *digest};

	return s->n_blobs == 0
	    ? NULL
	    : bsearch(&key, s->blob, s->n_blobs, sizeof(*s->blob), digest_cmp);
}

static int
add_record(struct cache_scan *s, const char *name, struct err *e)
{
	struct layer_cache_entry *more, *entry;
	size_t room = s->room_entries * 2 + 64;
	char data[LAYER_CACHE_RECORD_MAX];
	struct digest key;
	struct stat st;
	bool verified;
	long n;

	if (!digest_from_hex(name, strlen(name), &key) ||
	    fstatat(s->at.layers, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	n = layer_cache_read(s->at.layers, name, data, sizeof(data));
	if (n < 0 && errno == ENOENT) /* by now */
		return 0;
	if (s->list.n == s->room_entries) {
		more = realloc(s->list.entry, room * sizeof(*more));
		if (more == NULL)
			return no_memory(e);
		s->list.entry = more;
		s->room_entries = room;
	}
	entry = &s->list.entry[s->list.n++];
	*entry = (struct layer_cache_entry){.key = key, .used = st.st_mtime};
	entry->good = n >= 0 &&
	    layer_record_parse(data, (size_t)n, &verified, &entry->result);
	return 0;
}

static int
used_cmp(const void *a, const void *b)
{
	const struct layer_cache_entry *x = a, *y = b;

	if (x->used != y->used)
		return x->used < y->used ? -1 : 1;
	return memcmp(&x->key, &y->key, sizeof(x->key));
}

static int
scan_records(struct cache_scan *s, struct err *e)
{
	AUTO(own_closedirp) DIR *d = open_names(s->at.layers);
	struct dirent *entry;

	if (d == NULL)
		return err_set(e, ERR_FATAL, errno, "layer cache: %s/layers",
		    s->at.folder);
	while ((entry = readdir(d)) != NULL)
		if (add_record(s, entry->d_name, e) < 0)
			return -1;
	return 0;
}

bool
cache_scan_has_record(const struct cache_scan *s, const struct digest *key)
{
	char name[DIGEST_HEX_LEN + 1];
	struct stat st;

	digest_hex(key, name);
	return fstatat(s->at.layers, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Which records have their blobs. */
static void
match(struct cache_scan *s)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->list.n; i++) {
		struct layer_cache_entry *l = &s->list.entry[i];
		const struct cached_blob *blob =
		    l->good ? cache_scan_blob(s, &l->result.digest) : NULL;

		/* One that others have pruned meanwhile, blob and all. */
		if (l->good && blob == NULL &&
		    !cache_scan_has_record(s, &l->key))
			continue;
		l->good = blob != NULL && blob->size == l->result.size;
		s->list.entry[kept++] = *l;
	}
	s->list.n = kept;
	if (kept > 0)
		qsort(s->list.entry, kept, sizeof(*s->list.entry), used_cmp);
	for (size_t i = kept; i-- > 0;) {
		struct layer_cache_entry *l = &s->list.entry[i];
		struct cached_blob *blob =
		    l->good ? cache_scan_blob(s, &l->result.digest) : NULL;

		l->last = blob != NULL && !blob->known;
		if (blob != NULL)
			blob->known = true;
	}
}

int
cache_scan_new(const char *folder, struct cache_scan *s, struct err *e)
{
	*s = (struct cache_scan){.n_blobs = 0};
	if (layer_cache_folders_open(folder, &s->at, e) < 0)
		return -1;
	/*
	 * Blobs come before their records, and go after them: what is made
	 * meanwhile is at most a blob that has no record yet.
	 */
	if (scan_records(s, e) < 0 || scan_blobs(s, e) < 0) {
		cache_scan_clear(s);
		return -1;
	}
	match(s);
	for (size_t i = 0; i < s->n_blobs; i++)
		s->list.bytes += s->blob[i].size;
	s->list.blobs = s->n_blobs;
	return 0;
}

void
cache_scan_clear(struct cache_scan *s)
{
	layer_cache_folders_close(&s->at);
	free(s->blob);
	layer_cache_list_clear(&s->list);
	*s = (struct cache_scan){.at = {NULL, -1, -1, -1, -1, -1}};
}

int
layer_cache_list_read(const char *folder, struct layer_cache_list *out,
    char **where, struct err *e)
{
	struct cache_scan s;

	if (cache_scan_new(folder, &s, e) < 0)
		return -1;
	*out = s.list;
	*where = s.at.folder;
	s.at.folder = NULL;
	s.list = (struct layer_cache_list){NULL, 0, 0, 0};
	cache_scan_clear(&s);
	return 0;
}

void
layer_cache_list_clear(struct layer_cache_list *l)
{
	free(l->entry);
	*l = (struct layer_cache_list){NULL, 0, 0, 0};
}
