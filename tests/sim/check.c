#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

__attribute__((format(printf, 3, 0))) static void
say(const struct check *c, FILE *f, const char *fmt, va_list args)
{
	fprintf(f, "%8.3f ", (double)c->now / 1000);
	vfprintf(f, fmt, args);
	fputc('\n', f);
}

void
check_breach(const struct check *c, const char *fmt, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "sim: seed %llu: ", (unsigned long long)c->seed);
	va_start(args, fmt);
	say(c, stderr, fmt, args);
	va_end(args);
	exit(1);
}

void
check_trace(const struct check *c, const char *fmt, ...)
{
	va_list args;

	if (!c->trace)
		return;
	va_start(args, fmt);
	say(c, stdout, fmt, args);
	va_end(args);
}

void
check_free(struct check *c)
{
	for (size_t i = 0; i < c->n_jobs; i++)
		free(c->job[i].given);
}

static bool
usable(const struct check_worker *w)
{
	return w->up && !w->aside && !w->draining;
}

static size_t
count_usable(const struct check *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_ids; i++)
		n += usable(&c->worker[i]);
	return n;
}

static bool
is_open(const struct check_job *j)
{
	return j->state == OPEN || j->state == AUDITED;
}

static struct check_ends *
ends_of(struct check *c, const struct check_job *j)
{
	return &c->ends[j->measures];
}

static struct check_lease *
find_lease(struct check_job *j, uint64_t id, uint64_t attempt)
{
	for (size_t i = 0; i < j->n_leases; i++)
		if (j->lease[i].id == id && j->lease[i].attempt == attempt)
			return &j->lease[i];
	return NULL;
}

static void
remove_lease(struct check *c, struct check_job *j, struct check_lease *lease)
{
	struct check_worker *w = &c->worker[lease->id];
	uint64_t id = lease->id;

	*lease = j->lease[--j->n_leases];
	w->n_leases--;
	w->limit_until = 0;
	/* Another of its jobs may begin to run. */
	for (size_t i = 0; i < c->n_jobs; i++)
		for (size_t k = 0; k < c->job[i].n_leases; k++)
			if (c->job[i].lease[k].id == id) {
				c->job[i].lease[k].renewed = c->now;
				c->job[i].lease[k].may_run = true;
			}
}

/* sure: nobody can say that it was not one. */
static void
note_failure(struct check_job *j, uint64_t id, bool sure)
{
	if (j->n_failed < 256)
		j->failed_at[j->n_failed++] = id;
	j->sure += sure;
}

void
check_up(struct check *c, uint64_t id, size_t slots)
{
	check_trace(c, "worker %d up, %zu slots", (int)id, slots);
	c->worker[id] =
	    (struct check_worker){.up = true, .slots = slots, .heard = c->now};
	c->met_at = c->now;
	c->n_ids = (size_t)id + 1;
}

void
check_gone(struct check *c, uint64_t id)
{
	struct check_worker *w = &c->worker[id];

	if (!w->up)
		return;
	check_trace(c, "worker %d gone", (int)id);
	w->up = false;
	c->met_at = c->now;
	for (size_t i = 0; i < c->n_jobs; i++) {
		struct check_job *j = &c->job[i];

		for (size_t k = j->n_leases; k > 0; k--)
			if (j->lease[k - 1].id == id) {
				ends_of(c, j)->lost++;
				note_failure(j, id, false);
				remove_lease(c, j, &j->lease[k - 1]);
			}
	}
}

void
check_drain(struct check *c, uint64_t id)
{
	check_trace(c, "worker %d drains", (int)id);
	c->worker[id].draining = true;
}

void
check_heard(struct check *c, uint64_t id)
{
	c->worker[id].heard = c->now;
}

void
check_progress(struct check *c, uint64_t id, uint64_t job, uint64_t attempt,
    uint64_t bytes)
{
	struct check_lease *lease = find_lease(&c->job[job], id, attempt);

	if (lease == NULL || bytes <= lease->bytes)
		return;
	lease->bytes = bytes;
	lease->renewed = c->now;
	lease->may_run = true;
}

