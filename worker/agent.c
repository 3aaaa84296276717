#include "agent.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <zmq.h>

#include "agent_state.h"
#include "err.h"
#include "handover.h"
#include "job.h"
#include "job_pool.h"
#include "link.h"
#include "log.h"
#include "monotime.h"
#include "own.h"
#include "protocol.h"
#include "sent_answers.h"
#include "shared_answer.h"
#include "store_answer.h"
#include "supervisor.h"
#include "uploads.h"

/* For each of the threads that a disk may hold up; for the last message. */
#define STOP_MS 500
#define LINGER_MS 200
/* Between attempts to send what could not be sent. */
#define RETRY_MS 50
/* HELLO may be lost, or not be heard yet. */
#define HELLO_MS 1000
/* When a worker that waits for coordinators says that it does. */
#define SAY_MS 10000

int
agent_try_send(struct agent *a, const struct msg *m, struct err *e)
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
	memcpy(m.hello.instance, a->instance, sizeof(a->instance));
	m.hello.session = a->session;
	m.hello.fetches = a->options->inputs != NULL;
	for (int i = 0; a->options->tells_speed && i < ENCODING_KINDS; i++)
		m.hello.speed[i] = speed_of(&a->speed, (enum encoding_kind)i);
	if (agent_held(a, &m.hello.held, &m.hello.n_held, e) < 0)
		return -1;
	if ((rc = agent_try_send(a, &m, e)) == 0) {
		a->state = AGENT_GREETED;
		a->hello_at = monotime_ms() + HELLO_MS;
	}
	free(m.hello.held);
	return rc < 0 ? -1 : 0;
}

static void
tell_status(const struct agent *a, const char *what)
{
	char text[320];

	snprintf(text, sizeof(text), "%s %.250s", what, a->options->endpoint);
	supervisor_status(text);
}

static int
say_draining(struct agent *a, struct err *e)
{
	const struct msg m = {.type = MSG_BYE, .bye = {MSG_BYE_DRAINING}};

	return agent_try_send(a, &m, e) < 0 ? -1 : 0;
}

static int
take_welcome(struct agent *a, const struct msg_welcome *m, struct err *e)
{
	const struct handover_config handover = {.folder = a->options->spool,
	    .control = a->options->endpoint,
	    .keys = a->options->keys,
	    .data = m->data,
	    .token = m->token};

	if (m->protocol != PROTOCOL_VERSION)
		return err_set(e, ERR_FATAL, 0,
		    "%s: the coordinator speaks protocol %" PRIu64
		    ", this worker %d: install the same version of both",
		    a->options->endpoint, m->protocol, PROTOCOL_VERSION);
	/* Another coordinator, or another of its lives: other jobs. */
	if (m->session != a->session)
		agent_forget_jobs(a);
	else
		agent_answer_again(a);
	a->session = m->session;
	/* What is still wanted of them is asked again. */
	uploads_forget(a->uploads);
	if (m->data[0] != '\0' &&
	    handover_join(a->ctx, &handover, &a->handover, e) < 0)
		return -1;
	a->beat_ms = (int64_t)m->beat_ms;
	a->next_beat = monotime_ms() + a->beat_ms;
	if (a->state != AGENT_READY)
		tell_status(a, "Works for the coordinator at");
	a->state = AGENT_READY;
	return a->draining ? say_draining(a, e) : 0;
}

/* A new connection, on which HELLO is the first word. */
static int
start_again(struct agent *a, struct err *e)
{
	link_close(a->link, LINGER_MS);
	a->link = NULL;
	a->state = AGENT_NEW;
	store_answer_forget(a->store);
	a->lost_since = 0;
	a->deadline = INT64_MAX; /* there was one: there may be none for long */
	return link_connect(
	    a->ctx, a->options->endpoint, a->options->keys, &a->link, e);
}

/* The build is over, or its coordinator is gone: wait for the next one? */
static int
next_build(struct agent *a, const char *why, struct err *e)
{
	if (!a->options->stays || a->draining) {
		a->state = AGENT_LEAVING;
		return 0;
	}
	log_line(LOG_INFO, "%s: %s; waiting for the next build",
	    a->options->endpoint, why);
	tell_status(a, "Waits for a coordinator at");
	agent_forget_jobs(a);
	a->session = 0;
	return start_again(a, e);
}

/* The coordinator waits for an answer: else its end might cut BYE off. */
static int
take_bye(struct agent *a, struct err *e)
{
	const struct msg m = {.type = MSG_BYE, .bye = {MSG_BYE_LEFT}};

	if (agent_try_send(a, &m, e) < 0)
		return -1;
	return next_build(a, "the build is over", e);
}

