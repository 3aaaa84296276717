#include "client/client_state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "closure/closure.h"
#include "dispatch/dispatch.h"
#include "err.h"
#include "dispatch/job_send.h"
#include "log.h"
#include "monotime.h"
#include "progress/progress.h"

/* Bytes of one path in a list besides its name: hash, size, headers. */
#define ITEM_BYTES 64
/* Workers that are told apart in the progress display. */
#define WORKERS_SHOWN_MAX 1024

static uint64_t
list_bytes(const struct dispatch_job *job)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < job->n; i++)
		bytes += strlen(job->closure->path[job->path[i]]) + ITEM_BYTES;
	return bytes;
}

/* The largest first; of equals the first. */
static int
by_weight(const void *a, const void *b, void *arg)
{
	const struct dispatch_job *job = arg;
	size_t i = *(const size_t *)a, j = *(const size_t *)b;

	if (job[i].weight != job[j].weight)
		return job[i].weight > job[j].weight ? -1 : 1;
	return i < j ? -1 : 1;
}

int
client_jobs_start(
    struct client *c, struct dispatch_job *job, size_t n, struct err *e)
{
	uint64_t bytes = 0;

	c->want = calloc(n + 1, sizeof(*c->want));
	c->order = calloc(n + 1, sizeof(*c->order));
	if (c->want == NULL || c->order == NULL)
		return err_set(e, ERR_FATAL, errno, "jobs");
	c->job = job;
	c->n_jobs = n;
	c->n_done = c->first = c->n_held = 0;
	c->held_bytes = 0;
	c->room = CLIENT_ASKED_MAX;
	c->patience = c->config.pace.postpone_ms;
	for (size_t i = 0; i < n; i++) {
		assert(job[i].spec->source == LAYER_FROM_STORE);
		c->want[i].bytes = list_bytes(&job[i]);
		if (c->want[i].bytes > CLIENT_LIST_BYTES_MAX)
			return err_set(e, ERR_USAGE, 0,
			    "%s: its list of %u store paths is too long for a "
			    "server, which takes 1 GiB (some 8 million): more "
			    "layers have shorter ones (--max-layers)",
			    job[i].label, job[i].n);
		c->order[i] = i;
		bytes += job[i].weight;
	}
	qsort_r(c->order, n, sizeof(*c->order), by_weight, job);
	progress_totals(c->config.progress, n, bytes);
	return 0;
}

void
client_jobs_end(struct client *c)
{
	free(c->want);
	free(c->order);
	c->want = NULL;
	c->order = NULL;
	c->job = NULL;
	c->base += c->n_jobs;
	c->n_jobs = c->n_done = 0;
}

bool
client_job_of(const struct client *c, uint64_t job, uint64_t attempt,
    enum want_step step, size_t *out)
{
	if (job < c->base || job - c->base >= c->n_jobs)
		return false;
	*out = (size_t)(job - c->base);
	return c->want[*out].step == step && c->want[*out].attempt == attempt;
}

/* Nobody has it any more. */
static void
let_go(struct client *c, size_t i, enum want_step step)
{
	struct want *w = &c->want[i];

	progress_job_end(
	    c->config.progress, 0, i, c->job[i].label, 0, 0, false);
	w->step = step;
	if (step == WANT_OPEN)
		w->offered = w->pushing = w->only_pushed = false;
	c->n_held--;
	c->held_bytes -= w->bytes;
	if (step == WANT_OPEN)
		c->first = 0;
}

void
client_jobs_reopen(struct client *c, bool pulls)
{
	for (size_t i = 0; i < c->n_jobs; i++)
		if (c->want[i].step == WANT_ASKED ||
		    (pulls && c->want[i].step == WANT_MADE))
			let_go(c, i, WANT_OPEN);
		else if (pulls)
			c->want[i].offered = false;
	c->room = CLIENT_ASKED_MAX;
	c->patience = c->config.pace.postpone_ms;
}