void
check_beat(struct check *c, uint64_t id, size_t running)
{
	if (!c->worker[id].up)
		return;
	c->worker[id].heard = c->now;
	for (size_t i = 0; i < c->n_jobs; i++)
		for (size_t k = 0; k < c->job[i].n_leases; k++)
			if (c->job[i].lease[k].id == id &&
			    running >= c->worker[id].slots &&
			    c->worker[id].n_leases > c->worker[id].slots)
				c->job[i].lease[k].renewed = c->now;
}

static enum sched_verdict
verdict_due(struct check *c, uint64_t id, uint64_t job, uint64_t attempt,
    uint8_t digest)
{
	const struct check_job *j = &c->job[job];

	if (attempt > j->attempt || j->given[attempt] != id)
		return SCHED_UNKNOWN;
	if (find_lease(&c->job[job], id, attempt) == NULL &&
	    j->attempt - attempt >= SCHED_ATTEMPTS_KNOWN)
		return SCHED_UNKNOWN;
	if (j->accepted > 0 && digest != j->digest)
		return SCHED_DIFFERS;
	if (j->state == OPEN)
		return SCHED_ACCEPTED;
	return j->state == AUDITED && j->by != id ? SCHED_CONFIRMED
						  : SCHED_DUPLICATE;
}

void
check_done(struct check *c, uint64_t id, uint64_t job, uint64_t attempt,
    uint8_t digest, enum sched_verdict verdict)
{
	struct check_job *j = &c->job[job];
	enum sched_verdict due = verdict_due(c, id, job, attempt, digest);
	struct check_lease *lease = find_lease(j, id, attempt);

	check_trace(c, "worker %d: job %d attempt %d done, digest %d: %d",
	    (int)id, (int)job, (int)attempt, digest, (int)verdict);
	if (verdict != due)
		check_breach(c, "job %d attempt %d by %d: verdict %d, not %d",
		    (int)job, (int)attempt, (int)id, (int)verdict, (int)due);
	if (verdict == SCHED_UNKNOWN)
		return;
	check_heard(c, id);
	c->worker[id].in_a_row = 0;
	ends_of(c, j)->results += lease != NULL;
	ends_of(c, j)->duplicates += verdict == SCHED_DUPLICATE;
	ends_of(c, j)->differs += verdict == SCHED_DIFFERS;
	ends_of(c, j)->agreed += verdict == SCHED_CONFIRMED;
	if (lease != NULL)
		remove_lease(c, j, lease);
	if (verdict == SCHED_ACCEPTED) {
		if (++j->accepted > 1)
			check_breach(c, "job %d accepted twice", (int)job);
		j->by = id;
		j->digest = digest;
		j->state = j->audit ? AUDITED : DONE;
	} else if (j->state == AUDITED && verdict != SCHED_DUPLICATE) {
		j->differs = verdict == SCHED_DIFFERS;
		j->state = j->differs ? FAILED : DONE;
	}
}

void
check_fail(struct check *c, uint64_t id, uint64_t job, uint64_t attempt,
    bool job_error)
{
	struct check_job *j = &c->job[job];
	struct check_lease *lease = find_lease(j, id, attempt);

	check_trace(c, "worker %d: job %d attempt %d failed%s%s", (int)id,
	    (int)job, (int)attempt, job_error ? " for good" : "",
	    lease == NULL ? ", late" : "");
	if (lease == NULL)
		return;
	check_heard(c, id);
	c->worker[id].in_a_row += !job_error;
	j->job_error |= job_error;
	ends_of(c, j)->failed++;
	remove_lease(c, j, lease);
	note_failure(j, id, true);
}

void
check_postpone(struct check *c, uint64_t id, uint64_t job, uint64_t attempt)
{
	struct check_job *j = &c->job[job];
	struct check_lease *lease = find_lease(j, id, attempt);
	struct check_worker *w = &c->worker[id];
	uint64_t limit = j->weight;

	check_trace(c, "worker %d: job %d attempt %d postponed%s", (int)id,
	    (int)job, (int)attempt, lease == NULL ? ", late" : "");
	if (lease == NULL)
		return;
	check_heard(c, id);
	if (c->now < w->limit_until && w->limit < limit)
		limit = w->limit;
	ends_of(c, j)->postponed++;
	remove_lease(c, j, lease);
	j->postponed += j->state == AUDITED;
	w->limit = limit;
	w->limit_until = c->now + SCHED_POSTPONE_MS;
}

