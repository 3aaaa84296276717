#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "err.h"
#include "layer_run.h"
#include "own.h"
#include "spool_session.h"

#define FILE_NAME_MAX 64
/* What headers and padding add to a NAR's size: by its bytes, and at least. */
#define HEADERS_SHARE 4
#define ITEM_LEAST ((uint64_t)8192)
/* What an encoder adds to bytes that cannot be compressed, of 1 MiB. */
#define ENCODER_SHARE 1024

struct entry {
	struct data_id id;
	unsigned forms;
	uint64_t need; /* bytes reserved, those that are written included */
	bool whole;
	struct entry *next;
};

struct spool {
	struct spool_session session;
	uint64_t keep_free;
	pthread_mutex_t lock; /* entries */
	struct entry *entries;
};

static void
file_name(char out[static FILE_NAME_MAX], const struct data_id *id,
    enum data_form form)
{
	snprintf(out, FILE_NAME_MAX, "%" PRIu64 "-%" PRIu64 ".%s", id->job,
	    id->attempt, data_form_name(form));
}

/* Where a folder may be made by anybody, only the right one is taken. */
static int
open_own(const char *path, int *out, struct err *e)
{
	AUTO(own_closep) int fd = -1;
	struct stat st;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_set(e, ERR_USAGE, errno, "make %s", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, ERR_USAGE, errno, "open %s", path);
	if (st.st_uid != geteuid() || (st.st_mode & 077) != 0)
		return err_set(e, ERR_USAGE, 0,
		    "%s is another user's, or open to others: remove it, or "
		    "choose another place with --spool",
		    path);
	*out = fd;
	fd = -1;
	return 0;
}

static const char *
default_folder(void)
{
	const char *dir = getenv("TMPDIR");

	return dir != NULL && dir[0] == '/' ? dir : "/var/tmp";
}

int
spool_new(
    const char *folder, uint64_t keep_free, struct spool **out, struct err *e)
{
	AUTO(spool_freep) struct spool *s = NULL;
	AUTO(own_freep) char *path = NULL;
	AUTO(own_closep) int fd = -1;

	if (folder == NULL)
		folder = default_folder();
	if ((s = calloc(1, sizeof(*s))) == NULL)
		return err_set(e, ERR_FATAL, errno, "spool");
	s->session = SPOOL_SESSION_NONE;
	s->keep_free = keep_free;
	pthread_mutex_init(&s->lock, NULL);
	if (mkdir(folder, 0700) < 0 && errno != EEXIST)
		return err_set(e, ERR_USAGE, errno, "spool %s", folder);
	if (asprintf(&path, "%s/quarry-worker-%u", folder,
		(unsigned)geteuid()) < 0) {
		path = NULL;
		return err_set(e, ERR_FATAL, errno, "spool");
	}
	if (open_own(path, &fd, e) < 0)
		return err_ctx(e, "spool");
	spool_session_clean(fd);
	if (spool_session_open(fd, path, &s->session, e) < 0)
		return err_ctx(e, "spool");
	*out = STEAL(&s);
	return 0;
}

void
spool_free(struct spool *s)
{
	if (s == NULL)
		return;
	spool_clear(s);
	spool_session_close(&s->session);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void
spool_freep(struct spool **s)
{
	spool_free(*s);
	*s = NULL;
}

static uint64_t
add(uint64_t a, uint64_t b)
{
	return a > INT64_MAX - b ? INT64_MAX : a + b;
}

/* Of a tar whose size nobody has measured. */
static uint64_t
tar_need(const struct layer_job *job)
{
	uint64_t sum = 2 * ITEM_LEAST;

	for (size_t i = 0; i < job->n; i++) {
		uint64_t nar = 0;

		if (job->spec.source == LAYER_FROM_STORE &&
		    job->item[i].has_hash && job->item[i].nar_size <= INT64_MAX)
			nar = job->item[i].nar_size;
		sum = add(sum, add(nar, nar / HEADERS_SHARE + ITEM_LEAST));
	}
	return sum;
}

uint64_t
spool_need(const struct layer_job *job)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < job->spec.n_outputs; i++) {
		const struct layer_output *o = &job->spec.outputs[i];
		uint64_t tar;

		if (o->kind != LAYER_TO_SPOOL_TAR &&
		    o->kind != LAYER_TO_SPOOL_BLOB)
			continue;
		tar = o->size <= INT64_MAX ? o->size : tar_need(job);
		if (o->kind == LAYER_TO_SPOOL_BLOB)
			tar = add(tar, tar / ENCODER_SHARE + ITEM_LEAST);
		sum = add(sum, tar);
	}
	return sum;
}

static struct entry *
find(struct spool *s, const struct data_id *id)
{
	struct entry *entry = s->entries;

	while (entry != NULL &&
	    (entry->id.job != id->job || entry->id.attempt != id->attempt))
		entry = entry->next;
	return entry;
}

