#include "progress/progress.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "monotime.h"
#include "progress/progress_state.h"

#define REDRAW_MS 100
#define JSON_MS 1000
#define PLAIN_MS 30000

int
progress_new(enum progress_mode mode, struct progress **out, struct err *e)
{
	struct progress *p;
	const char *term = getenv("TERM");

	if ((p = calloc(1, sizeof(*p))) == NULL)
		return err_set(e, ERR_FATAL, errno, "progress");
	if (mode == PROGRESS_AUTO)
		mode = isatty(STDERR_FILENO) && term != NULL &&
			strcmp(term, "dumb") != 0
		    ? PROGRESS_BAR
		    : PROGRESS_PLAIN;
	p->mode = mode;
	p->owner = pthread_self();
	pthread_mutex_init(&p->lock, NULL);
	p->phase = "starting";
	p->phase_start = monotime_ms();
	if (mode == PROGRESS_BAR)
		progress_bar_start(p);
	*out = p;
	return 0;
}

static void
bar_end(struct progress *p)
{
	if (p->mode != PROGRESS_BAR)
		return;
	progress_bar_end(p);
	p->mode = PROGRESS_PLAIN;
}

void
progress_free(struct progress *p)
{
	if (p == NULL)
		return;
	bar_end(p);
	hash_index_free(&p->by_job);
	hash_index_free(&p->by_host);
	pthread_mutex_destroy(&p->lock);
	free(p->held);
	free(p->running);
	free(p->worker);
	free(p->host);
	free(p);
}

void
progress_freep(struct progress **p)
{
	progress_free(*p);
	*p = NULL;
}

uint64_t
progress_bytes_now(const struct progress *p)
{
	uint64_t bytes = p->bytes_done;

	for (size_t i = 0; i < p->n_running; i++)
		bytes += p->running[i].bytes;
	return bytes;
}

/* When plain lines or JSON ones tell more. */
static void
tell_later(struct progress *p, int64_t now)
{
	p->next = now + (p->mode == PROGRESS_JSON ? JSON_MS : PLAIN_MS);
}

void
progress_phase(struct progress *p, const char *what)
{
	p->phase = what;
	p->phase_start = monotime_ms();
	p->jobs = p->jobs_done = 0;
	p->bytes = p->bytes_done = 0;
	p->n_running = 0;
	hash_index_free(&p->by_job);
	p->room_running = 0;
	p->tell = false;
	if (p->mode == PROGRESS_PLAIN)
		tell_later(p, p->phase_start);
	if (p->mode == PROGRESS_JSON)
		progress_json_phase(p);
	if (p->mode == PROGRESS_BAR)
		progress_bar_draw(p, p->phase_start);
}

void
progress_tell_jobs(struct progress *p)
{
	p->tell = true;
}

void
progress_totals(struct progress *p, size_t jobs, uint64_t bytes)
{
	p->jobs = jobs;
	p->bytes = bytes;
}

/* "HOST/PID" or "HOST/PID#N": HOST; what is no such name is one itself. */
static void
host_name(const char *worker, char out[static PROGRESS_NAME_MAX])
{
	const char *slash = strrchr(worker, '/');
	bool whole = slash == NULL || slash[1] == '\0' ||
	    slash[1 + strspn(slash + 1, "0123456789#")] != '\0';

	snprintf(out, PROGRESS_NAME_MAX, "%.*s",
	    whole ? PROGRESS_NAME_MAX : (int)(slash - worker), worker);
}

static int
host_room(struct progress *p)
{
	size_t room = p->room_hosts == 0 ? 16 : 2 * p->room_hosts;
	struct seen_host *h;

	if (p->n_hosts < p->room_hosts)
		return 0;
	if (hash_index_reserve(&p->by_host, room) < 0 ||
	    (h = reallocarray(p->host, room, sizeof(*h))) == NULL)
		return -1;
	p->host = h;
	p->room_hosts = room;
	return 0;
}

