#include "agent.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

#include <zmq.h>

#include "err.h"
#include "job.h"
#include "job_pool.h"
#include "link.h"
#include "log.h"
#include "monotime.h"
#include "own.h"
#include "protocol.h"

/* The ends of jobs and of the last message, together within a second. */
#define STOP_MS 500
#define LINGER_MS 200
/* Between attempts to send what could not be sent. */
#define RETRY_MS 50

enum agent_state {
	AGENT_NEW,     /* HELLO is to be sent */
	AGENT_GREETED, /* WELCOME is awaited */
	AGENT_READY,
	AGENT_LEAVING
};

struct agent {
	const struct agent_options *options;
	enum agent_state state;
	void *ctx;
	struct link *link;
	struct job_pool *pool;
	int signal_fd;
	sigset_t old_mask;
	struct job *jobs;
	size_t n_jobs;
	int64_t beat_ms, next_beat;
	int64_t deadline;   /* for WELCOME */
	int64_t lost_since; /* when beats began to fail; 0: they do not */
	struct msg_progress *progress; /* of each slot */
};

/* 0: sent; 1: not now; -1: *e says why never. */
static int
try_send(struct agent *a, const struct msg *m, struct err *e)
{
	if (link_send(a->link, NULL, m, e) == 0)
		return 0;
	if (e->kind != ERR_PEER)
		return -1;
	err_clear(e);
	return 1;
}

static int
say_hello(struct agent *a, struct err *e)
{
	char host[MSG_NAME_MAX + 1] = "";
	struct msg m = {.type = MSG_HELLO};
	int rc;

	if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = '\0';
	m.hello.protocol = PROTOCOL_VERSION;
	m.hello.program = QUARRY_VERSION;
	m.hello.host = host;
	m.hello.pid = (uint64_t)getpid();
	m.hello.slots = a->options->slots;
	m.hello.gzip = a->options->gzip;
	m.hello.zstd = a->options->zstd;
	if ((rc = try_send(a, &m, e)) == 0)
		a->state = AGENT_GREETED;
	return rc < 0 ? -1 : 0;
}

static struct job *
find_job(struct agent *a, uint64_t id, uint64_t attempt)
{
	struct job *job = a->jobs;

	while (job != NULL && (job->id != id || job->attempt != attempt))
		job = job->next;
	return job;
}

static void
remove_job(struct agent *a, struct job *job)
{
	struct job **at = &a->jobs;

	while (*at != job)
		at = &(*at)->next;
	*at = job->next;
	a->n_jobs--;
	job_free(job);
}

/* Sends answers; what cannot be sent now stays for the next time. */
static int
send_answers(struct agent *a, struct err *e)
{
	struct job *job, *next;
	struct msg m;
	int rc;

	for (job = a->jobs; job != NULL; job = next) {
		next = job->next;
		if (job->state != JOB_FINISHED)
			continue;
		job_answer(job, &m);
		if ((rc = try_send(a, &m, e)) != 0)
			return rc < 0 ? -1 : 0;
		remove_job(a, job);
	}
	return 0;
}

/* Ends a job that the pool does not have; why is its error. */
static int
fail_job(struct agent *a, struct job *job, const struct err *why, struct err *e)
{
	job->err = *why;
	job->state = JOB_FINISHED;
	return send_answers(a, e);
}

static void
submit_if_complete(struct agent *a, struct job *job)
{
	if (!job_complete(job))
		return;
	job->state = JOB_SUBMITTED;
	job_pool_put(a->pool, job);
}

/* Answers a job that was not taken; if that is lost, its lease runs out. */
static int
decline(
    struct agent *a, const struct msg_job *m, const char *why, struct err *e)
{
	struct msg fail = {.type = MSG_FAIL};

	fail.fail.job = m->job;
	fail.fail.attempt = m->attempt;
	fail.fail.kind = ERR_RETRY;
	fail.fail.text = why;
	return try_send(a, &fail, e) < 0 ? -1 : 0;
}

static int
take_job(struct agent *a, struct msg *m, struct err *e)
{
	struct err why = ERR_INIT;
	struct job *job, *next;

	if (find_job(a, m->job.job, m->job.attempt) != NULL)
		return 0;
	/* A new attempt: the parts of an older one will not come. */
	for (job = a->jobs; job != NULL; job = next) {
		next = job->next;
		if (job->id == m->job.job && job->state == JOB_ASSEMBLING)
			remove_job(a, job);
	}
	if (a->n_jobs >= AGENT_JOBS_MAX(a->options->slots))
		return decline(a, &m->job, "this worker has jobs enough", e);
	if (job_new(m, &job, &why) < 0)
		return decline(a, &m->job, why.text, e);
	job->layer.inputs = a->options->inputs;
	job->next = a->jobs;
	a->jobs = job;
	a->n_jobs++;
	submit_if_complete(a, job);
	return 0;
}