/* Jobs, their parts, and their ends. */
static int
take_work(struct agent *a, struct msg *m, struct err *e)
{
	if (m->type == MSG_JOB)
		return agent_take_job(a, m, e);
	if (m->type == MSG_CANCEL)
		return agent_cancel_job(a, &m->cancel, e);
	return agent_take_part(a, m, e);
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
	case MSG_ITEMS:
	case MSG_ENTRIES:
	case MSG_CANCEL:
		if (a->state == AGENT_READY)
			return take_work(a, m, e);
		break;
	case MSG_PROBE:
		if (a->state == AGENT_READY)
			return agent_take_probe(a, &m->probe, e);
		break;
	case MSG_PUSH:
	case MSG_TOKEN:
		if (a->state == AGENT_READY)
			return agent_take_push(a, m, e);
		break;
	case MSG_ASK:
	case MSG_PATHS:
		if (a->state == AGENT_READY)
			return agent_take_question(a, m, e);
		break;
	case MSG_BYE:
		return take_bye(a, e);
	case MSG_WHO:
		if (a->state == AGENT_READY)
			a->state = AGENT_NEW;
		return 0;
	case MSG_HELLO:
	case MSG_BEAT:
	case MSG_SIZED:
	case MSG_DONE:
	case MSG_FAIL:
	case MSG_POSTPONE:
	case MSG_PROBED:
	case MSG_WANT:
	case MSG_HAVE:
	case MSG_CLIENT:
	case MSG_MADE:
	case MSG_STATUS:
	case MSG_STATE:
	case MSG_PUSHED:
	case MSG_EXPIRED:
		break;
	}
	log_line(LOG_WARNING, "%s: %s from the coordinator is out of place",
	    a->options->endpoint, msg_name(m->type));
	return 0;
}

static int
lose_coordinator(struct agent *a, struct err *e)
{
	if (a->options->stays)
		return next_build(a, "the coordinator is gone", e);
	return err_set(e, ERR_FATAL, 0, "%s: the coordinator is gone",
	    a->options->endpoint);
}

