#include "dispatch/dispatch.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zmq.h>

#include "transfer/blob_fetch.h"
#include "dispatch/dispatch_state.h"
#include "err.h"
#include "dispatch/job_send.h"
#include "link.h"
#include "dispatch/local_workers.h"
#include "log.h"
#include "monotime.h"
#include "own.h"
#include "progress/progress.h"
#include "protocol.h"
#include "schedule/scheduler.h"
#include "process/scratch.h"

#define SILENT_MS 10000
#define SILENCE_LOOK_MS 500 /* how often it is looked for before the start */
#define LEASE_MS 120000
#define POISON 3
/* On one machine a second copy would wait for the same disks. */
#define COPY_PERCENT_REMOTE 10
/* The loop comes round each second at least: more, and it was stopped. */
#define STOOD_MS 3000
/* Between two looks at the sockets: with many workers each takes its time. */
#define ACTIONS_MAX 64
/* So often in a turn: jobs of a thousand workers that take no time never end */
#define LOOKS_MAX 4
#define HELLO_MS 10000
#define GRACE_MS 500
#define OWN_FDS 5 /* that are polled */

int64_t
dispatch_now(const struct dispatch *d)
{
	return monotime_ms() - d->stood;
}

static void
take_encoders(struct dispatch *d, const struct dispatch_config *c)
{
	enum encoding_kind kind = c->encoding.kind;

	for (size_t i = ENCODING_NONE + 1; i < ENCODING_KINDS; i++)
		d->encodes[i] = c->all_encodings || i == (size_t)kind;
	d->kind = kind;
	if (c->encoder != NULL)
		snprintf(d->encoder[kind], sizeof(d->encoder[kind]), "%s",
		    c->encoder);
}

int
dispatch_new(const struct dispatch_config *config, struct scratch *scratch,
    struct dispatch **out, struct err *e)
{
	AUTO(dispatch_freep) struct dispatch *d = NULL;

	if ((d = calloc(1, sizeof(*d))) == NULL)
		return err_set(e, ERR_FATAL, errno, "dispatch");
	d->child_fd = -1;
	d->progress = config->progress;
	d->scratch = scratch;
	TAILQ_INIT(&d->pulls);
	d->hooks = config->hooks;
	take_encoders(d, config);
	d->audit = config->audit;
	d->n_local = config->workers;
	d->no_local = config->slots == 0;
	if (getentropy(&d->session, sizeof(d->session)) < 0 ||
	    getentropy(&d->hash_seed, sizeof(d->hash_seed)) < 0)
		return err_set(e, ERR_FATAL, errno, "random number");
	d->session |= 1; /* never 0, which is none */
	dispatch_status_open(d, config);
	if ((d->child_fd = dispatch_local_signals(
		 config->keys != NULL || config->hooks.hangup != NULL, e)) <
		0 ||
	    dispatch_local_listen(d, e) < 0 ||
	    dispatch_remote_open(d, config, e) < 0 ||
	    dispatch_locality_open(d, config, e) < 0 ||
	    dispatch_push_open(d, config, e) < 0 ||
	    dispatch_relay_new(d, config, e) < 0 ||
	    dispatch_local_start(d, config, e) < 0 ||
	    dispatch_launch_start(d, config, e) < 0)
		return -1;
	*out = STEAL(&d);
	return 0;
}

void
dispatch_free(struct dispatch *d)
{
	const struct msg bye = {.type = MSG_BYE};
	struct err e = ERR_INIT;

	if (d == NULL)
		return;
	d->seen.leaves += d->n_peers;
	for (size_t i = 0; i < d->n_peers; i++) {
		/* One that cannot be told is killed below. */
		if (link_send(d->peer[i].via, &d->peer[i].link, &bye, &e) < 0) {
			log_line(LOG_DEBUG, "worker=%s: %s", d->peer[i].name,
			    e.text);
			err_clear(&e);
		}
	}
	dispatch_shared_forget(d);
	dispatch_audit_forget(d);
	dispatch_push_close(d);
	dispatch_relay_free(d);
	dispatch_locality_free(d);
	dispatch_part(d, GRACE_MS);
	if (d->local != NULL)
		local_workers_end(d->local, GRACE_MS);
	local_workers_free(d->local);
	link_close(d->link, 0);
	dispatch_remote_close(d);
	dispatch_launch_end(d);
	if (d->ctx != NULL)
		zmq_ctx_term(d->ctx);
	if (d->child_fd >= 0)
		close(d->child_fd);
	if (d->folder != NULL)
		scratch_remove(d->scratch, d->folder);
	tasks_clear(d);
	peers_free(d);
	dispatch_status_show(d);
	sched_free(d->sched);
	free(d->folder);
	free(d->endpoint);
	free(d);
}

