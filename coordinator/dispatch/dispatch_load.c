#include "dispatch/dispatch_state.h"

#include "dispatch/dispatch.h"
#include "err.h"

static bool
is_loaded(const struct dispatch *d, const struct dispatch_job *job)
{
	return d->hooks.load != NULL && job->spec->source == LAYER_FROM_ENTRIES;
}

int
dispatch_load(
    struct dispatch *d, struct task *t, struct dispatch_job *job, struct err *e)
{
	struct err why = ERR_INIT;

	if (!is_loaded(d, job) ||
	    d->hooks.load(d->hooks.arg, t->job, job, &why) == 0)
		return 1;
	return task_failed(d, t, &why, e);
}

void
dispatch_unload(struct dispatch *d, struct dispatch_job *job)
{
	if (is_loaded(d, job))
		d->hooks.unload(d->hooks.arg, job);
}
