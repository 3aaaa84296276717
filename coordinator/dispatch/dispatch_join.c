#include "dispatch/dispatch_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transfer/blob_fetch.h"
#include "dispatch/dispatch.h"
#include "err.h"
#include "dispatch/local_workers.h"
#include "log.h"
#include "own.h"
#include "progress/progress.h"
#include "progress/status.h"
#include "protocol.h"

/* How often workers tell how far they are. */
#define BEAT_MS 200
/*
 * Whose beat is missing, and late by as long again, may be somewhere else by
 * now.
 */
#define TAKE_OVER_MS (2 * MSG_IDLE_BEATS * BEAT_MS)
/* It says HELLO once more after a second: then WELCOME did not get there. */
#define WELCOME_LOST_MS (4 * BEAT_MS)
/* HELLOs, a second apart, of one that is here and not silent. */
#define TWICE_MAX 5

/*
 * A worker that cannot be used is told why.  If it is one of this machine
 * another one would be like it.
 */
static int
refuse(const struct dispatch *d, const struct dispatch_from *from,
    const struct msg_hello *hello, const char *why, struct err *e)
{
	const struct msg m = {.type = MSG_REFUSE, .refuse = {.text = why}};

	dispatch_say(from, &m);
	if (from->via == d->link)
		return err_set(e, ERR_FATAL, 0,
		    "%s: use the quarry-worker of the same version "
		    "(--worker-program names it)",
		    why);
	log_line(LOG_WARNING, "worker %.40s/%llu was refused: %s", hello->host,
	    (unsigned long long)hello->pid, why);
	return 0;
}

/*
 * What logs and metrics call it: nobody else who is here is called so, not
 * even one of another container with the same host name and number.
 */
static void
name_peer(
    const struct dispatch *d, struct peer *p, const struct msg_hello *hello)
{
	char name[sizeof(p->name)];
	size_t len;

	snprintf(name, sizeof(name), "%.40s/%llu", hello->host,
	    (unsigned long long)hello->pid);
	status_name(p->name, sizeof(p->name), name);
	len = strlen(p->name);
	for (size_t i = 0; i < d->n_peers; i++)
		if (strcmp(d->peer[i].name, p->name) == 0) {
			snprintf(p->name + len, sizeof(p->name) - len, "#%zu",
			    dispatch_worker_index(p->worker) + 1);
			return;
		}
}

static int
peer_new(struct dispatch *d, const struct dispatch_from *from,
    const struct msg_hello *hello, struct err *e)
{
	struct peer new = {
	    .via = from->via,
	    .link = from->link,
	    .slots = (size_t)hello->slots,
	    .room = (size_t)hello->slots + 1,
	    .fetches = hello->fetches,
	    .rate = hello->speed[d->kind],
	    .heard = dispatch_now(d),
	};
	struct peer *p = &new;
	char host[MSG_NAME_MAX + 1] = "";

	if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = '\0';
	new.near = from->via == d->link || strcmp(hello->host, host) == 0;
	if (peer_reserve(d, e) < 0)
		return -1;
	p->worker = peer_worker_id(d);
	name_peer(d, p, hello);
	memcpy(p->instance, hello->instance, sizeof(p->instance));
	if (from->via == d->link &&
	    local_workers_ready(d->local, (pid_t)hello->pid))
		p->local = (pid_t)hello->pid;
	if (from->via == d->remote &&
	    blob_fetch_worker(d->fetch, p->name, p->link.key, p->token, e) < 0)
		return -1;
	p = peer_add(d, &new);
	d->room += p->room;
	if (dispatch_locality_joined(d, p, e) < 0)
		return -1;
	dispatch_shared_joined(d, p);
	d->seen.joins++;
	if (p->via == d->remote)
		log_line(LOG_INFO, "worker %s has joined: %zu slot%s", p->name,
		    p->slots, p->slots == 1 ? "" : "s");
	d->start_failures = 0;
	progress_worker_up(
	    d->progress, dispatch_worker_index(p->worker), p->name);
	return 0;
}

