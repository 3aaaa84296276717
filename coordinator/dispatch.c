#include "dispatch.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zmq.h>

#include "err.h"
#include "job_send.h"
#include "link.h"
#include "local_workers.h"
#include "log.h"
#include "monotime.h"
#include "own.h"
#include "progress.h"
#include "protocol.h"
#include "scheduler.h"
#include "scratch.h"

#define BEAT_MS 200
#define SILENT_MS 10000
#define LEASE_MS 120000
#define POISON 3
/* Local workers that die before they say HELLO, in a row. */
#define START_FAILURES_MAX 3
#define GRACE_MS 500

/* A worker that said HELLO and was welcomed. */
struct peer {
	struct link_peer link;
	struct worker_id worker; /* also its index in the progress display */
	char name[64];
	size_t slots;
	pid_t local; /* its process if it is a local one, else 0 */
};

struct dispatch {
	struct progress *progress;
	struct scratch *scratch;
	char *folder;	/* of the socket */
	char *endpoint; /* "ipc://FOLDER/c" */
	void *ctx;
	struct link *link;
	int child_fd; /* signalfd for SIGCHLD */
	struct local_workers *local;
	unsigned start_failures;
	struct peer *peer;
	size_t n_peers, room_peers;
	uint64_t next_worker;

	/* Of the run that is on. */
	struct scheduler *sched;
	struct dispatch_job *job;
	int64_t *started; /* of each job's newest attempt, ms */
	size_t n_jobs;
	uint64_t base; /* job ids on the wire count on from run to run */
};

static int
child_signals(struct err *e)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 ||
	    (fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
		return err_set(e, ERR_FATAL, errno, "signalfd");
	return fd;
}

/* Sockets have short names (107 bytes), so not every TMPDIR will do. */
static const char *
socket_parent(void)
{
	const char *names[] = {"XDG_RUNTIME_DIR", "TMPDIR"};

	for (size_t i = 0; i < 2; i++) {
		const char *dir = getenv(names[i]);

		if (dir != NULL && dir[0] == '/' && strlen(dir) < 80 &&
		    access(dir, W_OK | X_OK) == 0)
			return dir;
	}
	return "/tmp";
}

static int
listen_here(struct dispatch *d, struct err *e)
{
	if (scratch_folder(d->scratch, socket_parent(), &d->folder, e) < 0)
		return err_ctx(e, "socket folder");
	if (asprintf(&d->endpoint, "ipc://%s/c", d->folder) < 0)
		return err_set(e, ERR_FATAL, errno, "endpoint");
	if ((d->ctx = zmq_ctx_new()) == NULL)
		return err_set(e, ERR_FATAL, errno, "zmq_ctx_new");
	return link_listen(d->ctx, d->endpoint, &d->link, e);
}

static int
start_workers(
    struct dispatch *d, const struct dispatch_config *c, struct err *e)
{
	size_t slots = c->slots;

	if (local_workers_new(c->worker_program, d->endpoint, &d->local, e) < 0)
		return -1;
	for (size_t left = c->workers; left > 0; left--) {
		size_t share = (slots + left - 1) / left;

		if (local_workers_start(d->local, share, e) < 0)
			return -1;
		slots -= share;
	}
	return 0;
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
	if ((d->child_fd = child_signals(e)) < 0 || listen_here(d, e) < 0 ||
	    start_workers(d, config, e) < 0)
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
	for (size_t i = 0; i < d->n_peers; i++) {
		/* One that cannot be told is killed below. */
		if (link_send(d->link, &d->peer[i].link, &bye, &e) < 0)
			err_clear(&e);
	}
	if (d->local != NULL)
		local_workers_end(d->local, GRACE_MS);
	local_workers_free(d->local);
	link_close(d->link, 0);
	if (d->ctx != NULL)
		zmq_ctx_term(d->ctx);
	if (d->child_fd >= 0)
		close(d->child_fd);
	if (d->folder != NULL)
		scratch_remove(d->scratch, d->folder);
	sched_free(d->sched);
	free(d->started);
	free(d->folder);
	free(d->endpoint);
	free(d->peer);
	free(d);
}

void
dispatch_freep(struct dispatch **d)
{
	dispatch_free(*d);
	*d = NULL;
}