void
check_cancel(struct check *c, uint64_t job)
{
	check_trace(c, "job %d is left", (int)job);
	if (is_open(&c->job[job]))
		c->job[job].state = LEFT;
}

/* Somebody can do the job, now or later; an audit by another one. */
static bool
somebody_can(const struct check *c, const struct check_job *j)
{
	for (size_t id = 0; id < c->n_ids; id++)
		if (usable(&c->worker[id]) && !j->unable[id] &&
		    !(j->state == AUDITED && j->by == id))
			return true;
	return false;
}

static bool
may_take(const struct check *c, const struct check_job *j, uint64_t id)
{
	const struct check_worker *w = &c->worker[id];

	return usable(w) &&
	    (c->now >= w->limit_until || j->weight < w->limit) &&
	    !(j->state == AUDITED && j->by == id) &&
	    !(j->unable[id] && (j->state == AUDITED || somebody_can(c, j)));
}

static void
on_send(struct check *c, const struct sched_action *a)
{
	struct check_job *j = &c->job[a->job.v];
	struct check_worker *w = &c->worker[a->worker.v];
	size_t extra = 0, slots = 0, most;

	if (!is_open(j))
		check_breach(c, "job %d was over, and is sent", (int)a->job.v);
	if (a->attempt != j->attempt + 1)
		check_breach(c, "job %d: attempt %d after %d", (int)a->job.v,
		    (int)a->attempt, (int)j->attempt);
	if (!may_take(c, j, a->worker.v))
		check_breach(c, "job %d is sent to %d, which must not have it",
		    (int)a->job.v, (int)a->worker.v);
	if (j->n_leases == CHECK_LEASES ||
	    (j->n_leases == 1 && j->lease[0].id == a->worker.v))
		check_breach(c, "job %d is sent too often", (int)a->job.v);
	j->attempt = a->attempt;
	ends_of(c, j)->copies += a->why == SCHED_COPY;
	if (a->why == SCHED_COPY && j->n_leases == 0)
		check_breach(c, "job %d: a copy of nothing", (int)a->job.v);
	if (j->attempt >= j->room_given) {
		j->room_given = 2 * (size_t)j->attempt + 8;
		j->given = realloc(j->given, j->room_given * sizeof(*j->given));
		if (j->given == NULL)
			abort();
	}
	j->given[a->attempt] = a->worker.v;
	if (++w->n_leases > w->slots + 1)
		check_breach(c, "worker %d has %zu leases for %zu slots",
		    (int)a->worker.v, w->n_leases, w->slots);
	j->lease[j->n_leases++] = (struct check_lease){.id = a->worker.v,
	    .attempt = a->attempt,
	    .renewed = c->now,
	    .may_run = w->n_leases <= w->slots};
	for (size_t i = 0; i < c->n_jobs; i++)
		extra += c->job[i].n_leases == 2;
	for (size_t i = 0; i < c->n_ids; i++)
		slots += c->worker[i].up ? c->worker[i].slots : 0;
	most = slots * c->config->copy_percent / 100;
	if (most == 0 && c->config->copy_percent > 0)
		most = 1;
	/* A copy that only moves is no more than there were. */
	if (j->n_leases == 2 && extra > most &&
	    (c->before.kind != SCHED_CANCEL || c->before.job.v != a->job.v))
		check_breach(c, "%zu copies for %zu slots", extra, slots);
}

/* The rules of poison, as far as failures may have been any. */
static bool
poisonous(const struct check *c, const struct check_job *j)
{
	unsigned distinct = 0;
	bool other = false;

	for (unsigned i = 0; i < j->n_failed; i++) {
		unsigned k = 0;

		while (j->failed_at[k] != j->failed_at[i])
			k++;
		distinct += k == i;
	}
	for (size_t id = 0; id < c->n_ids; id++) {
		unsigned k = 0;

		while (k < j->n_failed && j->failed_at[k] != id)
			k++;
		other |= k == j->n_failed && usable(&c->worker[id]) &&
		    !j->unable[id];
	}
	return distinct >= c->config->poison ||
	    j->n_failed >= 2 * c->config->poison ||
	    (j->n_failed >= c->config->poison && !other);
}

