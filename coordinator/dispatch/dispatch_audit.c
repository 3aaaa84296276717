#include "dispatch/dispatch_state.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "output/blob_request.h"
#include "dispatch/dispatch.h"
#include "err.h"
#include "image/layer_compare.h"
#include "image/layer_copy.h"
#include "log.h"
#include "own.h"
#include "process/scratch.h"
#include "quiet_thread.h"

/* Disk space of temporary files that is left to others. */
#define KEEP_FREE ((uint64_t)1 << 30)
/* A copy may be so much larger than the other one, and is read to its end. */
#define LARGER 2
#define PATH_SIZE 4096
#define NAME 64
/* Bytes of each of two layers that a coordinator that stays up compares. */
#define COMPARED_MAX ((uint64_t)512 << 20)

/* What a worker of this machine writes for an audit: only this tells why. */
struct audit_copy {
	struct audit_copy *next;
	struct worker_id worker;
	struct job_id job;
	uint64_t attempt, bytes;
	char path[];
};

/* What differs between two copies, being found out. */
struct audit_fault {
	struct audit_fault *next;
	pthread_t thread;
	atomic_bool over; /* the thread is, and what follows is ours again */
	struct job_id job;
	struct layer_place first, second; /* their strings are here */
	char first_path[PATH_SIZE], second_path[PATH_SIZE];
	char first_worker[NAME], second_worker[NAME];
	char what[LAYER_COMPARE_MAX];
	bool both; /* copies are there */
	bool ours; /* the second one: to be removed */
};

/* Made when it is first needed; false: it cannot be. */
static bool
have_folder(struct dispatch *d)
{
	struct err e = ERR_INIT;

	if (d->audit_folder != NULL)
		return true;
	if (scratch_folder(d->scratch, scratch_temp(), &d->audit_folder, &e) ==
	    0)
		return true;
	log_line(LOG_DEBUG, "audits: %s", e.text);
	d->audit_folder = NULL;
	return false;
}

static bool
have_room(const struct dispatch *d, uint64_t bytes)
{
	uint64_t want = KEEP_FREE + bytes;
	struct statvfs vfs;

	for (const struct audit_copy *c = d->audit_copies; c != NULL;
	     c = c->next)
		if (__builtin_add_overflow(want, c->bytes, &want))
			return false;
	return statvfs(d->audit_folder, &vfs) == 0 &&
	    (uint64_t)vfs.f_bavail * vfs.f_frsize >= want;
}