static struct peer *
peer_by_link(struct dispatch *d, const struct link_peer *link)
{
	for (size_t i = 0; i < d->n_peers; i++)
		if (d->peer[i].link.len == link->len &&
		    memcmp(d->peer[i].link.id, link->id, link->len) == 0)
			return &d->peer[i];
	return NULL;
}

static struct peer *
peer_by_worker(struct dispatch *d, struct worker_id worker)
{
	for (size_t i = 0; i < d->n_peers; i++)
		if (d->peer[i].worker.v == worker.v)
			return &d->peer[i];
	return NULL;
}

/* Forgets the peer; a local process is killed, and so replaced. */
static void
peer_gone(struct dispatch *d, struct peer *p, const char *why)
{
	progress_worker_gone(d->progress, (size_t)p->worker.v);
	if (d->sched != NULL)
		sched_worker_gone(d->sched, monotime_ms(), p->worker, why);
	if (p->local != 0)
		local_workers_kill(d->local, p->local);
	*p = d->peer[--d->n_peers];
}

static int
refuse(struct dispatch *d, const struct link_peer *link,
    const struct msg_hello *hello, struct err *e)
{
	char text[256];
	struct msg m = {.type = MSG_REFUSE, .refuse = {.text = text}};

	snprintf(text, sizeof(text),
	    "worker %s/%llu is version %s with protocol %llu; this quarry is "
	    "version %s with protocol %d",
	    hello->host, (unsigned long long)hello->pid, hello->program,
	    (unsigned long long)hello->protocol, QUARRY_VERSION,
	    PROTOCOL_VERSION);
	if (link_send(d->link, link, &m, e) < 0)
		err_clear(e);
	/* Only our own workers can come here: another would be like it. */
	return err_set(e, ERR_FATAL, 0,
	    "%s: use the quarry-worker of the same version "
	    "(--worker-program names it)",
	    text);
}

static int
peer_new(struct dispatch *d, const struct link_peer *link,
    const struct msg_hello *hello, struct err *e)
{
	struct peer *p;

	if (d->n_peers == d->room_peers) {
		size_t room = d->room_peers == 0 ? 16 : 2 * d->room_peers;

		if ((p = realloc(d->peer, room * sizeof(*p))) == NULL)
			return err_set(e, ERR_FATAL, errno, "workers");
		d->peer = p;
		d->room_peers = room;
	}
	p = &d->peer[d->n_peers];
	*p = (struct peer){
	    .link = *link,
	    .worker = {d->next_worker},
	    .slots = (size_t)hello->slots,
	};
	snprintf(p->name, sizeof(p->name), "%.40s/%llu", hello->host,
	    (unsigned long long)hello->pid);
	if (local_workers_ready(d->local, (pid_t)hello->pid))
		p->local = (pid_t)hello->pid;
	if (sched_worker_up(
		d->sched, monotime_ms(), p->worker, p->slots, p->name, e) < 0)
		return -1;
	d->n_peers++;
	d->next_worker++;
	d->start_failures = 0;
	progress_worker_up(d->progress, (size_t)p->worker.v, p->name);
	return 0;
}

static int
on_hello(struct dispatch *d, const struct link_peer *link,
    const struct msg_hello *hello, struct err *e)
{
	struct msg m = {.type = MSG_WELCOME,
	    .welcome = {.protocol = PROTOCOL_VERSION, .beat_ms = BEAT_MS}};

	if (hello->protocol != PROTOCOL_VERSION ||
	    strcmp(hello->program, QUARRY_VERSION) != 0)
		return refuse(d, link, hello, e);
	if (peer_by_link(d, link) == NULL && peer_new(d, link, hello, e) < 0)
		return -1;
	if (link_send(d->link, link, &m, e) < 0) {
		err_clear(e);
		peer_gone(d, peer_by_link(d, link), "cannot be reached");
	}
	return 0;
}

/* The job of this run that the wire's number means; false: none. */
static bool
job_of(const struct dispatch *d, uint64_t wire, struct job_id *out)
{
	if (wire < d->base || wire - d->base >= d->n_jobs)
		return false;
	out->v = wire - d->base;
	return true;
}