/* What the server has to know: nothing of this machine's folders. */
static int
ask(struct client *c, size_t i, struct err *e)
{
	struct layer_spec spec = *c->job[i].spec;
	struct dispatch_job job = c->job[i];
	struct want *w = &c->want[i];

	spec.store_root = "";
	spec.n_outputs = 0;
	job.spec = &spec;
	w->attempt++;
	w->worker[0] = '\0';
	if (job_send(c->link, NULL, &job, c->base + i, w->attempt, 0, e) < 0) {
		if (e->kind != ERR_PEER)
			return err_ctx(e, "%s", job.label);
		/* What has got there is asked for again, too. */
		err_clear(e);
		client_lost(c);
		return 1;
	}
	w->asked = monotime_ms();
	w->step = WANT_ASKED;
	c->n_held++;
	c->held_bytes += w->bytes;
	return 0;
}

int
client_jobs_ask(struct client *c, struct err *e)
{
	if (c->step != CLIENT_READY)
		return 0;
	if (c->room < CLIENT_ASKED_MAX && monotime_ms() >= c->room_at)
		c->room = CLIENT_ASKED_MAX;
	for (size_t k = c->first; k < c->n_jobs && c->n_held < c->room; k++) {
		size_t i = c->order[k];
		int rc;

		if (c->want[i].step == WANT_OPEN) {
			/* One that is larger than all goes alone. */
			if (c->n_held > 0 &&
			    c->held_bytes + c->want[i].bytes >
				CLIENT_ASKED_BYTES_MAX)
				return 0;
			if ((rc = ask(c, i, e)) != 0)
				return rc < 0 ? -1 : 0;
		}
		c->first = k + 1;
	}
	return 0;
}

/*
 * It takes as many as it has of ours now.  When one of these is done another
 * may take its place; all are tried again later, and each time later still.
 */
void
client_job_postpone(struct client *c, size_t i)
{
	int64_t now = monotime_ms();

	let_go(c, i, WANT_OPEN);
	c->room = c->n_held;
	if (now < c->room_at)
		return;
	c->room_at = now + c->patience;
	c->patience *= 2;
	if (c->patience > c->config.pace.postpone_max_ms)
		c->patience = c->config.pace.postpone_max_ms;
}

int
client_job_again(struct client *c, size_t i, const char *why, struct err *e)
{
	const char *label = c->job[i].label;
	struct err last = ERR_INIT;

	if (c->want[i].failed++ == CLIENT_AGAIN_MAX) {
		err_set(&last, ERR_FATAL, 0,
		    "%s: it did not come %u times, at last: %s", label,
		    c->want[i].failed, why);
		return client_job_failed(c, i, &last, e);
	}
	log_line(LOG_WARNING, "%s: %s; it is asked for again", label, why);
	let_go(c, i, WANT_OPEN);
	return 0;
}

int
client_job_failed(
    struct client *c, size_t i, const struct err *why, struct err *e)
{
	if (c->config.failed == NULL) {
		*e = *why;
		return -1;
	}
	let_go(c, i, WANT_DONE);
	c->n_done++;
	return c->config.failed(c->config.arg, &c->job[i], why, e);
}

/* Its place in the progress display; the server's where it has none. */
static size_t
shown(struct client *c, const char *name)
{
	char(*worker)[64];

	if (*name == '\0')
		return 0;
	for (size_t i = 0; i < c->n_workers; i++)
		if (strcmp(c->worker[i], name) == 0)
			return i + 1;
	if (c->n_workers == WORKERS_SHOWN_MAX)
		return 0;
	if (c->n_workers == c->room_workers) {
		size_t room = c->room_workers == 0 ? 8 : 2 * c->room_workers;

		if ((worker = realloc(c->worker, room * sizeof(*worker))) ==
		    NULL)
			return 0;
		c->worker = worker;
		c->room_workers = room;
	}
	snprintf(c->worker[c->n_workers], sizeof(*c->worker), "%s", name);
	progress_worker_up(c->config.progress, ++c->n_workers, name);
	return c->n_workers;
}

int
client_job_done(struct client *c, size_t i, struct err *e)
{
	struct dispatch_job *job = &c->job[i];
	struct want *w = &c->want[i];

	let_go(c, i, WANT_DONE);
	c->n_done++;
	*job->made = (struct dispatch_made){
	    .result = w->result,
	    .seconds = w->seconds,
	    .only_pushed = w->only_pushed,
	    .pushing = w->pushing,
	};
	snprintf(job->made->worker, sizeof(job->made->worker), "%s", w->worker);
	progress_job_end(c->config.progress, shown(c, w->worker), i, job->label,
	    w->result.tar_size, w->seconds, true);
	return c->config.done == NULL ? 0
				      : c->config.done(c->config.arg, job, e);
}
