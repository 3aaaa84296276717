#include "serve_state.h"

#include <errno.h>
#include <stdlib.h>

#include "err.h"
#include "status.h"

int
serve_status(const struct serve *s, char **out, struct err *e)
{
	const struct serve_client *c;
	struct status status = {0};
	struct serve_counts n;
	int rc;

	if (dispatch_status(s->dispatch, &status, e) < 0)
		return -1;
	/* What waits for its turn is not dispatch's yet. */
	serve_queue_count(s->queue, &n);
	status.jobs.added += n.queued + n.held;
	status.jobs.queued += n.queued + n.held;
	status.cached = s->cached;
	status.client = calloc(s->n_clients + 1, sizeof(*status.client));
	if (status.client == NULL) {
		status_clear(&status);
		return err_set(e, ERR_FATAL, errno, "status");
	}
	TAILQ_FOREACH(c, &s->clients, entry)
	{
		struct status_client *to = &status.client[status.n_clients++];

		status_name(to->name, sizeof(to->name), c->name);
		status_name(to->image, sizeof(to->image), c->image);
		to->wanted = c->flow->n_wants + c->done;
		to->done = c->done;
	}
	status_sort(&status);
	rc = status_json(&status, MSG_STATE_MAX, out, e);
	status_clear(&status);
	return rc;
}