static int
beat(struct agent *a, struct err *e)
{
	struct msg m = {.type = MSG_BEAT, .beat.progress = a->progress};
	int64_t now = monotime_ms();
	int rc;

	if (a->state != AGENT_READY || now < a->next_beat)
		return 0;
	a->next_beat = now + a->beat_ms * (a->n_jobs == 0 ? MSG_IDLE_BEATS : 1);
	for (struct job *job = a->jobs; job != NULL; job = job->next) {
		if (m.beat.n == a->options->slots)
			break;
		if (!atomic_load(&job->running))
			continue;
		/* A registry has its own patience, which is not the lease's. */
		job->ahead += atomic_load(&job->progress.sending);
		a->progress[m.beat.n++] =
		    (struct msg_progress){job->id, job->attempt,
			job->ahead + atomic_load(&job->progress.bytes)};
	}
	if ((rc = agent_try_send(a, &m, e)) < 0)
		return -1;
	if (rc == 0)
		a->lost_since = 0;
	else if (a->lost_since == 0)
		a->lost_since = now;
	else if (now - a->lost_since > a->options->lost_ms)
		return lose_coordinator(a, e);
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

/* Says that it has left, as well as may be. */
static int
leave(struct agent *a, struct err *e)
{
	const struct msg m = {.type = MSG_BYE, .bye = {MSG_BYE_LEFT}};

	a->state = AGENT_LEAVING;
	return agent_try_send(a, &m, e) < 0 ? -1 : 0;
}

/*
 * SIGTERM or SIGINT.  A worker of its own lets what runs come to an end, for a
 * while; the second signal, and one to a coordinator's child, ends it now.
 */
static int
take_signal(struct agent *a, struct err *e)
{
	struct signalfd_siginfo info;

	if (read(a->signal_fd, &info, sizeof(info)) != sizeof(info))
		return 0;
	supervisor_stopping();
	if (a->draining || a->options->drain_ms == 0)
		return leave(a, e);
	log_line(LOG_INFO, "leaving: %zu jobs are finished or handed back",
	    a->n_jobs);
	a->draining = true;
	a->drain_until = monotime_ms() + a->options->drain_ms;
	if (a->state == AGENT_READY && say_draining(a, e) < 0)
		return -1;
	agent_hand_back(a);
	return 0;
}

static int
drain(struct agent *a, struct err *e)
{
	bool over;

	if (!a->draining)
		return 0;
	over = monotime_ms() >= a->drain_until;
	/* What is finished, but not fetched, would go with this worker. */
	if (a->state != AGENT_READY ||
	    (a->n_jobs == 0 && sent_answers_due(a->sent) == NULL &&
		(over ||
		    (!handover_holds(a->handover) &&
			!uploads_busy(a->uploads)))))
		return leave(a, e);
	if (over)
		agent_stop_jobs(a);
	return 0;
}

static void
sooner(int64_t *until, int64_t than)
{
	if (*until > than)
		*until = than;
}

/* Milliseconds until there is something to do that no fd tells. */
static int
patience(const struct agent *a)
{
	int64_t now = monotime_ms(), until = INT64_MAX;

	if (a->state == AGENT_READY)
		until = a->next_beat;
	else if (!a->options->stays)
		until = a->deadline;
	if (a->state == AGENT_NEW)
		sooner(&until, now + RETRY_MS);
	if (a->state == AGENT_GREETED)
		sooner(&until, a->hello_at);
	if (a->draining || a->answer != NULL ||
	    sent_answers_due(a->sent) != NULL)
		sooner(&until, now + RETRY_MS);
	for (const struct job *job = a->jobs; job != NULL; job = job->next)
		if (job->state == JOB_FINISHED)
			sooner(&until, now + RETRY_MS);
	sooner(&until, now + HELLO_MS);
	sooner(&until, supervisor_watchdog(now));
	return until > now ? (int)(until - now) : 0;
}

/* Nothing can be handed over any more. */
static int
check_handover(struct agent *a, struct err *e)
{
	char why[ERR_TEXT_MAX];

	if (handover_check(a->handover, e) == 0)
		return 0;
	if (!a->options->stays)
		return -1;
	snprintf(why, sizeof(why), "%s", e->text);
	err_clear(e);
	handover_stop(a->handover, STOP_MS);
	a->handover = NULL;
	return next_build(a, why, e);
}

/* Asks to be taken in: at first, and again while nobody answers. */
static int
join(struct agent *a, struct err *e)
{
	int64_t now = monotime_ms();

	if (a->state == AGENT_GREETED && now >= a->hello_at)
		a->state = AGENT_NEW;
	if (a->state == AGENT_NEW && say_hello(a, e) < 0)
		return -1;
	if (a->state >= AGENT_READY || now < a->deadline)
		return 0;
	if (a->options->stays) {
		a->deadline = INT64_MAX; /* said once */
		log_line(LOG_WARNING,
		    "%s: no coordinator answers yet%s; waiting",
		    a->options->endpoint,
		    a->options->keys != NULL && a->options->keys->own != NULL
			? " (or it has another key, or does not list this "
			  "worker's)"
			: "");
	} else {
		return err_set(e, ERR_FATAL, 0,
		    "%s: no answer from a coordinator in %d s",
		    a->options->endpoint, a->options->welcome_ms / 1000);
	}
	return 0;
}

static int
agent_loop(struct agent *a, struct err *e)
{
	while (a->state != AGENT_LEAVING) {
		struct pollfd fds[] = {{-1, POLLIN, 0},
		    {job_pool_fd(a->pool), POLLIN, 0},
		    {a->signal_fd, POLLIN, 0}, {-1, POLLIN, 0},
		    {store_answer_fd(a->store), POLLIN, 0},
		    {uploads_fd(a->uploads), POLLIN, 0}};

		if (join(a, e) < 0)
			return -1;
		agent_collect(a);
		if (agent_send_answers(a, e) < 0 ||
		    agent_send_probed(a, e) < 0 || agent_send_have(a, e) < 0 ||
		    agent_send_pushed(a, e) < 0 || beat(a, e) < 0 ||
		    drain(a, e) < 0 || check_handover(a, e) < 0)
			return -1;
		/* Last before sleeping: see link_recv. */
		if (receive(a, e) < 0)
			return -1;
		if (a->state == AGENT_LEAVING)
			break;
		fds[0].fd = link_fd(a->link);
		fds[3].fd = handover_fd(a->handover);
		fds[5].fd = uploads_fd(a->uploads);
		if (poll(fds, 6, patience(a)) < 0 && errno != EINTR)
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
	a->deadline = monotime_ms() +
	    (a->options->stays ? SAY_MS : a->options->welcome_ms);
	if (getentropy(a->instance, sizeof(a->instance)) < 0)
		return err_set(e, ERR_FATAL, errno, "random number");
	a->progress = calloc(a->options->slots, sizeof(*a->progress));
	if (a->progress == NULL)
		return err_set(e, ERR_FATAL, errno, "worker");
	if ((a->ctx = link_context(e)) == NULL)
		return -1;
	if (sent_answers_new(&a->sent, e) < 0 ||
	    store_answer_new(&a->store, e) < 0)
		return -1;
	if (job_pool_new(a->options->slots, &a->pool, e) < 0)
		return -1;
	if (link_connect(a->ctx, a->options->endpoint, a->options->keys,
		&a->link, e) < 0)
		return -1;
	/* While the connection is made. */
	if (a->options->tells_speed)
		speed_try(&a->speed);
	return 0;
}

static void
agent_close(struct agent *a)
{
	bool closed;

	for (struct job *job = a->jobs; job != NULL; job = job->next)
		atomic_store(&job->progress.cancel, true);
	uploads_forget(a->uploads);
	if (job_pool_stop(a->pool, STOP_MS))
		agent_free_jobs(a);
	uploads_stop(a->uploads, STOP_MS);
	shared_answer_stop(a->answer, STOP_MS);
	store_answer_stop(a->store, STOP_MS);
	closed = handover_stop(a->handover, STOP_MS);
	link_close(a->link, LINGER_MS);
	/* It waits for every socket, so also for one that a thread is at. */
	if (a->ctx != NULL && closed)
		zmq_ctx_term(a->ctx);
	sent_answers_free(a->sent);
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

	if ((rc = agent_open(&a, e)) == 0) {
		/* Its coordinator may come much later. */
		supervisor_ready(NULL);
		rc = agent_loop(&a, e);
	}
	agent_close(&a);
	return rc;
}
