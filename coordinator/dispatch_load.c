#include "dispatch_state.h"

#include "dispatch.h"
#include "err.h"

void
dispatch_cancel(struct dispatch *d, struct job_id id)
{
	sched_cancel(d->sched, dispatch_now(d), id);
}

static bool
is_loaded(const struct dispatch *d, const struct dispatch_job *job)
{
	return d->load != NULL && job->spec->source == LAYER_FROM_ENTRIES;
}

int
dispatch_give_up(
    struct dispatch *d, struct job_id id, const struct err *why, struct err *e)
{
	if (d->failed == NULL) {
		*e = *why;
		return -1;
	}
	return d->failed(d->failed_arg, &d->job[id.v], why, e);
}

int
dispatch_load(struct dispatch *d, struct job_id id, struct dispatch_job *job,
    struct err *e)
{
	struct err why = ERR_INIT;

	if (!is_loaded(d, job) ||
	    d->load(d->load_arg, &d->job[id.v], job, &why) == 0)
		return 1;
	sched_cancel(d->sched, dispatch_now(d), id);
	return dispatch_give_up(d, id, &why, e);
}

void
dispatch_unload(struct dispatch *d, struct dispatch_job *job)
{
	if (is_loaded(d, job))
		d->unload(d->load_arg, job);
}