static void
on_skipped(struct check *c, const struct sched_action *a)
{
	struct check_job *j = &c->job[a->job.v];

	if (j->state != AUDITED)
		check_breach(c, "job %d: no audit to skip", (int)a->job.v);
	ends_of(c, j)->skipped++;
	j->state = DONE;
	if (poisonous(c, j) || j->postponed >= SCHED_POSTPONED_AUDIT_MAX)
		return;
	for (size_t i = 0; i < c->n_jobs; i++)
		if (c->job[i].state == OPEN)
			check_breach(c, "an audit is skipped before the end");
	if (c->config->awaits_second && count_usable(c) < 2 &&
	    c->now < c->met_at + SCHED_ABLE_MS)
		check_breach(
		    c, "an audit is skipped before anybody could come");
	for (size_t id = 0; id < c->n_ids; id++)
		if (usable(&c->worker[id]) && id != j->by && !j->unable[id])
			check_breach(c,
			    "worker %zu could have done job %d's "
			    "audit",
			    id, (int)a->job.v);
}

static void
on_cancel(struct check *c, const struct sched_action *a)
{
	struct check_job *j = &c->job[a->job.v];
	struct check_lease *lease = find_lease(j, a->worker.v, a->attempt);

	/* A worker may have gone since. */
	if (lease == NULL) {
		if (c->worker[a->worker.v].up)
			check_breach(c,
			    "job %d attempt %d is cancelled at %d, "
			    "which does not have it",
			    (int)a->job.v, (int)a->attempt, (int)a->worker.v);
		return;
	}
	if (is_open(j)) {
		note_failure(j, a->worker.v, false);
		c->worker[a->worker.v].in_a_row++;
	}
	ends_of(c, j)->cancelled++;
	remove_lease(c, j, lease);
}

static void
on_blame(struct check *c, const struct sched_action *a)
{
	struct check_worker *w = &c->worker[a->worker.v];

	if (a->kind == SCHED_USED_AGAIN) {
		w->aside = false;
		w->in_a_row = 0;
		return;
	}
	if (w->in_a_row < SCHED_BLAME_MAX)
		check_breach(c, "worker %d is set aside after %u failures",
		    (int)a->worker.v, w->in_a_row);
	w->aside = true;
}

void
check_action(struct check *c, const struct sched_action *a)
{
	static const char *const names[] = {"send", "cancel", "drop", "failed",
	    "set aside", "used again", "audit skipped"};
	struct check_job *j = &c->job[a->job.v];

	check_trace(c, "-> %s: job %d attempt %d worker %d", names[a->kind],
	    (int)a->job.v, (int)a->attempt, (int)a->worker.v);
	switch (a->kind) {
	case SCHED_SEND:
		on_send(c, a);
		break;
	case SCHED_CANCEL:
		on_cancel(c, a);
		break;
	case SCHED_DROP:
		if (c->now - c->worker[a->worker.v].heard <
		    c->config->silent_ms)
			check_breach(c, "worker %d is dropped, but was heard",
			    (int)a->worker.v);
		check_gone(c, a->worker.v);
		break;
	case SCHED_FAILED:
		if (j->state != OPEN)
			check_breach(
			    c, "job %d was over, and fails", (int)a->job.v);
		if (!j->job_error && !poisonous(c, j))
			check_breach(c, "job %d fails after %u failures",
			    (int)a->job.v, j->n_failed);
		j->state = FAILED;
		break;
	case SCHED_SET_ASIDE:
	case SCHED_USED_AGAIN:
		on_blame(c, a);
		break;
	case SCHED_AUDIT_SKIPPED:
		on_skipped(c, a);
		break;
	}
	c->before = *a;
}

static void
rest_of_worker(struct check *c, size_t id)
{
	const struct check_worker *w = &c->worker[id];

	if (w->up && c->now - w->heard >= c->config->silent_ms)
		check_breach(c, "worker %zu is silent, and kept", id);
}