/* The index of the worker's host; -1: out of memory. */
static int64_t
host_of(struct progress *p, const char *worker)
{
	char name[PROGRESS_NAME_MAX];
	uint64_t hash;
	uint32_t i;
	size_t at;

	host_name(worker, name);
	hash = hash_bytes(0, name, strlen(name));
	for (i = hash_index_first(&p->by_host, hash, &at); i != HASH_INDEX_NONE;
	     i = hash_index_next(&p->by_host, hash, &at))
		if (strcmp(p->host[i].name, name) == 0)
			return i;
	if (host_room(p) < 0)
		return -1;
	i = (uint32_t)p->n_hosts++;
	p->host[i] = (struct seen_host){.workers = 0};
	memcpy(p->host[i].name, name, sizeof(name));
	hash_index_put(&p->by_host, hash, i);
	return i;
}

static int
worker_room(struct progress *p, size_t worker)
{
	struct seen_worker *w;

	if (worker < p->n_workers)
		return 0;
	w = reallocarray(p->worker, worker + 1, sizeof(*w));
	if (w == NULL)
		return -1;
	memset(w + p->n_workers, 0, (worker + 1 - p->n_workers) * sizeof(*w));
	p->worker = w;
	p->n_workers = worker + 1;
	return 0;
}

static void
worker_down(struct progress *p, struct seen_worker *w)
{
	w->up = false;
	p->hosts_up -= --p->host[w->host].workers == 0;
	p->workers_up--;
}

void
progress_worker_up(struct progress *p, size_t worker, const char *name)
{
	struct seen_worker *w;
	int64_t host;

	/* Out of memory: it is only not shown. */
	if (p->mode == PROGRESS_NONE || worker_room(p, worker) < 0 ||
	    (host = host_of(p, name)) < 0)
		return;
	w = &p->worker[worker];
	if (w->up)
		worker_down(p, w); /* it has another name now */
	*w = (struct seen_worker){.up = true, .host = (uint32_t)host};
	snprintf(w->name, sizeof(w->name), "%s", name);
	p->hosts_up += p->host[host].workers++ == 0;
	p->workers_up++;
	p->events.joins++;
	if (p->mode == PROGRESS_JSON)
		progress_json_worker(p, worker);
}

static uint64_t
job_hash(size_t worker, size_t job)
{
	return hash_number(hash_number(0, worker), job);
}

static struct running *
running_find(struct progress *p, size_t worker, size_t job)
{
	uint64_t hash = job_hash(worker, job);
	uint32_t i;
	size_t at;

	for (i = hash_index_first(&p->by_job, hash, &at); i != HASH_INDEX_NONE;
	     i = hash_index_next(&p->by_job, hash, &at))
		if (p->running[i].worker == worker && p->running[i].job == job)
			return &p->running[i];
	return NULL;
}

/* The last one takes its place. */
static void
running_remove(struct progress *p, struct running *r)
{
	uint32_t i = (uint32_t)(r - p->running);
	uint32_t last = (uint32_t)--p->n_running;

	hash_index_remove(&p->by_job, job_hash(r->worker, r->job), i);
	if (i == last)
		return;
	*r = p->running[last];
	hash_index_change(&p->by_job, job_hash(r->worker, r->job), last, i);
}

void
progress_worker_gone(struct progress *p, size_t worker, bool lost)
{
	if (worker >= p->n_workers || !p->worker[worker].up)
		return;
	worker_down(p, &p->worker[worker]);
	p->events.losses += lost;
	p->events.leaves += !lost;
	for (size_t i = p->n_running; i-- > 0;)
		if (p->running[i].worker == worker)
			running_remove(p, &p->running[i]);
	if (p->mode == PROGRESS_JSON)
		progress_json_worker_gone(p, worker, lost);
}

static struct running *
running_add(struct progress *p, size_t worker, size_t job)
{
	size_t room = p->room_running == 0 ? 16 : 2 * p->room_running;
	struct running *r;

	if (p->n_running == p->room_running) {
		if (hash_index_reserve(&p->by_job, room) < 0 ||
		    (r = reallocarray(p->running, room, sizeof(*r))) == NULL)
			return NULL;
		p->running = r;
		p->room_running = room;
	}
	hash_index_put(
	    &p->by_job, job_hash(worker, job), (uint32_t)p->n_running);
	return &p->running[p->n_running++];
}