/* ITEMS or ENTRIES; those of a job that is not there any more are ignored. */
static int
take_part(struct agent *a, const struct msg *m, struct err *e)
{
	struct err why = ERR_INIT;
	struct job *job;
	int rc;

	if (m->type == MSG_ITEMS)
		job = find_job(a, m->items.job, m->items.attempt);
	else
		job = find_job(a, m->entries.job, m->entries.attempt);
	if (job == NULL || job->state != JOB_ASSEMBLING)
		return 0;
	if (m->type == MSG_ITEMS)
		rc = job_add_items(job, &m->items, &why);
	else
		rc = job_add_entries(job, &m->entries, &why);
	if (rc < 0)
		return fail_job(a, job, &why, e);
	submit_if_complete(a, job);
	return 0;
}

static int
cancel_job(struct agent *a, const struct msg_cancel *m, struct err *e)
{
	struct err why = ERR_INIT;
	struct job *job = find_job(a, m->job, m->attempt);

	if (job == NULL || job->state == JOB_FINISHED)
		return 0;
	if (job->state == JOB_SUBMITTED && !job_pool_withdraw(a->pool, job)) {
		atomic_store(&job->progress.cancel, true);
		return 0;
	}
	err_set(&why, ERR_RETRY, ECANCELED, "job %" PRIu64, job->id);
	return fail_job(a, job, &why, e);
}

static int
take_welcome(struct agent *a, const struct msg_welcome *m, struct err *e)
{
	if (m->protocol != PROTOCOL_VERSION)
		return err_set(e, ERR_FATAL, 0,
		    "%s: the coordinator speaks protocol %" PRIu64
		    ", this worker %d: install the same version of both",
		    a->options->endpoint, m->protocol, PROTOCOL_VERSION);
	a->beat_ms = (int64_t)m->beat_ms;
	a->next_beat = monotime_ms() + a->beat_ms;
	a->state = AGENT_READY;
	return 0;
}

static int
handle(struct agent *a, struct msg *m, struct err *e)
{
	switch (m->type) {
	case MSG_WELCOME:
		if (a->state == AGENT_GREETED)
			return take_welcome(a, &m->welcome, e);
		break;
	case MSG_REFUSE:
		return err_set(e, ERR_FATAL, 0,
		    "%s: the coordinator refused this worker: %s",
		    a->options->endpoint, m->refuse.text);
	case MSG_JOB:
		if (a->state == AGENT_READY)
			return take_job(a, m, e);
		break;
	case MSG_ITEMS:
	case MSG_ENTRIES:
		if (a->state == AGENT_READY)
			return take_part(a, m, e);
		break;
	case MSG_CANCEL:
		if (a->state == AGENT_READY)
			return cancel_job(a, &m->cancel, e);
		break;
	case MSG_BYE:
		a->state = AGENT_LEAVING;
		return 0;
	case MSG_HELLO:
	case MSG_BEAT:
	case MSG_SIZED:
	case MSG_DONE:
	case MSG_FAIL:
		break;
	}
	log_line(LOG_WARNING, "%s: %s from the coordinator is out of place",
	    a->options->endpoint, msg_name(m->type));
	return 0;
}

static int
beat(struct agent *a, struct err *e)
{
	struct msg m = {.type = MSG_BEAT, .beat.progress = a->progress};
	int64_t now = monotime_ms();
	int rc;

	if (a->state != AGENT_READY || now < a->next_beat)
		return 0;
	a->next_beat = now + a->beat_ms;
	for (struct job *job = a->jobs; job != NULL; job = job->next) {
		if (m.beat.n == a->options->slots)
			break;
		if (!atomic_load(&job->running))
			continue;
		a->progress[m.beat.n++] = (struct msg_progress){
		    job->id, job->attempt, atomic_load(&job->progress.bytes)};
	}
	if ((rc = try_send(a, &m, e)) < 0)
		return -1;
	if (rc == 0)
		a->lost_since = 0;
	else if (a->lost_since == 0)
		a->lost_since = now;
	else if (now - a->lost_since > a->options->lost_ms)
		return err_set(e, ERR_FATAL, 0, "%s: the coordinator is gone",
		    a->options->endpoint);
	return 0;
}

