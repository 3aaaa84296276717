#include "schedule/scheduler_state.h"

/* What is older than that many ms of work fades. */
#define FADING_MS 60000.0
/* Less work says nothing yet. */
#define KNOWN_MS 10.0
/* What was said counts as so much work, less what was done. */
#define SAID_MS 200.0
/* Who said far too little does not make all others out to have. */
#define SAID_OFF 16.0

/* By time, not by jobs: many small ones do not outweigh a large one. */
void
rate_add(struct rate *r, uint64_t bytes, int64_t ms)
{
	double took = (double)(ms > 0 ? ms : 1);
	double fading = FADING_MS / (FADING_MS + took);

	r->bytes = fading * r->bytes + (double)bytes;
	r->ms = fading * r->ms + took;
}

bool
rate_worked(const struct worker *w)
{
	return w->rate.ms + w->live.ms >= KNOWN_MS &&
	    w->rate.bytes + w->live.bytes > 0;
}

bool
rate_known(const struct worker *w)
{
	return w->said > 0 || rate_worked(w);
}

void
rate_scale(struct scheduler *s)
{
	double sum = 0, off;
	struct worker *w;
	size_t n = 0;

	if (s->said_scale <= 0)
		return;
	TAILQ_FOREACH(w, &s->all, all)
	{
		if (w->said <= 0 || !rate_worked(w))
			continue;
		off = (w->rate.bytes + w->live.bytes) /
		    ((w->rate.ms + w->live.ms) * w->said);
		sum += off < SAID_OFF ? off : SAID_OFF;
		n++;
	}
	s->said_scale = n > 0 ? sum / (double)n : 1;
}

double
rate_of(const struct scheduler *s, const struct worker *w)
{
	double bytes = w->rate.bytes + w->live.bytes;
	double ms = w->rate.ms + w->live.ms;

	if (w->said > 0 && ms < SAID_MS)
		return (bytes +
			   (SAID_MS - ms) * w->said *
			       (s->said_scale > 0 ? s->said_scale : 1)) /
		    SAID_MS;
	if (rate_worked(w))
		return bytes / ms;
	if (s->rate.ms > 0)
		return s->rate.bytes / s->rate.ms;
	return w->rate.ms > 0 ? w->rate.bytes / w->rate.ms : 0;
}

int64_t
whole_ms(double ms)
{
	const double most = (double)(INT64_MAX >> 16);

	return (int64_t)(ms < most ? ms : most);
}

int64_t
attempt_ms(
    const struct scheduler *s, const struct worker *w, const struct job *j)
{
	double rate = rate_of(s, w), ms;

	if (rate < SCHED_RATE_MIN)
		rate = SCHED_RATE_MIN;
	if (rate > SCHED_RATE_MAX)
		rate = SCHED_RATE_MAX;
	ms = SCHED_ATTEMPT_FACTOR * (double)j->weight / rate;
	if (ms < SCHED_ATTEMPT_MS)
		ms = SCHED_ATTEMPT_MS;
	return whole_ms(ms * (j->failures > 1 ? 4 : 1 + j->failures));
}

int64_t
time_needed(const struct scheduler *s, const struct worker *w, uint64_t weight)
{
	double rate = rate_of(s, w);

	return rate > 0 ? whole_ms((double)weight / rate) : 0;
}

/*
 * By the bytes so far; overdue, it takes as long again.  While there are none,
 * it is assumed to be half-way at most: what has shown nothing for long will
 * not be done soon.
 */
int64_t
time_left(const struct scheduler *s, int64_t now, const struct worker *w,
    const struct lease *lease)
{
	const double weight = (double)job_at(s, lease->job)->weight;
	const double bytes = (double)lease->bytes;
	int64_t passed = now - lease->started, left;

	if (lease->bytes > 0) {
		double ms = (double)(lease->told - lease->started);

		left = bytes < weight ? whole_ms(ms * (weight - bytes) / bytes)
				      : 0;
		passed = now - lease->told;
		return left > passed ? left - passed : passed - left;
	}
	left = time_needed(s, w, job_at(s, lease->job)->weight) - passed;
	return left > passed ? left : passed;
}

int64_t
time_to_slot(const struct scheduler *s, int64_t now, const struct worker *w)
{
	int64_t first = INT64_MAX;

	if (w->n_leases < w->slots)
		return 0;
	for (size_t i = 0; i < w->n_leases; i++)
		if (w->lease[i].started != NOT_STARTED) {
			int64_t left = time_left(s, now, w, &w->lease[i]);

			if (left < first)
				first = left;
		}
	return first;
}

int64_t
time_to_room(const struct scheduler *s, int64_t now, const struct worker *w)
{
	int64_t waiting = 0;

	for (size_t i = 0; i < w->n_leases; i++)
		if (w->lease[i].started == NOT_STARTED)
			waiting += time_needed(
			    s, w, job_at(s, w->lease[i].job)->weight);
	return time_to_slot(s, now, w) +
	    whole_ms((double)waiting / (double)w->slots);
}