static void
on_beat(struct dispatch *d, const struct peer *p, const struct msg_beat *beat)
{
	int64_t now = monotime_ms();

	for (size_t i = 0; i < beat->n; i++) {
		const struct msg_progress *at = &beat->progress[i];
		struct job_id id;

		if (!job_of(d, at->job, &id))
			continue;
		sched_progress(
		    d->sched, now, p->worker, id, at->attempt, at->bytes);
		progress_job(d->progress, (size_t)p->worker.v, (size_t)id.v,
		    d->job[id.v].label, at->bytes, d->job[id.v].weight);
	}
	sched_beat(d->sched, now, p->worker, beat->n);
}

/*
 * Whether the result can be true: sizes that were fixed before, digests that
 * must agree, and blobs that lie where they should with the size they should
 * have.  The bytes' own digest was taken as they were written.
 */
static bool
result_holds(const struct dispatch_job *job, const struct layer_result *r)
{
	const struct layer_spec *spec = job->spec;

	if (r->tar_size == 0 || r->tar_size % TAR_BLOCK != 0)
		return false;
	if (spec->encoding.kind == ENCODING_NONE &&
	    (!digest_equal(&r->diff_id, &r->digest) || r->size != r->tar_size))
		return false;
	for (size_t i = 0; i < spec->n_outputs; i++) {
		const struct layer_output *o = &spec->outputs[i];
		char hex[DIGEST_HEX_LEN + 1], path[4096];
		struct stat st;

		if (o->kind == LAYER_TO_FILE) {
			if (o->size != LAYER_SIZE_UNKNOWN &&
			    o->size != r->tar_size)
				return false;
			continue;
		}
		digest_hex(&r->digest, hex);
		snprintf(path, sizeof(path), "%s/%s", o->path, hex);
		if (stat(path, &st) < 0 || (uint64_t)st.st_size != r->size)
			return false;
	}
	return true;
}

static void
job_done(struct dispatch *d, const struct peer *p, struct job_id id,
    const struct layer_result *r)
{
	struct dispatch_job *job = &d->job[id.v];

	job->result = *r;
	memcpy(job->worker, p->name, sizeof(job->worker));
	job->seconds = (double)(monotime_ms() - d->started[id.v]) / 1000;
	progress_job_end(d->progress, (size_t)p->worker.v, (size_t)id.v,
	    job->label, r->tar_size, job->seconds, true);
}

/* fingerprint: of the result; r: what the job's result becomes. */
static int
on_result(struct dispatch *d, struct peer *p, uint64_t wire, uint64_t attempt,
    const struct digest *fingerprint, const struct layer_result *r,
    struct err *e)
{
	struct job_id id;

	if (!job_of(d, wire, &id))
		return 0;
	if (!d->job[id.v].spec->measure && !result_holds(&d->job[id.v], r)) {
		log_line(LOG_WARNING,
		    "worker %s: its result for %s does not hold: dropped",
		    p->name, d->job[id.v].label);
		peer_gone(d, p, "its result did not hold");
		return 0;
	}
	switch (sched_done(
	    d->sched, monotime_ms(), p->worker, id, attempt, fingerprint)) {
	case SCHED_ACCEPTED:
		job_done(d, p, id, r);
		break;
	case SCHED_DIFFERS:
		return err_set(e, ERR_FATAL, 0,
		    "%s is not reproducible: worker %s made other bytes than "
		    "worker %s",
		    d->job[id.v].label, p->name, d->job[id.v].worker);
	case SCHED_DUPLICATE:
	case SCHED_UNKNOWN:
		break;
	}
	return 0;
}

static int
on_done(
    struct dispatch *d, struct peer *p, const struct msg_done *m, struct err *e)
{
	return on_result(
	    d, p, m->job, m->attempt, &m->result.digest, &m->result, e);
}

static int
on_sized(struct dispatch *d, struct peer *p, const struct msg_sized *m,
    struct err *e)
{
	struct layer_result r = {
	    .tar_size = m->tar_size, .entries = m->entries};
	struct digest fingerprint;

	digest_of(&m->tar_size, sizeof(m->tar_size), &fingerprint);
	return on_result(d, p, m->job, m->attempt, &fingerprint, &r, e);
}

static void
on_fail(struct dispatch *d, const struct peer *p, const struct msg_fail *m)
{
	struct job_id id;

	if (!job_of(d, m->job, &id))
		return;
	log_line(LOG_DEBUG, "worker=%s %s attempt=%llu: %s", p->name,
	    d->job[id.v].label, (unsigned long long)m->attempt, m->text);
	progress_job_end(d->progress, (size_t)p->worker.v, (size_t)id.v,
	    d->job[id.v].label, 0, 0, false);
	sched_fail(d->sched, monotime_ms(), p->worker, id, m->attempt, m->kind,
	    m->text);
}