/* Everything that came; beats in between, however much that is. */
static int
receive(struct agent *a, struct err *e)
{
	struct msg m;
	int rc;

	while (a->state != AGENT_LEAVING) {
		if ((rc = link_recv(a->link, NULL, &m, e)) == 0)
			return 0;
		if (rc < 0 && e->kind != ERR_PEER)
			return -1;
		if (rc < 0) {
			log_line(LOG_WARNING,
			    "%s: the coordinator's message is ignored: %s",
			    a->options->endpoint, e->text);
			err_clear(e);
			continue;
		}
		rc = handle(a, &m, e);
		msg_clear(&m);
		if (rc < 0 || beat(a, e) < 0)
			return -1;
	}
	return 0;
}

static void
collect(struct agent *a)
{
	struct job *job;

	while ((job = job_pool_take(a->pool)) != NULL) {
		job->state = JOB_FINISHED;
		if (job->progress.notice[0] != '\0')
			log_line(LOG_WARNING, "%s", job->progress.notice);
	}
}

/* SIGTERM or SIGINT: the coordinator is told, as well as may be. */
static int
take_signal(struct agent *a, struct err *e)
{
	struct msg m = {.type = MSG_BYE, .bye = {1}};
	struct signalfd_siginfo info;

	if (read(a->signal_fd, &info, sizeof(info)) != sizeof(info))
		return 0;
	a->state = AGENT_LEAVING;
	return try_send(a, &m, e) < 0 ? -1 : 0;
}

/* Milliseconds until there is something to do that no fd tells. */
static int
patience(const struct agent *a)
{
	int64_t now = monotime_ms(), until;

	until = a->state == AGENT_READY ? a->next_beat : a->deadline;
	if (a->state == AGENT_NEW && until > now + RETRY_MS)
		until = now + RETRY_MS;
	for (const struct job *job = a->jobs; job != NULL; job = job->next)
		if (job->state == JOB_FINISHED && until > now + RETRY_MS)
			until = now + RETRY_MS;
	return until > now ? (int)(until - now) : 0;
}

static int
agent_loop(struct agent *a, struct err *e)
{
	struct pollfd fds[] = {{link_fd(a->link), POLLIN, 0},
	    {job_pool_fd(a->pool), POLLIN, 0}, {a->signal_fd, POLLIN, 0}};

	while (a->state != AGENT_LEAVING) {
		if (a->state == AGENT_NEW && say_hello(a, e) < 0)
			return -1;
		collect(a);
		if (send_answers(a, e) < 0 || beat(a, e) < 0)
			return -1;
		/* Last before sleeping: see link_recv. */
		if (receive(a, e) < 0)
			return -1;
		if (a->state < AGENT_READY && monotime_ms() >= a->deadline)
			return err_set(e, ERR_FATAL, 0,
			    "%s: no answer from a coordinator in %d s",
			    a->options->endpoint,
			    a->options->welcome_ms / 1000);
		if (a->state == AGENT_LEAVING)
			break;
		if (poll(fds, 3, patience(a)) < 0 && errno != EINTR)
			return err_set(e, ERR_FATAL, errno, "poll");
		if (fds[2].revents != 0 && take_signal(a, e) < 0)
			return -1;
	}
	return 0;
}

/* Before the first thread is made: all shall have the signals blocked. */
static int
open_signals(struct agent *a, struct err *e)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	pthread_sigmask(SIG_BLOCK, &mask, &a->old_mask);
	a->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (a->signal_fd < 0)
		return err_set(e, ERR_FATAL, errno, "signalfd");
	return 0;
}

static int
agent_open(struct agent *a, struct err *e)
{
	if (open_signals(a, e) < 0)
		return -1;
	a->deadline = monotime_ms() + a->options->welcome_ms;
	a->progress = calloc(a->options->slots, sizeof(*a->progress));
	if (a->progress == NULL || (a->ctx = zmq_ctx_new()) == NULL)
		return err_set(e, ERR_FATAL, errno, "worker");
	if (job_pool_new(a->options->slots, &a->pool, e) < 0)
		return -1;
	return link_connect(a->ctx, a->options->endpoint, &a->link, e);
}

static void
agent_close(struct agent *a)
{
	for (struct job *job = a->jobs; job != NULL; job = job->next)
		atomic_store(&job->progress.cancel, true);
	if (job_pool_stop(a->pool, STOP_MS))
		while (a->jobs != NULL)
			remove_job(a, a->jobs);
	link_close(a->link, LINGER_MS);
	if (a->ctx != NULL)
		zmq_ctx_term(a->ctx);
	free(a->progress);
	if (a->signal_fd >= 0)
		close(a->signal_fd);
	pthread_sigmask(SIG_SETMASK, &a->old_mask, NULL);
}

int
agent_run(const struct agent_options *options, struct err *e)
{
	struct agent a = {.options = options, .signal_fd = -1};
	int rc;

	if ((rc = agent_open(&a, e)) == 0)
		rc = agent_loop(&a, e);
	agent_close(&a);
	return rc;
}
