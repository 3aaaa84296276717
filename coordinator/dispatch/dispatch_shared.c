#include "dispatch/dispatch_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/dispatch.h"
#include "err.h"
#include "log.h"
#include "monotime.h"
#include "own.h"
#include "protocol.h"
#include "process/scratch.h"
#include "dispatch/shared_probe.h"

/* How long a folder may take to show what a worker wrote there. */
#define PROBE_MS 5000
/* How long work waits at its start for what the first probes find. */
#define HOLD_MS 1000

/*
 * A worker's folders are probed one after the other: it answers one at a time.
 */
enum shared_state {
	SHARED_NO,
	SHARED_YES,
	SHARED_PROBING /* folder p->probing is next, or p->probe is on */
};

void
dispatch_shared_forget(struct dispatch *d)
{
	for (size_t i = 0; i < d->n_peers; i++)
		dispatch_shared_gone(d, &d->peer[i]);
	for (size_t i = 0; i < d->n_folders; i++)
		free(d->folder_of[i]);
	for (size_t i = 0; i < d->n_folders; i++) {
		if (d->probe_in[i] != NULL)
			scratch_remove(d->scratch, d->probe_in[i]);
		free(d->probe_in[i]);
		d->probe_in[i] = NULL;
	}
	d->n_folders = 0;
	d->unprobed = false;
}

/*
 * In a folder of its own in there, which is removed as a whole: an answer that
 * comes late, or twice, is not left in the output.
 */
static void
make_place(struct dispatch *d, size_t i)
{
	struct err e = ERR_INIT;

	if (scratch_folder(d->scratch, d->folder_of[i], &d->probe_in[i], &e) <
	    0) {
		log_line(LOG_DEBUG, "%s: %s", d->folder_of[i], e.text);
		d->probe_in[i] = NULL;
		d->unprobed = true;
	}
}

static int
add_folder(struct dispatch *d, const struct layer_output *o, struct err *e)
{
	const char *slash = strrchr(o->path, '/');
	size_t len = o->kind == LAYER_TO_FILE && slash != NULL
	    ? (size_t)(slash - o->path)
	    : strlen(o->path);

	for (size_t i = 0; i < d->n_folders; i++)
		if (strlen(d->folder_of[i]) == len &&
		    memcmp(d->folder_of[i], o->path, len) == 0)
			return 0;
	if (o->path[0] != '/' || d->n_folders == LAYER_OUTPUTS_MAX) {
		d->unprobed = true;
		return 0;
	}
	d->folder_of[d->n_folders] = strndup(o->path, len);
	if (d->folder_of[d->n_folders] == NULL)
		return err_set(e, ERR_FATAL, errno, "folders");
	d->probe_in[d->n_folders] = NULL;
	make_place(d, d->n_folders++);
	return 0;
}

int
dispatch_shared_start(
    struct dispatch *d, const struct layer_output *to, struct err *e)
{
	dispatch_shared_forget(d);
	if (d->remote == NULL)
		return 0;
	if (to != NULL && add_folder(d, to, e) < 0)
		return -1;
	for (size_t i = 0; i < d->n_tasks; i++) {
		const struct layer_spec *spec = d->task[i].job->spec;

		for (size_t o = 0; o < spec->n_outputs; o++)
			if (add_folder(d, &spec->outputs[o], e) < 0)
				return -1;
	}
	for (size_t i = 0; i < d->n_peers; i++)
		dispatch_shared_joined(d, &d->peer[i]);
	d->hold_until = 0;
	return 0;
}

bool
dispatch_shared_hold(struct dispatch *d)
{
	bool probing = d->n_probing > 0;

	if (d->hold_until == 0 && d->n_peers > 0)
		d->hold_until = monotime_ms() + HOLD_MS;
	/* Once it is over, whoever joins later is not waited for. */
	if (!probing && d->n_peers > 0)
		d->hold_until = 1;
	return probing && monotime_ms() < d->hold_until;
}

/* Whatever it was; a probe that was on is over. */
static void
become(struct dispatch *d, struct peer *p, enum shared_state state)
{
	shared_probe_free(p->probe);
	p->probe = NULL;
	d->n_probing -= p->shared == SHARED_PROBING;
	d->n_probing += state == SHARED_PROBING;
	p->shared = state;
	if (state == SHARED_PROBING)
		d->probe_at = 0;
	dispatch_push_worker(d, p);
}

void
dispatch_shared_joined(struct dispatch *d, struct peer *p)
{
	bool may = p->via == d->remote && d->n_folders > 0 && !d->unprobed;

	p->probing = 0;
	become(d, p, may ? SHARED_PROBING : SHARED_NO);
}

void
dispatch_shared_gone(struct dispatch *d, struct peer *p)
{
	become(d, p, SHARED_NO);
}

bool
dispatch_shared_is(const struct peer *p)
{
	return p->shared == SHARED_YES;
}

void
dispatch_shared_answered(
    struct dispatch *d, struct peer *p, const struct msg_probed *m)
{
	if (p->probe == NULL)
		return;
	shared_probe_answered(p->probe, m);
	d->probe_at = 0;
}

static void
not_shared(struct dispatch *d, struct peer *p, const char *why)
{
	log_line(LOG_DEBUG, "worker=%s: %s is not shared: %s", p->name,
	    d->folder_of[p->probing], why);
	dispatch_shared_gone(d, p);
}

static void
begin(struct dispatch *d, struct peer *p)
{
	struct err e = ERR_INIT;
	struct msg m;

	if (shared_probe_new(d->probe_in[p->probing], ++d->next_probe,
		monotime_ms() + PROBE_MS, &p->probe, &e) < 0) {
		not_shared(d, p, e.text);
		return;
	}
	shared_probe_message(p->probe, &m);
	if (link_send(p->via, &p->link, &m, &e) < 0)
		not_shared(d, p, e.text);
}

static void
look(struct dispatch *d, struct peer *p)
{
	switch (shared_probe_look(p->probe, monotime_ms())) {
	case SHARED_PROBE_WAITING:
		return;
	case SHARED_PROBE_NO:
		not_shared(d, p, shared_probe_why(p->probe));
		return;
	case SHARED_PROBE_YES:
		break;
	}
	p->probing++;
	become(d, p, p->probing == d->n_folders ? SHARED_YES : SHARED_PROBING);
	if (p->shared == SHARED_YES)
		log_line(LOG_INFO,
		    "worker %s shares the output's folder: it writes there",
		    p->name);
}

int64_t
dispatch_shared_tick(struct dispatch *d)
{
	int64_t next = INT64_MAX;

	if (d->n_probing == 0)
		return INT64_MAX;
	if (monotime_ms() < d->probe_at)
		return d->probe_at;
	for (size_t i = 0; i < d->n_peers; i++) {
		struct peer *p = &d->peer[i];

		if (p->shared != SHARED_PROBING)
			continue;
		if (p->probe != NULL)
			look(d, p);
		if (p->shared == SHARED_PROBING && p->probe == NULL)
			begin(d, p);
		if (p->probe != NULL && shared_probe_next(p->probe) < next)
			next = shared_probe_next(p->probe);
	}
	d->probe_at = next;
	return next;
}
