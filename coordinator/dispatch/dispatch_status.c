#include "dispatch/dispatch_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/dispatch.h"
#include "err.h"
#include "log.h"
#include "progress/metrics.h"
#include "monotime.h"
#include "progress/status.h"

void
dispatch_status_open(struct dispatch *d, const struct dispatch_config *c)
{
	const char *command = c->command != NULL ? c->command : "build";

	d->metrics = c->metrics;
	d->since = monotime_ms();
	d->seen.session = d->session;
	d->seen.cached = c->cached;
	status_name(d->seen.version, sizeof(d->seen.version), QUARRY_VERSION);
	status_name(d->seen.command, sizeof(d->seen.command), command);
}

void
dispatch_status_add(uint64_t *sum, uint64_t n)
{
	*sum = n > INT64_MAX - *sum ? INT64_MAX : *sum + n;
}

void
dispatch_inputs(const struct dispatch *d, uint64_t *read, uint64_t *fetched)
{
	*read = d->seen.bytes_read;
	*fetched = d->seen.bytes_fetched;
}

static void
add_counts(struct sched_counts *to, const struct sched_counts *n)
{
	to->added += n->added;
	to->queued += n->queued;
	to->running += n->running;
	to->done += n->done;
	to->failed += n->failed;
	to->left += n->left;
	to->started += n->started;
	to->copies += n->copies;
	to->duplicates += n->duplicates;
	to->differs += n->differs;
	to->agreed += n->agreed;
	to->skipped += n->skipped;
	for (size_t i = 0; i < SCHED_ENDS; i++) {
		to->ended[i] += n->ended[i];
		to->retried[i] += n->retried[i];
	}
}

/* What the scheduler of this run has seen besides. */
static void
add_run(const struct dispatch *d, struct status *s)
{
	struct sched_counts jobs, measures;

	if (d->sched == NULL)
		return;
	sched_count(d->sched, &jobs, &measures);
	add_counts(&s->jobs, &jobs);
	add_counts(&s->measures, &measures);
}

static void
fill_worker(
    const struct dispatch *d, const struct peer *p, struct status_worker *w)
{
	struct sched_worker_counts n = {.slots = p->slots};

	if (d->sched != NULL)
		sched_worker_count(d->sched, p->worker, &n);
	*w = (struct status_worker){
	    .remote = p->via == d->remote,
	    .draining = n.draining,
	    .aside = n.aside,
	    .slots = n.slots,
	    .running = n.running,
	    .waiting = n.waiting,
	    .rate = n.rate,
	    .done = p->done + n.done,
	    .failures = p->failures + n.failures,
	};
	status_name(w->name, sizeof(w->name), p->name);
}

int
dispatch_status(const struct dispatch *d, struct status *out, struct err *e)
{
	struct status s = d->seen;

	s.worker = calloc(d->n_peers + 1, sizeof(*s.worker));
	if (s.worker == NULL)
		return err_set(e, ERR_FATAL, errno, "status");
	s.uptime_ms = (uint64_t)(monotime_ms() - d->since);
	add_run(d, &s);
	dispatch_push_status(d, &s.pushes);
	for (size_t i = 0; i < d->n_peers; i++)
		fill_worker(d, &d->peer[i], &s.worker[s.n_workers++]);
	if (d->hooks.status != NULL &&
	    d->hooks.status(d->hooks.arg, &s, e) < 0) {
		status_clear(&s);
		return -1;
	}
	status_sort(&s);
	*out = s;
	return 0;
}

void
dispatch_status_show(struct dispatch *d)
{
	struct err e = ERR_INIT;
	struct status s;

	if (d->metrics == NULL)
		return;
	if (dispatch_status(d, &s, &e) < 0) {
		log_line(LOG_DEBUG, "%s", e.text); /* the last one stays */
		return;
	}
	metrics_update(d->metrics, monotime_ms(), &s);
}

int64_t
dispatch_status_tick(struct dispatch *d)
{
	int64_t now = monotime_ms();

	if (d->metrics == NULL)
		return INT64_MAX;
	if (now < metrics_due(d->metrics))
		return metrics_due(d->metrics);
	dispatch_status_show(d);
	return now + METRICS_MS;
}

void
dispatch_status_run_ends(struct dispatch *d)
{
	add_run(d, &d->seen);
	for (size_t i = 0; i < d->n_peers; i++) {
		struct sched_worker_counts n;
		struct peer *p = &d->peer[i];

		if (!sched_worker_count(d->sched, p->worker, &n))
			continue;
		p->done += n.done;
		p->failures += n.failures;
	}
}