/* Bytes of the job that are on the disk, and so not free any more. */
static uint64_t
written(const struct spool *s, const struct entry *entry)
{
	char name[FILE_NAME_MAX];
	uint64_t sum = 0;
	struct stat st;

	for (unsigned form = DATA_TAR; form <= DATA_BLOB; form++) {
		if ((entry->forms & 1u << form) == 0)
			continue;
		file_name(name, &entry->id, (enum data_form)form);
		if (fstatat(s->session.fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			sum += (uint64_t)st.st_blocks * 512;
	}
	return sum;
}

static int
check_room(const struct spool *s, uint64_t need, struct err *e)
{
	struct statvfs vfs;
	uint64_t want = add(need, s->keep_free), room;

	if (fstatvfs(s->session.fd, &vfs) < 0)
		return err_set(
		    e, ERR_RETRY, errno, "spool %s", s->session.path);
	room = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	for (const struct entry *at = s->entries; at != NULL; at = at->next) {
		uint64_t there = at->whole ? at->need : written(s, at);

		if (at->need > there)
			want = add(want, at->need - there);
	}
	if (want <= room)
		return 0;
	err_set(e, ERR_RETRY, 0,
	    "spool %s has %" PRIu64 " MiB free, %" PRIu64
	    " MiB are wanted for this job, others and a reserve",
	    s->session.path, room >> 20, want >> 20);
	e->sys = ENOSPC;
	return -1;
}

static int
make_files(struct spool *s, const struct entry *entry, struct err *e)
{
	for (unsigned form = DATA_TAR; form <= DATA_BLOB; form++) {
		char name[FILE_NAME_MAX];
		int fd;

		if ((entry->forms & 1u << form) == 0)
			continue;
		file_name(name, &entry->id, (enum data_form)form);
		fd = openat(s->session.fd, name,
		    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
		    0600);
		if (fd < 0)
			return err_set(e, ERR_RETRY, errno, "spool %s/%s",
			    s->session.path, name);
		close(fd);
	}
	return 0;
}

static void
remove_files(struct spool *s, const struct entry *entry)
{
	for (unsigned form = DATA_TAR; form <= DATA_BLOB; form++) {
		char name[FILE_NAME_MAX];

		file_name(name, &entry->id, (enum data_form)form);
		if ((entry->forms & 1u << form) != 0)
			unlinkat(s->session.fd, name, 0);
	}
}

int
spool_take(struct spool *s, const struct data_id *id, unsigned forms,
    uint64_t need, struct err *e)
{
	AUTO(own_freep) struct entry *entry = NULL;
	int rc;

	if ((entry = calloc(1, sizeof(*entry))) == NULL)
		return err_set(e, ERR_RETRY, errno, "spool");
	*entry = (struct entry){.id = *id, .forms = forms, .need = need};
	pthread_mutex_lock(&s->lock);
	if (find(s, id) != NULL)
		rc = err_set(
		    e, ERR_RETRY, EEXIST, "spool: job %" PRIu64, id->job);
	else if ((rc = check_room(s, need, e)) == 0 &&
	    (rc = make_files(s, entry, e)) < 0)
		remove_files(s, entry);
	if (rc == 0) {
		entry->next = s->entries;
		s->entries = STEAL(&entry);
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

char *
spool_path(const struct spool *s, const struct data_id *id, enum data_form form)
{
	char name[FILE_NAME_MAX], *path;

	file_name(name, id, form);
	return asprintf(&path, "%s/%s", s->session.path, name) < 0 ? NULL
								   : path;
}

void
spool_settle(struct spool *s, const struct data_id *id)
{
	struct entry *entry;

	pthread_mutex_lock(&s->lock);
	if ((entry = find(s, id)) != NULL)
		entry->whole = true;
	pthread_mutex_unlock(&s->lock);
}

int
spool_open(struct spool *s, const struct data_id *id, enum data_form form,
    int *fd, uint64_t *size, struct err *e)
{
	char name[FILE_NAME_MAX];
	struct entry *entry;
	struct stat st;
	int opened = -1;

	file_name(name, id, form);
	pthread_mutex_lock(&s->lock);
	entry = find(s, id);
	if (entry != NULL && entry->whole && (entry->forms & 1u << form) != 0)
		opened = openat(
		    s->session.fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	else
		errno = ENOENT;
	pthread_mutex_unlock(&s->lock);
	if (opened < 0)
		return err_set(e, ERR_RETRY, errno,
		    "the %s of job %" PRIu64 " attempt %" PRIu64
		    " in the spool",
		    data_form_name(form), id->job, id->attempt);
	if (fstat(opened, &st) < 0) {
		err_set(e, ERR_RETRY, errno, "look at %s", name);
		close(opened);
		return -1;
	}
	*fd = opened;
	*size = (uint64_t)st.st_size;
	return 0;
}

bool
spool_holds(struct spool *s)
{
	const struct entry *entry;

	pthread_mutex_lock(&s->lock);
	entry = s->entries;
	while (entry != NULL && !entry->whole)
		entry = entry->next;
	pthread_mutex_unlock(&s->lock);
	return entry != NULL;
}

void
spool_clear(struct spool *s)
{
	struct entry *entry;

	pthread_mutex_lock(&s->lock);
	while ((entry = s->entries) != NULL) {
		s->entries = entry->next;
		remove_files(s, entry);
		free(entry);
	}
	pthread_mutex_unlock(&s->lock);
}

void
spool_remove(struct spool *s, const struct data_id *id)
{
	struct entry **at = &s->entries, *entry;

	pthread_mutex_lock(&s->lock);
	entry = find(s, id);
	if (entry != NULL) {
		while (*at != entry)
			at = &(*at)->next;
		*at = entry->next;
		remove_files(s, entry);
	}
	pthread_mutex_unlock(&s->lock);
	free(entry);
}
