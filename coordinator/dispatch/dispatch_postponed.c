#include "dispatch/dispatch_state.h"

#include "dispatch/dispatch.h"
#include "log.h"
#include "protocol.h"

/* Each worker's last reason is said so seldom, and how long a job waits. */
#define SAY_MS 60000
/* A job that was handed back so often, and for so long, is told of. */
#define WAITS_TIMES 3
#define WAITS_MS 20000
#define TEXT 300

/* NULL: it is not known, and others have waited longer. */
static struct postponed *
entry_of(struct dispatch *d, const struct task *t, int64_t now)
{
	struct postponed *free = NULL;

	for (size_t i = 0; i < DISPATCH_POSTPONED; i++) {
		struct postponed *w = &d->postponed[i];
		const struct task *other = NULL;

		if (w->times > 0)
			other = task_find(d, w->job);
		if (other == t)
			return w;
		/* What it waited for is done, or it is nobody's. */
		if (other == NULL || other->done)
			free = w;
	}
	if (free != NULL)
		*free = (struct postponed){.job = t->id, .since = now};
	return free;
}

/* Why, at last: for whoever wonders that it does not go on. */
static void
tell_wait(struct dispatch *d, const struct peer *p, const struct task *t,
    const char *why)
{
	int64_t now = dispatch_now(d);
	struct postponed *w = entry_of(d, t, now);

	if (w == NULL)
		return;
	w->times++;
	if (w->times < WAITS_TIMES || now - w->since < WAITS_MS ||
	    (w->told != 0 && now - w->told < SAY_MS))
		return;
	w->told = now;
	log_line(LOG_WARNING,
	    "%s has waited for room for %lld s: workers have handed it back "
	    "%u times, the last was %s: %.*s",
	    t->job->label, (long long)(now - w->since) / 1000, w->times,
	    p->name, TEXT, why);
}

void
dispatch_postponed(
    struct dispatch *d, struct peer *p, const struct task *t, const char *why)
{
	int64_t now = dispatch_now(d);
	/* One that leaves has said so. */
	bool seldom =
	    p->room == 0 || (p->postponed != 0 && now - p->postponed < SAY_MS);

	if (!seldom)
		p->postponed = now;
	log_line(seldom ? LOG_DEBUG : LOG_INFO,
	    "worker %s has no room for %s: %.*s", p->name, t->job->label, TEXT,
	    why);
	if (p->room > 0)
		tell_wait(d, p, t, why);
}
