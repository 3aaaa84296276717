#include "serve/serve_state.h"

#include <errno.h>
#include <stdlib.h>

#include "err.h"
#include "progress/status.h"

int
serve_status_more(void *serve, struct status *out, struct err *e)
{
	const struct serve *s = serve;
	const struct serve_client *c;
	struct serve_counts n;

	/* What waits for its turn is not dispatch's yet. */
	serve_queue_count(s->queue, &n);
	out->jobs.added += n.queued + n.held + n.dropped;
	out->jobs.queued += n.queued + n.held;
	out->jobs.left += n.dropped;
	out->cached = s->cached;
	out->client = calloc(s->n_clients + 1, sizeof(*out->client));
	if (out->client == NULL)
		return err_set(e, ERR_FATAL, errno, "status");
	TAILQ_FOREACH(c, &s->clients, entry)
	{
		struct status_client *to = &out->client[out->n_clients++];

		status_name(to->name, sizeof(to->name), c->name);
		status_name(to->image, sizeof(to->image), c->image);
		to->wanted = c->flow->n_wants + c->done;
		to->done = c->done;
	}
	return 0;
}

int
serve_status(const struct serve *s, char **out, struct err *e)
{
	struct status status;
	int rc;

	if (dispatch_status(s->dispatch, &status, e) < 0)
		return -1;
	rc = status_json(&status, MSG_STATE_MAX, out, e);
	status_clear(&status);
	return rc;
}