static int
on_message(struct dispatch *d, const struct link_peer *link,
    const struct msg *m, struct err *e)
{
	struct peer *p = peer_by_link(d, link);

	if (m->type == MSG_HELLO)
		return on_hello(d, link, &m->hello, e);
	if (p == NULL) {
		log_line(LOG_DEBUG, "%s from a worker that is not known",
		    msg_name(m->type));
		return 0;
	}
	switch (m->type) {
	case MSG_BEAT:
		on_beat(d, p, &m->beat);
		return 0;
	case MSG_SIZED:
		return on_sized(d, p, &m->sized, e);
	case MSG_DONE:
		return on_done(d, p, &m->done, e);
	case MSG_FAIL:
		on_fail(d, p, &m->fail);
		return 0;
	case MSG_BYE:
		peer_gone(d, p, "left");
		return 0;
	case MSG_HELLO:
	case MSG_WELCOME:
	case MSG_REFUSE:
	case MSG_JOB:
	case MSG_ITEMS:
	case MSG_ENTRIES:
	case MSG_CANCEL:
		break;
	}
	log_line(LOG_WARNING,
	    "worker %s sent %s, which only a coordinator "
	    "sends: dropped",
	    p->name, msg_name(m->type));
	peer_gone(d, p, "broke the protocol");
	return 0;
}

/* All messages that are there. */
static int
receive(struct dispatch *d, struct err *e)
{
	for (;;) {
		struct err bad = ERR_INIT;
		struct link_peer link;
		struct msg m;
		struct peer *p;
		int rc = link_recv(d->link, &link, &m, &bad);

		if (rc == 0)
			return 0;
		if (rc < 0 && bad.kind != ERR_PEER) {
			*e = bad;
			return -1;
		}
		if (rc < 0) {
			log_line(LOG_WARNING, "message refused: %s", bad.text);
			if ((p = peer_by_link(d, &link)) != NULL)
				peer_gone(d, p, "broke the protocol");
			continue;
		}
		rc = on_message(d, &link, &m, e);
		msg_clear(&m);
		if (rc < 0)
			return -1;
	}
}

/* Local workers that ended: their jobs go elsewhere, others take their place.
 */
static int
replace(struct dispatch *d, struct err *e)
{
	struct signalfd_siginfo info;
	struct local_exit gone;

	while (read(d->child_fd, &info, sizeof(info)) > 0)
		;
	while (local_workers_ended(d->local, &gone)) {
		for (size_t i = 0; i < d->n_peers; i++)
			if (d->peer[i].local == gone.pid) {
				log_line(LOG_INFO,
				    "worker %s: %s; another "
				    "one takes its place",
				    d->peer[i].name, gone.why);
				peer_gone(d, &d->peer[i], gone.why);
				break;
			}
		if (gone.at_start && ++d->start_failures == START_FAILURES_MAX)
			return err_set(e, ERR_FATAL, 0,
			    "workers end before they say a word: %s "
			    "(--worker-program names another program)",
			    gone.why);
		if (local_workers_start(d->local, gone.slots, e) < 0)
			return -1;
	}
	return 0;
}

static void
send_job(struct dispatch *d, const struct sched_action *a)
{
	struct peer *p = peer_by_worker(d, a->worker);
	struct err e = ERR_INIT;

	if (p == NULL)
		return;
	d->started[a->job.v] = monotime_ms();
	if (job_send(d->link, &p->link, &d->job[a->job.v], d->base + a->job.v,
		a->attempt, &e) < 0) {
		log_line(LOG_DEBUG, "worker=%s: %s", p->name, e.text);
		peer_gone(d, p, "cannot be reached");
	}
}

static void
send_cancel(struct dispatch *d, const struct sched_action *a)
{
	struct peer *p = peer_by_worker(d, a->worker);
	struct msg m = {.type = MSG_CANCEL,
	    .cancel = {.job = d->base + a->job.v, .attempt = a->attempt}};
	struct err e = ERR_INIT;

	/* What cannot be told runs in vain; its answer changes nothing. */
	if (p != NULL && link_send(d->link, &p->link, &m, &e) < 0)
		log_line(LOG_DEBUG, "worker=%s: %s", p->name, e.text);
}