void
dispatch_freep(struct dispatch **d)
{
	dispatch_free(*d);
	*d = NULL;
}

const char *
dispatch_encoder(const struct dispatch *d, enum encoding_kind kind)
{
	return d->encoder[kind];
}

static void
tell_sent(struct dispatch *d, const struct peer *p, const char *label,
    const struct sched_action *a)
{
	size_t worker = dispatch_worker_index(p->worker);

	log_line(LOG_DEBUG, "worker=%s %s attempt=%llu: sent%s%s", p->name,
	    label, (unsigned long long)a->attempt,
	    a->why == SCHED_AGAIN ? " again, the one before: " : "",
	    a->why == SCHED_AGAIN ? sched_end_name(a->before) : "");
	if (a->why == SCHED_AGAIN)
		progress_again(
		    d->progress, worker, label, a->attempt, a->before);
	else if (a->why == SCHED_COPY)
		progress_copy(d->progress, worker, label, a->attempt);
}

static int
send_job(struct dispatch *d, const struct sched_action *a, struct err *e)
{
	struct peer *p = peer_by_worker(d, a->worker);
	struct task *t = task_find(d, a->job);
	struct layer_spec spooled;
	struct dispatch_job job;
	struct err why = ERR_INIT;
	uint64_t stream;
	int rc;

	if (p == NULL || t == NULL)
		return 0;
	job = *t->job;
	if (dispatch_stream_order(d, p, t, a->attempt, &stream, e) < 0)
		return -1;
	if ((rc = dispatch_load(d, t, &job, e)) <= 0)
		return rc;
	t->started = dispatch_now(d);
	if (t->done) {
		dispatch_blobs_sent(t, a->attempt, false);
		dispatch_audit_outputs(d, p, t, a->attempt, &spooled);
		job.spec = &spooled;
	} else if (dispatch_blobs_wanted(d, p, t)) {
		dispatch_blobs_sent(t, a->attempt, dispatch_shared_is(p));
		if (!dispatch_shared_is(p)) {
			blob_request_spool(job.spec, &spooled);
			job.spec = &spooled;
		}
	}
	if (job_send(p->via, &p->link, &job, d->base + a->job.v, a->attempt,
		stream, &why) < 0) {
		log_line(LOG_DEBUG, "worker=%s %s attempt=%llu: %s", p->name,
		    job.label, (unsigned long long)a->attempt, why.text);
		peer_gone(d, p, "cannot be reached");
	} else {
		tell_sent(d, p, job.label, a);
	}
	dispatch_unload(d, &job);
	return 0;
}

static void
send_cancel(struct dispatch *d, const struct sched_action *a)
{
	struct peer *p = peer_by_worker(d, a->worker);
	struct msg m = {.type = MSG_CANCEL,
	    .cancel = {.job = d->base + a->job.v, .attempt = a->attempt}};
	struct err e = ERR_INIT;

	dispatch_audit_end(d, a->worker, a->job, a->attempt);
	/* What cannot be told runs in vain; its answer changes nothing. */
	if (p != NULL && link_send(p->via, &p->link, &m, &e) < 0)
		log_line(LOG_DEBUG,
		    "worker=%s job=%llu attempt=%llu: cancel: "
		    "%s",
		    p->name, (unsigned long long)a->job.v,
		    (unsigned long long)a->attempt, e.text);
}

static int
job_failed(struct dispatch *d, struct task *t, struct err *e)
{
	struct err why = ERR_INIT;

	task_reasons(d, t, &why);
	return task_failed(d, t, &why, e);
}

static int
audit_skipped(struct dispatch *d, struct task *t, struct err *e)
{
	log_line(
	    LOG_WARNING, "%s was not checked: no second worker", t->job->label);
	progress_audit(d->progress, t->job->label, false);
	return task_done(d, t, e);
}

static void
drop_silent(struct dispatch *d, struct peer *p)
{
	log_line(
	    LOG_WARNING, "worker %s is silent: its jobs go elsewhere", p->name);
	peer_gone(d, p, "no sign of life");
}

