#include "schedule/scheduler.h"
#include "schedule/scheduler_state.h"

static bool
next_pending(struct scheduler *s, struct sched_action *out)
{
	struct pending *p = &s->pending;

	while (p->next < p->n) {
		struct worker *w;

		*out = p->action[p->next++];
		if (out->kind != SCHED_SET_ASIDE)
			return true;
		/* What it is by now. */
		if ((w = worker_find(s, out->worker)) == NULL)
			continue;
		w->news = false;
		if (!w->aside)
			out->kind = SCHED_USED_AGAIN;
		return true;
	}
	return false;
}

static bool
expire_worker(struct scheduler *s, int64_t now, struct worker *w,
    struct sched_action *out)
{
	*out = (struct sched_action){.kind = SCHED_DROP, .worker = w->id};
	worker_end(s, now, w, "no sign of life");
	return true;
}

static bool
expire_lease(struct scheduler *s, int64_t now, struct worker *w,
    struct lease *lease, struct sched_action *out)
{
	const char *why = now >= lease->until ? "no progress" : "too slow";
	uint64_t id = lease->job;

	*out = (struct sched_action){
	    .kind = SCHED_CANCEL,
	    .job = {id},
	    .attempt = lease->attempt,
	    .worker = w->id,
	};
	lease_end(s, now, w, lease, SCHED_END_EXPIRED);
	worker_failed(s, w);
	job_failed(s, now, id, w, ERR_RETRY, why);
	return true;
}

/* Silent workers and leases whose time is over. */
static bool
next_expired(struct scheduler *s, int64_t now, struct sched_action *out)
{
	int64_t first = INT64_MAX;
	struct worker *w;

	if (now < s->check_at)
		return false;
	TAILQ_FOREACH(w, &s->all, all)
	{
		if (now >= w->silent_at)
			return expire_worker(s, now, w, out);
		if (w->silent_at < first)
			first = w->silent_at;
		for (size_t i = 0; i < w->n_leases; i++) {
			struct lease *lease = &w->lease[i];
			int64_t end = lease->until < lease->deadline
			    ? lease->until
			    : lease->deadline;

			if (now >= end)
				return expire_lease(s, now, w, lease, out);
			if (end < first)
				first = end;
		}
	}
	s->check_at = first;
	return false;
}

/* It fails without having been tried, which nobody is to be blamed for. */
static bool
next_hopeless(struct scheduler *s, int64_t now, struct sched_action *out)
{
	uint64_t id = s->hopeless;

	if (id == JOB_QUEUE_NONE)
		return false;
	s->hopeless = JOB_QUEUE_NONE;
	*out = (struct sched_action){.kind = SCHED_FAILED, .job = {id}};
	job_close(s, now, id, JOB_FAILED);
	return true;
}

static bool
next_send(struct scheduler *s, int64_t now, struct sched_action *out)
{
	const struct job *j;
	struct worker *w;
	uint64_t id;

	w = choose(s, now, &id);
	if (next_hopeless(s, now, out))
		return true;
	/* One that was set aside is used again: that is told first. */
	if (next_pending(s, out)) {
		s->changed = true;
		return true;
	}
	if (w == NULL)
		return false;
	job_dequeue(s, id);
	lease_begin(s, now, w, id);
	j = job_at(s, id);
	*out = (struct sched_action){
	    .kind = SCHED_SEND,
	    .job = {id},
	    .attempt = j->attempt,
	    .worker = w->id,
	    .why = j->accepted	  ? SCHED_AUDIT
		: j->attempt == 1 ? SCHED_FIRST
				  : SCHED_AGAIN,
	    .before = j->ended,
	};
	return true;
}

static bool
can_audit(const struct scheduler *s, const struct job *j)
{
	struct worker *w;

	TAILQ_FOREACH(w, &s->all, all)
	if (worker_usable(w) && w->id.v != j->by.v && !worker_unable(w, j))
		return true;
	return false;
}

/* A second worker may be on its way. */
static bool
second_awaited(struct scheduler *s, int64_t now)
{
	int64_t until = s->met_at + SCHED_ABLE_MS;

	if (!s->config.awaits_second || s->usable > 1 || now >= until)
		return false;
	if (until < s->place_at)
		s->place_at = until;
	return true;
}

/* Only audits are left (or each has its turn), and one that nobody can do. */
static bool
next_skipped(struct scheduler *s, int64_t now, struct sched_action *out)
{
	uint64_t id = job_queue_first(&s->audits);

	bool left = s->config.in_turn || s->open == s->audits.n;

	if (id == JOB_QUEUE_NONE || !left || (s->usable > 1 && !s->unable) ||
	    second_awaited(s, now))
		return false;
	while (can_audit(s, job_at(s, id)))
		if ((id = job_queue_after(&s->audits,
			 job_at(s, id)->node.weight, id)) == JOB_QUEUE_NONE)
			return false;
	*out = (struct sched_action){
	    .kind = SCHED_AUDIT_SKIPPED,
	    .job = {id},
	    .worker = job_at(s, id)->by,
	};
	counts_of(s, job_at(s, id))->skipped++;
	job_close(s, now, id, JOB_DONE);
	return true;
}

bool
sched_next(struct scheduler *s, int64_t now, struct sched_action *out)
{
	return next_pending(s, out) || next_expired(s, now, out) ||
	    critical_move(s, now, out) || next_send(s, now, out) ||
	    late_move(s, now, out) || next_skipped(s, now, out);
}

int64_t
sched_deadline(const struct scheduler *s)
{
	int64_t at = s->check_at;

	if (s->place_at < at)
		at = s->place_at;
	return s->late_at < at ? s->late_at : at;
}
