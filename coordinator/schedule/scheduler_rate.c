#include "schedule/scheduler_state.h"

/* What is older than that many ms of work fades. */
#define FADING_MS 60000.0
#define TOOK_MAX 1000000 /* jobs */

/* By time, not by jobs: many small ones do not outweigh a large one. */
void
rate_add(struct rate *r, uint64_t bytes, int64_t ms)
{
	double took = (double)(ms > 0 ? ms : 1);
	double fading = FADING_MS / (FADING_MS + took);

	r->bytes = fading * r->bytes + (double)bytes;
	r->ms = fading * r->ms + took;
}

double
rate_of(const struct scheduler *s, const struct worker *w)
{
	const struct rate *r = w->rate.bytes > 0 ? &w->rate : &s->rate;

	return r->ms > 0 ? r->bytes / r->ms : 0;
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

/* Four buckets an octave: exact up to 7 ms, then within a quarter. */
static unsigned
bucket(uint64_t ms)
{
	unsigned octave;

	if (ms < 4)
		return (unsigned)ms;
	octave = 63u - (unsigned)__builtin_clzll(ms);
	return 4 * (octave - 1) + (unsigned)(ms >> (octave - 2) & 3);
}

void
took_add(struct scheduler *s, int64_t ms)
{
	s->took[bucket(ms > 0 ? (uint64_t)ms : 0)]++;
	if (++s->n_took < TOOK_MAX)
		return;
	/* Old ones fade here, too. */
	s->n_took = 0;
	for (unsigned b = 0; b < BUCKETS; b++)
		s->n_took += s->took[b] /= 2;
}

/* The lower end of the middle one's bucket; 0 where there is none. */
int64_t
took_median(const struct scheduler *s)
{
	size_t below = 0;
	unsigned b = 0;

	if (s->n_took == 0)
		return 0;
	while ((below += s->took[b]) <= s->n_took / 2 && b < BUCKETS - 1)
		b++;
	if (b < 4)
		return b;
	return (int64_t)(4 + (b & 3)) << (b / 4 - 1);
}

int64_t
time_needed(const struct scheduler *s, const struct worker *w, uint64_t weight)
{
	double rate = rate_of(s, w);

	return rate > 0 ? whole_ms((double)weight / rate) : 0;
}

/*
 * By the bytes so far.  While there are none, it is assumed to be half-way at
 * most: what has shown nothing for long will not be done soon.
 */
int64_t
time_left(const struct scheduler *s, int64_t now, const struct worker *w,
    const struct lease *lease)
{
	const double weight = (double)job_at(s, lease->job)->weight;
	const double bytes = (double)lease->bytes;
	int64_t passed = now - lease->started, left;

	if (lease->bytes > 0)
		return bytes < weight
		    ? whole_ms((double)passed * (weight - bytes) / bytes)
		    : 0;
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