static int
act_one(struct dispatch *d, const struct sched_action *a, struct err *e)
{
	struct task *t;
	struct peer *p;

	switch (a->kind) {
	case SCHED_SEND:
		return send_job(d, a, e);
	case SCHED_CANCEL:
		send_cancel(d, a);
		break;
	case SCHED_DROP:
		if ((p = peer_by_worker(d, a->worker)) != NULL)
			drop_silent(d, p);
		break;
	case SCHED_FAILED:
		t = task_find(d, a->job);
		return t == NULL ? 0 : job_failed(d, t, e);
	case SCHED_SET_ASIDE:
	case SCHED_USED_AGAIN:
		if ((p = peer_by_worker(d, a->worker)) != NULL)
			log_line(LOG_WARNING, "worker %s %s", p->name,
			    a->kind == SCHED_SET_ASIDE
				? "failed too often: it gets nothing more"
				: "is used again: others cannot do what is "
				  "left");
		break;
	case SCHED_AUDIT_SKIPPED:
		t = task_find(d, a->job);
		return t == NULL ? 0 : audit_skipped(d, t, e);
	}
	return 0;
}

static void
come_round(struct dispatch *d)
{
	int64_t gap = dispatch_now(d) - d->looked;

	if (gap >= STOOD_MS) {
		log_line(LOG_INFO, "this process stood still for %lld s",
		    (long long)gap / 1000);
		d->stood += gap;
	}
	d->looked = dispatch_now(d);
}

/* Whether all workers are there that the build waits for. */
static bool
may_begin(struct dispatch *d)
{
	bool waits;

	d->begun |= d->n_peers >= d->min_workers;
	waits = d->remote != NULL &&
	    (!d->begun || (d->n_peers == 0 && d->no_local));
	if (waits && (!d->waiting || d->told != d->n_peers)) {
		log_line(LOG_INFO, "%zu workers are here%s: waiting at %s",
		    d->n_peers, d->begun ? "" : ", too few",
		    link_endpoint(d->remote));
		d->told = d->n_peers;
	}
	d->waiting = waits;
	return d->begun;
}

/* What the scheduler sees to once it is asked. */
static void
drop_all_silent(struct dispatch *d)
{
	if (dispatch_now(d) < d->silence_at)
		return;
	d->silence_at = dispatch_now(d) + SILENCE_LOOK_MS;
	for (size_t i = d->n_peers; i-- > 0;)
		if (dispatch_now(d) - d->peer[i].heard >= SILENT_MS)
			drop_silent(d, &d->peer[i]);
}

/*
 * Takes what came and does what follows, until nothing does: the last call
 * on the socket is then a receive that found nothing, as link_fd wants.  Where
 * there is more than one turn takes, all else has its turn before the next.
 */
static int
settle(struct dispatch *d, struct err *e)
{
	struct sched_action a;
	int looks = 0;
	bool acted;

	do {
		if (dispatch_receive(d, e) < 0 ||
		    dispatch_blobs_collect(d, e) < 0 ||
		    dispatch_push_turn(d, e) < 0 ||
		    dispatch_relay_turn(d, e) < 0)
			return -1;
		acted = false;
		if (!may_begin(d)) {
			drop_all_silent(d);
			continue;
		}
		if (dispatch_shared_hold(d) || dispatch_locality_hold(d) ||
		    dispatch_stream_hold(d))
			continue;
		/* Who is silent is known only once all was heard. */
		for (int n = 0; n < ACTIONS_MAX &&
		     sched_next(d->sched, dispatch_now(d), &a);
		     n++) {
			acted = true;
			if (act_one(d, &a, e) < 0)
				return -1;
		}
		if (!acted)
			d->fresh = 0; /* who could take them has them */
		/* Where it acted something may have come by now. */
		d->more |= acted && ++looks == LOOKS_MAX;
	} while (acted && !d->more);
	return 0;
}

/* All that can be done now; in *until when there is more. */
static int
catch_up(struct dispatch *d, int64_t *until, struct err *e)
{
	int tick = progress_tick(d->progress, monotime_ms());
	int64_t probe, answer, shown;

	come_round(d);
	if (dispatch_locality_tick(d, &answer, e) < 0 ||
	    dispatch_audit_collect(d, e) < 0 || settle(d, e) < 0)
		return -1;
	shown = dispatch_status_tick(d);
	probe = dispatch_shared_tick(d);
	*until = monotime_ms() + 1000;
	if (probe < *until)
		*until = probe;
	if (answer < *until)
		*until = answer;
	if (shown < *until)
		*until = shown;
	if (tick >= 0 && monotime_ms() + tick < *until)
		*until = monotime_ms() + tick;
	/* Before the build begins it is not asked what is next. */
	if (d->begun && sched_deadline(d->sched) < *until - d->stood)
		*until = sched_deadline(d->sched) + d->stood;
	if (d->more)
		*until = monotime_ms();
	return 0;
}