/* The leases of a worker that is back, but for those that it holds. */
static int
take_back(struct dispatch *d, const struct peer *p,
    const struct msg_hello *hello, struct err *e)
{
	AUTO(own_freep) struct sched_held *held = NULL;
	size_t n = 0;

	if (d->sched == NULL)
		return 0;
	held = calloc(hello->n_held + d->n_pulls + 1, sizeof(*held));
	if (held == NULL)
		return err_set(e, ERR_FATAL, errno, "jobs");
	if (hello->session == d->session)
		for (size_t i = 0; i < hello->n_held; i++) {
			const struct msg_attempt *h = &hello->held[i];
			const struct task *t = dispatch_task_of(d, h->job);

			if (t != NULL)
				held[n++] =
				    (struct sched_held){t->id, h->attempt};
		}
	n += dispatch_blobs_held(d, p, held + n);
	sched_worker_back(d->sched, dispatch_now(d), p->worker, held, n);
	return 0;
}

/*
 * A worker that is known says HELLO from elsewhere.  If the old connection is
 * silent it has a new one, and goes on; if not there are two of it.  *why:
 * NULL if it is taken in; "" if it is to ask again, as it does in a second.
 */
static int
take_over(struct dispatch *d, struct peer *p, const struct dispatch_from *from,
    const struct msg_hello *hello, const char **why, struct err *e)
{
	int64_t now = dispatch_now(d);

	*why = NULL;
	if (now - p->heard < TAKE_OVER_MS) {
		*why = ++p->twice < TWICE_MAX
		    ? ""
		    : "the same worker is here already";
		return 0;
	}
	peer_relink(d, p, from);
	p->heard = now;
	p->twice = 0;
	log_line(LOG_INFO, "worker %s is back", p->name);
	return take_back(d, p, hello, e);
}

static void
version_text(const struct msg_hello *hello, char *out, size_t size)
{
	snprintf(out, size,
	    "worker %.80s/%llu is version %.40s with protocol %llu; this "
	    "quarry is version %s with protocol %d",
	    hello->host, (unsigned long long)hello->pid, hello->program,
	    (unsigned long long)hello->protocol, QUARRY_VERSION,
	    PROTOCOL_VERSION);
}

/*
 * *in_vain: it is a new one here, whatever it holds.  *why: as take_over's.
 */
static int
let_in(struct dispatch *d, const struct dispatch_from *from,
    const struct msg_hello *hello, bool *in_vain, const char **why,
    struct err *e)
{
	struct peer *p = peer_by_link(d, from);

	if (p != NULL) {
		/* It beats from WELCOME on: that was lost, and jobs with it. */
		if (dispatch_now(d) - p->heard < WELCOME_LOST_MS)
			return 0;
		p->heard = dispatch_now(d);
		return take_back(d, p, hello, e);
	}
	if ((p = peer_by_instance(d, from->via, hello->instance)) != NULL)
		return take_over(d, p, from, hello, why, e);
	*in_vain = true;
	return peer_new(d, from, hello, e);
}

/* It was given up meanwhile, and all that it holds has gone elsewhere. */
static void
cancel_held(const struct dispatch_from *from, const struct msg_hello *hello)
{
	for (size_t i = 0; i < hello->n_held; i++) {
		struct msg m = {.type = MSG_CANCEL,
		    .cancel = {hello->held[i].job, hello->held[i].attempt}};

		dispatch_say(from, &m);
	}
}

int
dispatch_hello(struct dispatch *d, const struct dispatch_from *from,
    const struct msg_hello *hello, struct err *e)
{
	struct msg m = {.type = MSG_WELCOME,
	    .welcome = {.protocol = PROTOCOL_VERSION,
		.beat_ms = BEAT_MS,
		.session = d->session,
		.data = "",
		.push_to = ""}};
	const char *why = NULL;
	char text[384];
	bool in_vain = false;

	if (hello->protocol != PROTOCOL_VERSION ||
	    strcmp(hello->program, QUARRY_VERSION) != 0) {
		version_text(hello, text, sizeof(text));
		return refuse(d, from, hello, text, e);
	}
	why = dispatch_remote_refusal(d,
	    from->via == d->remote ? &from->link : NULL, hello, text,
	    sizeof(text));
	if (why == NULL && let_in(d, from, hello, &in_vain, &why, e) < 0)
		return -1;
	if (why != NULL)
		return *why == '\0' ? 0 : refuse(d, from, hello, why, e);
	if (from->via == d->remote) {
		d->joined = true;
		m.welcome.data = blob_fetch_welcome(d->fetch);
		memcpy(m.welcome.token, peer_by_link(d, from)->token,
		    sizeof(m.welcome.token));
	}
	dispatch_say(from, &m);
	dispatch_push_joined(d, peer_by_link(d, from));
	dispatch_locality_ask(d, peer_by_link(d, from));
	if (in_vain && hello->session == d->session)
		cancel_held(from, hello);
	return 0;
}