void
progress_job(struct progress *p, size_t worker, size_t job, const char *label,
    uint64_t bytes, uint64_t total)
{
	struct running *r;

	if (worker >= p->n_workers || !p->worker[worker].up ||
	    ((r = running_find(p, worker, job)) == NULL &&
		(r = running_add(p, worker, job)) == NULL))
		return; /* it is only not shown */
	*r = (struct running){worker, job, label, bytes, total};
}

const char *
progress_worker_name(const struct progress *p, size_t worker)
{
	return worker < p->n_workers ? p->worker[worker].name : "?";
}

size_t
progress_count_hosts(struct progress *p)
{
	size_t busy = 0;

	for (size_t i = 0; i < p->n_hosts; i++) {
		p->host[i].running = 0;
		p->host[i].most = NULL;
	}
	for (size_t i = 0; i < p->n_running; i++) {
		const struct running *r = &p->running[i];
		struct seen_host *h = &p->host[p->worker[r->worker].host];

		busy += h->running++ == 0;
		if (h->most == NULL || r->total > h->most->total)
			h->most = r;
	}
	return busy;
}

void
progress_job_end(struct progress *p, size_t worker, size_t job,
    const char *label, uint64_t bytes, double seconds, bool done)
{
	struct running *r = running_find(p, worker, job);

	if (r != NULL)
		running_remove(p, r);
	if (!done)
		return;
	p->jobs_done++;
	p->bytes_done += bytes;
	if (p->mode == PROGRESS_PLAIN && p->tell)
		progress_plain_done(p, worker, label, bytes, seconds);
	else if (p->mode == PROGRESS_JSON)
		progress_json_done(p, worker, label, bytes, seconds);
}

static void
tell_again(struct progress *p, size_t worker, const char *label,
    uint64_t attempt, const char *why)
{
	if (p->mode == PROGRESS_PLAIN)
		progress_plain_again(p, worker, label, attempt, why);
	else if (p->mode == PROGRESS_JSON)
		progress_json_again(p, worker, label, attempt, why);
}

void
progress_again(struct progress *p, size_t worker, const char *label,
    uint64_t attempt, enum sched_end before)
{
	p->events.again[before]++;
	tell_again(p, worker, label, attempt, sched_end_name(before));
}

void
progress_copy(
    struct progress *p, size_t worker, const char *label, uint64_t attempt)
{
	p->events.copies++;
	tell_again(p, worker, label, attempt, "copy");
}

void
progress_audit(struct progress *p, const char *label, bool agreed)
{
	p->events.agreed += agreed;
	p->events.skipped += !agreed;
	if (p->mode == PROGRESS_JSON)
		progress_json_audit(label, agreed);
}

void
progress_read(struct progress *p, uint64_t bytes)
{
	p->events.read += bytes;
}

void
progress_fetched(struct progress *p, uint64_t bytes)
{
	p->events.fetched += bytes;
}

void
progress_pushed(struct progress *p, const struct progress_pushes *n)
{
	p->events.pushes = *n;
}

int
progress_tick(struct progress *p, int64_t now)
{
	if (p->mode != PROGRESS_BAR && p->mode != PROGRESS_JSON &&
	    (p->mode != PROGRESS_PLAIN || !p->tell))
		return -1;
	if (now < p->next)
		return (int)(p->next - now);
	if (p->mode == PROGRESS_BAR) {
		progress_bar_draw(p, now);
		p->next = now + REDRAW_MS;
	} else {
		if (p->mode == PROGRESS_JSON)
			progress_json_tell(p);
		else
			progress_plain_tell(p);
		tell_later(p, now);
	}
	return (int)(p->next - now);
}

void
progress_summary(struct progress *p, const struct progress_summary *s)
{
	if (p->mode == PROGRESS_JSON)
		progress_json_summary(p, s);
	bar_end(p);
	if (p->mode == PROGRESS_PLAIN)
		progress_plain_summary(p, s);
}
