#include "dispatch_state.h"

#include "dispatch.h"
#include "err.h"

void
dispatch_cancel(struct dispatch *d, const struct dispatch_job *job)
{
	sched_cancel(d->sched, dispatch_now(d),
	    (struct job_id){(uint64_t)(job - d->job)});
}

bool
dispatch_load(struct dispatch *d, struct job_id id, struct dispatch_job *job)
{
	struct err e = ERR_INIT;

	if (d->load == NULL || job->spec->source != LAYER_FROM_ENTRIES ||
	    d->load(d->done_arg, &d->job[id.v], job, &e) == 0)
		return true;
	sched_cancel(d->sched, dispatch_now(d), id);
	d->failed(d->done_arg, &d->job[id.v], &e);
	return false;
}

void
dispatch_unload(struct dispatch *d, struct dispatch_job *job)
{
	if (d->load != NULL && job->spec->source == LAYER_FROM_ENTRIES)
		d->unload(d->done_arg, job);
}
