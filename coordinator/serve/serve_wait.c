#include "serve/serve_state.h"

#include <string.h>

#include "dispatch/dispatch.h"
#include "log.h"

/* Without any worker for so long, clients are told: as a rule they come. */
#define NOBODY_MS 10000
/*
 * A job that was handed back so often, in so long, goes back to who wants it.
 */
#define POSTPONED_MAX 3
#define POSTPONED_MS 60000

static const char nobody[] = "no worker is here";

void
serve_postpone(struct serve *s, struct serve_client *c,
    const struct data_id *id, const char *text)
{
	const struct msg m = {.type = MSG_POSTPONE,
	    .postpone = {.job = id->job, .attempt = id->attempt, .text = text}};

	serve_client_say(s, c, &m);
}

/* It leaves: who wants it may ask again, and knows why. */
static void
put_off(struct serve *s, struct serve_job *job, const char *text)
{
	struct serve_want *w;

	TAILQ_FOREACH(w, &job->wants, of_job)
	serve_postpone(s, w->flow->client, &w->id, text);
	serve_job_end_unwanted(s, job);
}

void
serve_job_postponed(
    void *serve, const struct dispatch_job *job, const char *text)
{
	/* The job is the order's first. */
	struct serve_order *o = (struct serve_order *)job;
	struct serve *s = serve;
	char why[MSG_NAME_MAX + 64];

	if (o->postponed++ == 0)
		o->postponed_at = serve_now(s);
	if (o->postponed < POSTPONED_MAX ||
	    serve_now(s) - o->postponed_at < POSTPONED_MS)
		return;
	snprintf(why, sizeof(why), "no worker has room for it: %.250s", text);
	log_line(LOG_WARNING, "%s: %s", o->label, why);
	put_off(s, o->owner, why);
}

const char *
serve_waits(const struct serve *s)
{
	return s->nobody_since != 0 &&
		serve_now(s) - s->nobody_since >= NOBODY_MS
	    ? nobody
	    : NULL;
}

void
serve_wait_tick(struct serve *s)
{
	struct serve_job *job, *next;

	if (dispatch_room(s->dispatch) > 0)
		s->nobody_since = 0;
	else if (s->nobody_since == 0)
		s->nobody_since = serve_now(s);
	if (serve_waits(s) == NULL)
		return;
	for (job = serve_queue_any(s->queue); job != NULL; job = next) {
		next = TAILQ_NEXT(job, of_all);
		/* What is held is being checked, for which nobody is needed. */
		if (job->state != SERVE_HELD)
			put_off(s, job, nobody);
	}
}
