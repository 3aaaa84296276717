#include "schedule/scheduler_counts.h"

#include <assert.h>

#include "schedule/scheduler.h"
#include "schedule/scheduler_state.h"

const char *
sched_end_name(enum sched_end end)
{
	static const char *const name[SCHED_ENDS] = {
	    [SCHED_END_RESULT] = "result",
	    [SCHED_END_FAILED] = "failed",
	    [SCHED_END_POSTPONED] = "postponed",
	    [SCHED_END_EXPIRED] = "expired",
	    [SCHED_END_LOST] = "lost",
	    [SCHED_END_MOVED] = "moved",
	    [SCHED_END_CANCELLED] = "cancelled",
	};

	return name[end];
}

struct sched_counts *
counts_of(struct scheduler *s, const struct job *j)
{
	return &s->counts[j->measures];
}

void
sched_measures(struct scheduler *s, struct job_id job)
{
	struct job *j = job_find(s, job.v);

	assert(j != NULL && j->state == JOB_QUEUED && j->attempt == 0);
	if (j->measures)
		return;
	s->counts[0].added--;
	s->counts[0].queued--;
	j->measures = true;
	s->counts[1].added++;
	s->counts[1].queued++;
}

void
count_start(struct scheduler *s, const struct job *j)
{
	counts_of(s, j)->started++;
}

void
count_end(
    struct scheduler *s, struct job *j, struct worker *w, enum sched_end how)
{
	counts_of(s, j)->ended[how]++;
	j->ended = (uint8_t)how;
	w->failures += how == SCHED_END_FAILED || how == SCHED_END_EXPIRED;
}

void
count_close(struct scheduler *s, const struct job *j, enum job_state state)
{
	struct sched_counts *c = counts_of(s, j);

	c->done += state == JOB_DONE;
	c->failed += state == JOB_FAILED;
	c->left += state == JOB_LEFT;
}

void
count_result(struct scheduler *s, const struct job *j, struct worker *w,
    enum sched_verdict verdict)
{
	struct sched_counts *c = counts_of(s, j);
	bool counts = verdict == SCHED_ACCEPTED || verdict == SCHED_CONFIRMED;

	c->duplicates += verdict == SCHED_DUPLICATE;
	c->differs += verdict == SCHED_DIFFERS;
	c->agreed += verdict == SCHED_CONFIRMED;
	if (w != NULL && !j->measures)
		w->done += counts;
}

void
sched_count(const struct scheduler *s, struct sched_counts *jobs,
    struct sched_counts *measures)
{
	struct sched_counts *const out[2] = {jobs, measures};

	for (size_t i = 0; i < 2; i++) {
		struct sched_counts *c = out[i];

		*c = s->counts[i];
		c->running =
		    c->added - c->queued - c->done - c->failed - c->left;
	}
}

bool
sched_worker_count(const struct scheduler *s, struct worker_id worker,
    struct sched_worker_counts *out)
{
	const struct worker *w = worker_find(s, worker);

	if (w == NULL)
		return false;
	*out = (struct sched_worker_counts){
	    .slots = w->slots,
	    .draining = w->draining,
	    .aside = w->aside,
	    .done = w->done,
	    .failures = w->failures,
	};
	if (w->rate.ms > 0)
		out->rate =
		    (uint64_t)whole_ms(w->rate.bytes / w->rate.ms * 1000);
	for (size_t i = 0; i < w->n_leases; i++)
		if (w->lease[i].started == NOT_STARTED)
			out->waiting++;
		else
			out->running++;
	return true;
}