static void
rest_of_job(struct check *c, size_t job)
{
	struct check_job *j = &c->job[job];
	bool stuck = false;

	for (size_t k = 0; k < j->n_leases; k++)
		if (c->now - j->lease[k].renewed >= c->config->lease_ms)
			check_breach(c, "job %zu: lease of %d never ends", job,
			    (int)j->lease[k].id);
	if (!is_open(j) && j->n_leases > 0)
		check_breach(c, "job %zu is over, and leased", job);
	if (j->state == OPEN && j->n_leases == 0 &&
	    (j->job_error || j->sure >= 2 * c->config->poison))
		check_breach(c, "job %zu has not failed", job);
	for (size_t id = 0; id < c->n_ids; id++)
		stuck |= is_open(j) && j->n_leases == 0 &&
		    c->worker[id].n_leases < c->worker[id].slots &&
		    may_take(c, j, id);
	if (!stuck)
		j->stuck_since = -1;
	else if (j->stuck_since < 0)
		j->stuck_since = c->now;
	if (stuck && (!j->local || c->now - j->stuck_since > SCHED_HOLD_MS))
		check_breach(c, "job %zu waits, but a worker is idle", job);
}

void
check_rest(struct check *c, size_t open)
{
	size_t ours = 0, aside = 0;

	for (size_t id = 0; id < c->n_ids; id++) {
		rest_of_worker(c, id);
		aside += c->worker[id].up && c->worker[id].aside &&
		    !c->worker[id].draining;
	}
	if (aside > 0 && count_usable(c) == 0)
		check_breach(c, "all workers are set aside");
	for (size_t i = 0; i < c->n_jobs; i++) {
		rest_of_job(c, i);
		ours += is_open(&c->job[i]);
	}
	if (ours != open)
		check_breach(c, "%zu jobs are open, not %zu", ours, open);
}

/* Those of jobs that measure, or of all others. */
static void
check_kind(const struct check *c, bool measures, const struct sched_counts *n)
{
	const struct check_ends *ends = &c->ends[measures];
	const uint64_t *ended = n->ended;
	uint64_t state[LEFT + 1] = {0}, jobs = 0, begun = 0, on = 0;
	uint64_t waiting = 0;

	for (size_t i = 0; i < c->n_jobs; i++) {
		const struct check_job *j = &c->job[i];

		if (j->measures != measures)
			continue;
		jobs++;
		state[j->state]++;
		begun += j->attempt;
		on += j->n_leases;
		waiting += is_open(j) && j->n_leases == 0;
	}
	if (n->added != jobs || n->done != state[DONE] ||
	    n->failed != state[FAILED] || n->left != state[LEFT] ||
	    n->queued != waiting ||
	    n->running != jobs - waiting - n->done - n->failed - n->left)
		check_breach(c, "jobs are counted wrong");
	if (n->started != begun || ended[SCHED_END_RESULT] != ends->results ||
	    ended[SCHED_END_FAILED] != ends->failed ||
	    ended[SCHED_END_POSTPONED] != ends->postponed ||
	    ended[SCHED_END_LOST] != ends->lost ||
	    ended[SCHED_END_EXPIRED] + ended[SCHED_END_MOVED] +
		    ended[SCHED_END_CANCELLED] !=
		ends->cancelled)
		check_breach(c, "attempts are counted wrong");
	begun = on;
	for (size_t i = 0; i < SCHED_ENDS; i++) {
		begun += ended[i];
		if (n->retried[i] > ended[i])
			check_breach(c, "more was tried again than ended");
	}
	if (n->started != begun)
		check_breach(c, "an attempt has no end, or two");
	if (n->copies != ends->copies || n->agreed != ends->agreed ||
	    n->duplicates != ends->duplicates || n->differs != ends->differs ||
	    n->skipped != ends->skipped)
		check_breach(c, "results are counted wrong");
}

void
check_counts(const struct check *c, const struct sched_counts *jobs,
    const struct sched_counts *measures)
{
	check_kind(c, false, jobs);
	check_kind(c, true, measures);
}

void
check_end(const struct check *c)
{
	for (size_t i = 0; i < c->n_jobs; i++) {
		const struct check_job *j = &c->job[i];

		if (is_open(j) || j->accepted > 1 ||
		    (j->state == DONE) !=
			(j->accepted == 1 && j->state != LEFT && !j->differs))
			check_breach(c, "job %zu has no right end", i);
	}
}