/* Why the job failed for good, for people: the last reasons. */
static int
job_failed(const struct dispatch *d, struct job_id id, struct err *e)
{
	unsigned n = sched_failures(d->sched, id);
	const char *label = d->job[id.v].label, *why;
	enum err_kind kind;

	if (n == 0)
		return err_set(e, ERR_FATAL, 0, "%s: out of memory", label);
	why = sched_reason(d->sched, id, n - 1, &kind);
	if (kind == ERR_JOB)
		return err_set(e, ERR_JOB, 0, "%s: %s", label, why);
	err_set(e, ERR_FATAL, 0, "%.280s", why);
	while (n-- > 1)
		err_ctx(e, "%.280s; then",
		    sched_reason(d->sched, id, n - 1, &kind));
	return err_ctx(e, "%s: failed too often", label);
}

static int
act_one(struct dispatch *d, const struct sched_action *a, struct err *e)
{
	struct peer *p;

	switch (a->kind) {
	case SCHED_SEND:
		send_job(d, a);
		break;
	case SCHED_CANCEL:
		send_cancel(d, a);
		break;
	case SCHED_DROP:
		if ((p = peer_by_worker(d, a->worker)) == NULL)
			break;
		log_line(LOG_WARNING,
		    "worker %s is silent: its jobs go elsewhere", p->name);
		peer_gone(d, p, "no sign of life");
		break;
	case SCHED_FAILED:
		return job_failed(d, a->job, e);
	}
	return 0;
}

/*
 * Takes what came and does what follows, until nothing does: the last call
 * on the socket is then a receive that found nothing, as link_fd wants.
 */
static int
settle(struct dispatch *d, struct err *e)
{
	struct sched_action a;
	bool acted;

	do {
		if (receive(d, e) < 0)
			return -1;
		acted = false;
		while (sched_next(d->sched, monotime_ms(), &a)) {
			acted = true;
			if (act_one(d, &a, e) < 0)
				return -1;
		}
	} while (acted);
	return 0;
}

static int
loop(struct dispatch *d, struct err *e)
{
	struct pollfd fds[2] = {
	    {.fd = link_fd(d->link), .events = POLLIN},
	    {.fd = d->child_fd, .events = POLLIN},
	};

	for (;;) {
		int64_t now = monotime_ms(), until;
		int tick = progress_tick(d->progress, now);

		if (settle(d, e) < 0)
			return -1;
		if (sched_open(d->sched) == 0)
			return 0;
		until = sched_deadline(d->sched) - now;
		if (until > 1000)
			until = 1000;
		if (tick >= 0 && tick < until)
			until = tick;
		if (until < 0)
			until = 0;
		if (poll(fds, 2, (int)until) < 0 && errno != EINTR)
			return err_set(e, ERR_FATAL, errno, "poll");
		if (replace(d, e) < 0)
			return -1;
	}
}

static int
run_start(struct dispatch *d, struct dispatch_job *job, size_t n, struct err *e)
{
	const struct sched_config config = {
	    .silent_ms = SILENT_MS,
	    .lease_ms = LEASE_MS,
	    .poison = POISON,
	};
	uint64_t bytes = 0;

	d->job = job;
	d->n_jobs = n;
	if ((d->started = calloc(n + 1, sizeof(*d->started))) == NULL)
		return err_set(e, ERR_FATAL, errno, "jobs");
	if (sched_new(&config, &d->sched, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct job_id id;

		if (sched_add_job(d->sched, job[i].weight, &id, e) < 0)
			return -1;
		assert(id.v == i);
		bytes += job[i].weight;
	}
	for (size_t i = 0; i < d->n_peers; i++)
		if (sched_worker_up(d->sched, monotime_ms(), d->peer[i].worker,
			d->peer[i].slots, d->peer[i].name, e) < 0)
			return -1;
	progress_totals(d->progress, n, bytes);
	return 0;
}

int
dispatch_run(
    struct dispatch *d, struct dispatch_job *job, size_t n, struct err *e)
{
	if (run_start(d, job, n, e) < 0 || loop(d, e) < 0)
		return -1;
	sched_freep(&d->sched);
	own_freep(&d->started);
	d->base += n;
	d->n_jobs = 0;
	d->job = NULL;
	return 0;
}