/* An empty file for the worker to write to, or NULL. */
static const struct audit_copy *
copy_new(struct dispatch *d, const struct peer *p, const struct task *t,
    uint64_t attempt)
{
	uint64_t bytes = t->job->made->result.tar_size;
	AUTO(own_freep) struct audit_copy *c = NULL;
	int fd;

	if (!have_folder(d) || !have_room(d, bytes))
		return NULL;
	if ((c = malloc(sizeof(*c) + PATH_SIZE)) == NULL)
		return NULL;
	*c = (struct audit_copy){.next = d->audit_copies,
	    .worker = p->worker,
	    .job = t->id,
	    .attempt = attempt,
	    .bytes = bytes};
	snprintf(c->path, PATH_SIZE, "%s/%llu-%llu", d->audit_folder,
	    (unsigned long long)t->id.v, (unsigned long long)attempt);
	fd = open(c->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return NULL;
	close(fd);
	return d->audit_copies = STEAL(&c);
}

/*
 * A second copy costs its maker's disk, never the network: it is pulled only
 * if it differs.  Where there is no room it is not kept.
 */
void
dispatch_audit_outputs(struct dispatch *d, const struct peer *p,
    const struct task *t, uint64_t attempt, struct layer_spec *spec)
{
	const struct layer_spec *first = t->job->spec;
	const struct audit_copy *copy;
	struct layer_spec blob = *first;

	*spec = *first;
	spec->n_outputs = 0;
	if (first->n_outputs == 0)
		return; /* there is nothing to hold it against */
	if (p->via != d->link) {
		blob.outputs[0] =
		    (struct layer_output){.kind = LAYER_TO_BLOB, .path = ""};
		blob.n_outputs = 1;
		if (!t->no_copy)
			blob_request_spool(&blob, spec);
		return;
	}
	if ((copy = copy_new(d, p, t, attempt)) == NULL)
		return;
	spec->outputs[0] = (struct layer_output){.kind = LAYER_TO_FILE,
	    .path = copy->path,
	    .size = LAYER_SIZE_UNKNOWN};
	spec->n_outputs = 1;
}

static void
remove_copy(struct audit_copy **at)
{
	struct audit_copy *c = *at;

	*at = c->next;
	unlink(c->path);
	free(c);
}

void
dispatch_audit_end(struct dispatch *d, struct worker_id worker,
    struct job_id id, uint64_t attempt)
{
	for (struct audit_copy **at = &d->audit_copies; *at != NULL;
	     at = &(*at)->next)
		if ((*at)->worker.v == worker.v && (*at)->job.v == id.v &&
		    (*at)->attempt == attempt) {
			remove_copy(at);
			return;
		}
}

void
dispatch_audit_gone(struct dispatch *d, struct worker_id worker)
{
	for (struct audit_copy **at = &d->audit_copies; *at != NULL;)
		if ((*at)->worker.v == worker.v)
			remove_copy(at);
		else
			at = &(*at)->next;
}

void
dispatch_audit_forget(struct dispatch *d)
{
	while (d->audit_faults != NULL) {
		struct audit_fault *f = d->audit_faults;

		d->audit_faults = f->next;
		pthread_join(f->thread, NULL);
		free(f);
	}
	while (d->audit_copies != NULL)
		remove_copy(&d->audit_copies);
	if (d->audit_folder != NULL)
		scratch_remove(d->scratch, d->audit_folder);
	own_freep(&d->audit_folder);
}

const char *
dispatch_audit_folder(struct dispatch *d)
{
	return have_folder(d) ? d->audit_folder : NULL;
}

/* FOLDER/DIGEST, if that is there. */
static bool
blob_in(const char *folder, const struct layer_result *r,
    const struct layer_spec *spec, char path[static PATH_SIZE],
    struct layer_place *out)
{
	char hex[DIGEST_HEX_LEN + 1];
	struct stat st;

	digest_hex(&r->digest, hex);
	snprintf(path, PATH_SIZE, "%s/%s", folder, hex);
	if (stat(path, &st) < 0 || (uint64_t)st.st_size != r->size)
		return false;
	out->path = path;
	out->offset = 0;
	out->size = r->size;
	out->encoded = spec->encoding.kind != ENCODING_NONE;
	return true;
}

/* In the outputs; a tar's place there is for the result that counts. */
static bool
in_outputs(const struct layer_spec *spec, const struct layer_result *r,
    bool tars, char path[static PATH_SIZE], struct layer_place *out)
{
	for (size_t i = 0; i < spec->n_outputs; i++) {
		const struct layer_output *o = &spec->outputs[i];

		if (o->kind == LAYER_TO_BLOB &&
		    blob_in(o->path, r, spec, path, out))
			return true;
		if (o->kind != LAYER_TO_FILE || !tars)
			continue;
		out->path = o->path;
		out->offset = o->offset;
		out->size = r->tar_size;
		return true;
	}
	return false;
}

/* It stays until it was compared, whatever becomes of its worker. */
static bool
take_copy(struct dispatch *d, struct worker_id worker, const struct task *t,
    uint64_t attempt, struct audit_fault *f)
{
	struct audit_copy **at = &d->audit_copies, *c;

	while ((c = *at) != NULL &&
	    (c->worker.v != worker.v || c->job.v != t->id.v ||
		c->attempt != attempt))
		at = &c->next;
	if (c == NULL)
		return false;
	*at = c->next;
	memcpy(f->second_path, c->path, PATH_SIZE);
	free(c);
	f->ours = true;
	return true;
}

static bool
second_copy(struct dispatch *d, struct worker_id worker, const struct task *t,
    uint64_t attempt, const struct layer_result *r, struct audit_fault *f)
{
	const struct layer_spec *spec = t->job->spec;

	if (take_copy(d, worker, t, attempt, f)) {
		f->second.path = f->second_path;
		f->second.size = r->tar_size;
		return true;
	}
	return (d->audit_folder != NULL &&
		   blob_in(
		       d->audit_folder, r, spec, f->second_path, &f->second)) ||
	    in_outputs(spec, r, false, f->second_path, &f->second);
}

static void
compare(struct audit_fault *f)
{
	struct err bad = ERR_INIT;

	if (!f->both)
		snprintf(f->what, sizeof(f->what),
		    "which ones cannot be said, there are not two copies");
	else if (layer_compare(&f->first, &f->second, f->what, &bad) < 0)
		snprintf(f->what, sizeof(f->what), "%.600s", bad.text);
	if (f->ours)
		unlink(f->second_path);
}

static void *
compare_thread(void *arg)
{
	struct audit_fault *f = arg;

	compare(f);
	atomic_store(&f->over, true);
	return NULL;
}

/* Frees it; the error that it is, for the task that it is of. */
static void
tell_fault(struct audit_fault *f, const struct dispatch_job *job, struct err *e)
{
	err_set(e, ERR_FATAL, 0,
	    "%s is not reproducible: worker %s made other bytes than worker "
	    "%s: %s",
	    job->label, f->second_worker, f->first_worker, f->what);
	free(f);
}

static struct audit_fault *
fault_new(struct dispatch *d, struct worker_id worker, const char *name,
    const struct task *t, uint64_t attempt, const struct layer_result *r)
{
	static const struct dispatch_made nobody = {.worker = "?"};
	const struct dispatch_job *job = t->job;
	const struct dispatch_made *made =
	    job->made != NULL ? job->made : &nobody;
	uint64_t first = made->result.tar_size;
	uint64_t most = r->tar_size < first ? r->tar_size : first;
	struct audit_fault *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return NULL;
	most = most > UINT64_MAX / LARGER ? UINT64_MAX : LARGER * most;
	/* Others' jobs have the disk, too. */
	if (d->open && most > COMPARED_MAX)
		most = COMPARED_MAX;
	f->job = t->id;
	f->first.most = f->second.most = most;
	snprintf(f->first_worker, NAME, "%s", made->worker);
	snprintf(f->second_worker, NAME, "%s", name);
	f->first.worker = f->first_worker;
	f->second.worker = f->second_worker;
	f->both = in_outputs(
	    job->spec, &made->result, true, f->first_path, &f->first);
	f->both = second_copy(d, worker, t, attempt, r, f) && f->both;
	if (f->first.path != NULL && f->first.path != f->first_path)
		f->first.path =
		    strncpy(f->first_path, f->first.path, PATH_SIZE - 1);
	return f;
}

int
dispatch_audit_fault(struct dispatch *d, struct worker_id worker,
    const char *name, struct task *t, uint64_t attempt,
    const struct layer_result *r, struct err *e)
{
	struct audit_fault *f;
	struct err why = ERR_INIT;

	if (t->differs)
		return 0; /* that is being found out */
	if ((f = fault_new(d, worker, name, t, attempt, r)) == NULL)
		return err_set(e, ERR_FATAL, errno, "audit");
	if (d->open && quiet_thread(&f->thread, compare_thread, f) == 0) {
		t->differs = true;
		f->next = d->audit_faults;
		d->audit_faults = f;
		return 0;
	}
	compare(f);
	tell_fault(f, t->job, &why);
	return task_failed(d, t, &why, e);
}

int
dispatch_audit_collect(struct dispatch *d, struct err *e)
{
	for (struct audit_fault **at = &d->audit_faults, *f;
	     (f = *at) != NULL;) {
		struct task *t = task_find(d, f->job);
		struct err why = ERR_INIT;

		if (!atomic_load(&f->over)) {
			at = &f->next;
			continue;
		}
		*at = f->next;
		pthread_join(f->thread, NULL);
		if (t == NULL) {
			free(f); /* nobody wants it any more */
			continue;
		}
		tell_fault(f, t->job, &why);
		if (task_failed(d, t, &why, e) < 0)
			return -1;
	}
	return 0;
}
