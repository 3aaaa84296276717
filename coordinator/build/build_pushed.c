#include "build/build_state.h"

#include <errno.h>
#include <stdlib.h>

#include "client/client.h"
#include "dispatch/dispatch.h"
#include "err.h"
#include "log.h"
#include "options/options.h"
#include "output/push.h"
#include "own.h"
#include "progress/progress.h"

size_t
build_pushes(struct build *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n_outputs; i++) {
		struct push *push = output_push(b->output[i]);

		if (push != NULL && !b->options->push_from_here)
			b->pushes[n++] = push;
	}
	return n;
}

bool
build_pushed_only(const struct build *b, size_t n_pushes)
{
	/* An audit compares what is here. */
	return n_pushes > 0 && n_pushes == b->n_outputs && b->cache == NULL &&
	    b->options->cache_repo == NULL && b->options->audit == 0;
}

/* Which jobs' layers only registries have, and one of them has not. */
static int
find_lost(const struct build *b, bool *lost, size_t *n_lost, struct err *e)
{
	AUTO(own_freep) struct push_blob *blob = NULL;
	AUTO(own_freep) bool *gone = NULL;

	blob = calloc(b->n_jobs + 1, sizeof(*blob));
	gone = calloc(b->n_jobs + 1, sizeof(*gone));
	if (blob == NULL || gone == NULL)
		return err_set(e, ERR_FATAL, errno, "layers");
	*n_lost = 0;
	for (size_t p = 0; b->pushes[p] != NULL; p++) {
		size_t n = 0;

		for (size_t i = 0; i < b->n_jobs; i++)
			if (b->made[i].only_pushed)
				blob[n++] = (struct push_blob){
				    .digest = b->made[i].result.digest,
				    .size = b->made[i].result.size,
				};
		if (push_lost(b->pushes[p], blob, n, gone, e) < 0)
			return -1;
		for (size_t i = b->n_jobs; i-- > 0;) {
			if (!b->made[i].only_pushed || !gone[--n] || lost[i])
				continue;
			lost[i] = true;
			++*n_lost;
		}
	}
	return 0;
}

/* Made once more, and pulled this time. */
static int
make_again(struct build *b, struct client *client, const bool *lost, size_t n,
    struct err *e)
{
	AUTO(own_freep) struct dispatch_job *job = calloc(n, sizeof(*job));
	size_t k = 0;

	if (job == NULL)
		return err_set(e, ERR_FATAL, errno, "jobs");
	for (size_t i = 0; i < b->n_jobs; i++)
		if (lost[i])
			job[k++] = b->job[i];
	if (client != NULL) {
		client_pull_all(client);
		return client_run(client, job, n, e);
	}
	dispatch_pull_all(b->workers.dispatch);
	return dispatch_run(b->workers.dispatch, job, n, e);
}

int
build_pushed_check(struct build *b, struct client *client, struct err *e)
{
	AUTO(own_freep) bool *lost = calloc(b->n_jobs + 1, sizeof(*lost));
	bool any = false;
	size_t n = 0;

	if (lost == NULL)
		return err_set(e, ERR_FATAL, errno, "layers");
	for (size_t i = 0; i < b->n_jobs; i++)
		any |= b->made[i].only_pushed;
	if (!any || find_lost(b, lost, &n, e) < 0)
		return any ? -1 : 0;
	if (n == 0)
		return 0;
	log_line(LOG_WARNING,
	    "%s has lost %zu layers that it had: they are made again",
	    push_base(b->pushes[0]), n);
	return make_again(b, client, lost, n, e);
}