static int
wait_for_more(struct dispatch *d, struct pollfd *extra, size_t n_extra,
    int64_t until, struct err *e)
{
	struct pollfd fds[OWN_FDS + DISPATCH_EXTRA_MAX] = {
	    {.fd = link_fd(d->link), .events = POLLIN},
	    {.fd = d->child_fd, .events = POLLIN},
	    {.fd = d->remote != NULL ? link_fd(d->remote) : -1,
		.events = POLLIN},
	    {.fd = d->fetch != NULL ? blob_fetch_fd(d->fetch) : -1,
		.events = POLLIN},
	    {.fd = dispatch_push_fd(d), .events = POLLIN},
	};
	int64_t left = until - monotime_ms();
	int n;

	assert(n_extra <= DISPATCH_EXTRA_MAX);
	for (size_t i = 0; i < n_extra; i++)
		fds[OWN_FDS + i] = extra[i];
	if (left < 0)
		left = 0;
	if ((n = poll(fds, OWN_FDS + n_extra, (int)left)) < 0 && errno != EINTR)
		return err_set(e, ERR_FATAL, errno, "poll");
	for (size_t i = 0; i < n_extra; i++)
		extra[i].revents = n > 0 ? fds[OWN_FDS + i].revents : 0;
	dispatch_blobs_beat(d);
	local_workers_kill_mute(d->local, monotime_ms(), HELLO_MS);
	if ((n == 0 || fds[1].revents != 0) && dispatch_local_replace(d, e) < 0)
		return -1;
	return dispatch_launch_check(d, e);
}

int
dispatch_turn(struct dispatch *d, struct pollfd *extra, size_t n_extra,
    int64_t until, struct err *e)
{
	int64_t next;

	d->news = false;
	if (catch_up(d, &next, e) < 0)
		return -1;
	if (next > until)
		next = until;
	return wait_for_more(d, extra, n_extra, d->news ? 0 : next, e);
}

static int
run_start(struct dispatch *d, bool open, struct err *e)
{
	const struct sched_config config = {
	    .silent_ms = SILENT_MS,
	    .lease_ms = LEASE_MS,
	    .poison = POISON,
	    .copy_percent = d->remote != NULL ? COPY_PERCENT_REMOTE : 0,
	    .in_turn = open,
	    .awaits_second = d->remote != NULL || d->n_local > 1,
	};

	d->open = open;
	memset(d->postponed, 0, sizeof(d->postponed));
	d->looked = dispatch_now(d);
	return sched_new(&config, &d->sched, e);
}

int
dispatch_begin(struct dispatch *d, const struct layer_output *to, struct err *e)
{
	if (run_start(d, true, e) < 0 || dispatch_shared_start(d, to, e) < 0)
		return -1;
	return dispatch_locality_start(d, e);
}

/* How fast workers were at making layers; at measuring them says nothing. */
static void
keep_rates(struct dispatch *d)
{
	struct sched_counts all, measures;

	sched_count(d->sched, &all, &measures);
	for (size_t i = 0; measures.added == 0 && i < d->n_peers; i++) {
		struct sched_worker_counts n;
		struct peer *p = &d->peer[i];

		if (sched_worker_count(d->sched, p->worker, &n) && n.rate > 0)
			p->rate = n.rate;
	}
}

int
dispatch_run(
    struct dispatch *d, struct dispatch_job *job, size_t n, struct err *e)
{
	uint64_t bytes = 0;
	int64_t until;
	struct task *t;

	if (run_start(d, false, e) < 0 || tasks_reserve(d, n, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (task_add(d, &job[i], &t, e) < 0)
			return -1;
		assert(t->id.v == i);
		bytes += job[i].weight;
	}
	if (dispatch_shared_start(d, NULL, e) < 0 ||
	    dispatch_locality_start(d, e) < 0)
		return -1;
	progress_totals(d->progress, n, bytes);
	d->looked = dispatch_now(d); /* a million jobs take seconds */
	for (;;) {
		if (catch_up(d, &until, e) < 0)
			return -1;
		if (sched_open(d->sched) == 0 && d->n_differ == 0 &&
		    !dispatch_push_busy(d))
			break;
		if (wait_for_more(d, NULL, 0, until, e) < 0)
			return -1;
	}
	dispatch_status_run_ends(d);
	keep_rates(d);
	tasks_clear(d);
	sched_freep(&d->sched);
	dispatch_shared_forget(d);
	dispatch_audit_forget(d);
	d->base += n;
	return 0;
}
