#include "transfer/blob_fetch_state.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "transfer/blob_check.h"
#include "transfer/blob_source.h"
#include "link.h"
#include "monotime.h"
#include "own.h"
#include "wake_fd.h"

/* Messages between two looks at everything else. */
#define BATCH 64
/* Releases that are said again at one DATA_HELLO. */
#define RELEASES_AGAIN 64
/* Shared files that are read at a time, one step each. */
#define CHECKS_MAX 4
/* Nothing is waited for longer: the clock may be looked at now and then. */
#define WAIT_MAX_MS 60000
#define FILES_MS 30000
#define FILES_AGAIN_MS 200

static bool
same_id(const struct data_id *a, const struct data_id *b)
{
	return a->job == b->job && a->attempt == b->attempt;
}

static void
tell_release(struct blob_fetch *f, struct blob_source *s,
    const struct blob_release *release)
{
	struct data_msg m = {
	    .type = release->committed ? DATA_MSG_COMMITTED : DATA_MSG_DROP};
	struct err e = ERR_INIT;

	if (release->committed)
		m.committed.id = release->id;
	else
		m.drop.id = release->id;
	/* It is said again until it is confirmed. */
	if (s->connected && link_send_data(f->link, &s->peer, &m, &e) < 0)
		s->connected = false;
}

static void
release(struct blob_fetch *f, struct blob_source *s, const struct data_id *id,
    bool committed)
{
	const struct blob_release *r = blob_source_release(s, id, committed);

	if (r != NULL)
		tell_release(f, s, r);
}

/* Stops what goes on for the task; its files that are not whole vanish. */
static void
halt(struct blob_fetch *f, struct task *task)
{
	if (task->transfer != NULL) {
		f->n_pulls--;
		task->source->active--;
	}
	if (task->check != NULL)
		f->n_checks--;
	f->room = true;
	blob_transfer_free(task->transfer);
	blob_check_free(task->check);
	task->transfer = NULL;
	task->check = NULL;
}

/*
 * The task is over, with *why if that is set.  From here on it belongs to who
 * takes the outcome.
 */
static void
finish(struct blob_fetch *f, struct task *task, const struct err *why)
{
	halt(f, task);
	if (why->kind != ERR_NONE) {
		task->err = *why;
		if (task->source != NULL && why->kind != ERR_FATAL)
			err_ctx(&task->err, "%s %s", task->source->what,
			    task->source->name);
	}
	if (task->source != NULL && task->request.way == BLOB_PULL &&
	    !(task->request.keep && why->kind == ERR_NONE))
		release(
		    f, task->source, &task->request.id, why->kind == ERR_NONE);
	task->source = NULL;
	task->broken = f->broken.kind != ERR_NONE;
	pthread_mutex_lock(&f->lock);
	task_unlink(&f->tasks, &f->tasks_end, task);
	task_push(&f->done_end, task);
	wake_fd_set(f->done_fd);
	pthread_mutex_unlock(&f->lock);
}

static struct task *
find_task(
    struct task *list, const struct blob_source *s, const struct data_id *id)
{
	while (list != NULL &&
	    (list->source != s || !same_id(&list->request.id, id)))
		list = list->next;
	return list;
}

/* Commands. */

static void
begin_task(struct blob_fetch *f, struct task *task)
{
	struct err why = ERR_INIT;

	pthread_mutex_lock(&f->lock);
	task_push(&f->tasks_end, task);
	pthread_mutex_unlock(&f->lock);
	task->source = blob_source_by_token(f->sources, task->request.token);
	if (f->broken.kind != ERR_NONE)
		why = f->broken;
	else if (task->source == NULL)
		err_set(&why, ERR_RETRY, 0, "the worker is gone");
	if (why.kind != ERR_NONE)
		finish(f, task, &why);
}

static void
drop_task(struct blob_fetch *f, const uint8_t *token, const struct data_id *id)
{
	struct blob_source *s = blob_source_by_token(f->sources, token);
	struct task *task;

	if (s == NULL)
		return;
	if ((task = find_task(f->tasks, s, id)) != NULL) {
		halt(f, task);
		pthread_mutex_lock(&f->lock);
		task_unlink(&f->tasks, &f->tasks_end, task);
		pthread_mutex_unlock(&f->lock);
		task_free(task);
	}
	release(f, s, id, false);
}

static void
worker_gone(struct blob_fetch *f, const uint8_t *token)
{
	struct blob_source *s = blob_source_by_token(f->sources, token), **at;
	struct err why = ERR_INIT;
	struct task *task, *next;

	if (s == NULL)
		return;
	err_set(&why, ERR_RETRY, 0, "it is gone");
	for (task = f->tasks; task != NULL; task = next) {
		next = task->next;
		if (task->source == s)
			finish(f, task, &why);
	}
	for (at = &f->sources; *at != s; at = &(*at)->next)
		;
	*at = s->next;
	blob_source_free(s);
}

static void
run_command(struct blob_fetch *f, struct command *c)
{
	switch (c->kind) {
	case COMMAND_ADD:
		begin_task(f, STEAL(&c->task));
		break;
	case COMMAND_DROP:
		drop_task(f, c->token, &c->id);
		break;
	case COMMAND_WORKER:
		c->source->next = f->sources;
		f->sources = STEAL(&c->source);
		break;
	case COMMAND_GONE:
		worker_gone(f, c->token);
		break;
	}
}

/* False: it is time to end. */
static bool
take_commands(struct blob_fetch *f)
{
	struct command *c, *next;
	bool stop;

	pthread_mutex_lock(&f->lock);
	wake_fd_clear(f->wake_fd);
	c = f->commands;
	f->commands = NULL;
	f->commands_end = &f->commands;
	stop = f->stop;
	pthread_mutex_unlock(&f->lock);
	for (; c != NULL; c = next) {
		next = c->next;
		if (!stop)
			run_command(f, c);
		command_free(c);
	}
	return !stop;
}

/* Messages. */

static void
release_again(struct blob_fetch *f, struct blob_source *s)
{
	for (size_t i = 0; i < s->n_releases && i < RELEASES_AGAIN; i++)
		tell_release(f, s, &s->release[i]);
}

/* What was asked for on the connection before may be lost. */
static void
restart(struct blob_fetch *f, const struct blob_source *s)
{
	for (struct task *t = f->tasks; t != NULL; t = t->next)
		if (t->source == s && t->transfer != NULL)
			blob_transfer_restart(t->transfer);
}

/*
 * A worker says whose its connection is; a server, that it knows this one,
 * which is new.
 */
static void
on_hello(struct blob_fetch *f, const struct link_peer *peer,
    const struct data_msg_data_hello *m)
{
	struct blob_source *s = blob_source_by_token(f->sources, m->token);

	/* A token alone is not enough where keys say who somebody is. */
	if (s == NULL || strcmp(s->key, peer->key) != 0)
		return;
	if (blob_source_tie(f->sources, s, peer) || s == f->server)
		restart(f, s);
	f->greeted = true;
	f->unanswered = false;
	release_again(f, s);
}

/*
 * Where something could not be sent, and this can, there is a connection
 * again.  Of a new one the server will say so; of the same one, whose queue
 * was full, it says nothing until the next time.
 */
static int
say_hello(struct blob_fetch *f, struct err *e)
{
	const struct link_peer same = {.len = 0};
	int rc;

	if (f->server == NULL)
		return 0;
	rc = data_hello_say(&f->hello, f->link, monotime_ms(), e);
	if (rc <= 0)
		return rc;
	if (f->greeted && f->unanswered &&
	    blob_source_tie(f->sources, f->server, &same))
		restart(f, f->server);
	f->unanswered = !f->server->connected;
	release_again(f, f->server);
	return 0;
}

static void
on_chunk(struct blob_fetch *f, struct task *task, const struct data_msg *m)
{
	struct err why = ERR_INIT;

	blob_transfer_chunk(task->transfer, monotime_ms(), &m->chunk, &why);
	atomic_store(&task->bytes, blob_transfer_bytes(task->transfer));
	if (why.kind != ERR_NONE || blob_transfer_done(task->transfer))
		finish(f, task, &why);
}

/* What is not for a transfer that is on came too late: it changes nothing. */
static void
on_message(struct blob_fetch *f, const struct link_peer *peer,
    const struct data_msg *m)
{
	struct blob_source *s = blob_source_by_peer(f->sources, peer);
	struct err why = ERR_INIT;
	struct task *task;

	if (m->type == DATA_MSG_HELLO) {
		on_hello(f, peer, &m->data_hello);
	} else if (s == NULL) {
		return;
	} else if (m->type == DATA_MSG_RELEASED) {
		blob_source_released(s, &m->released.id);
	} else if (m->type == DATA_MSG_CHUNK) {
		task = find_task(f->tasks, s, &m->chunk.id);
		if (task != NULL && task->transfer != NULL)
			on_chunk(f, task, m);
	} else if (m->type == DATA_MSG_PULL_FAIL) {
		task = find_task(f->tasks, s, &m->pull_fail.id);
		if (task != NULL && task->transfer != NULL &&
		    blob_transfer_failed(task->transfer, &m->pull_fail, &why) <
			0)
			finish(f, task, &why);
	}
}

/* A message that is none of ours: what its sender does for us ends. */
static void
on_fault(
    struct blob_fetch *f, const struct link_peer *peer, const struct err *why)
{
	struct blob_source *s = blob_source_by_peer(f->sources, peer);
	struct task *task, *next;

	for (task = f->tasks; s != NULL && task != NULL; task = next) {
		next = task->next;
		if (task->source == s && task->transfer != NULL)
			finish(f, task, why);
	}
}

/* 1: there may be more; 0: that was all. */
static int
receive(struct blob_fetch *f, struct err *e)
{
	for (int i = 0; i < BATCH; i++) {
		struct err why = ERR_INIT;
		struct link_peer peer = {.len = 0};
		struct data_msg m;
		int rc = link_recv_data(f->link, &peer, &m, &why);

		if (rc == 0)
			return 0;
		if (rc < 0 && why.kind != ERR_PEER) {
			*e = why;
			return -1;
		}
		if (rc < 0)
			on_fault(f, &peer, &why);
		else
			on_message(f, &peer, &m);
		data_msg_clear(&m);
	}
	return 1;
}

/* Work. */

/* Strangers may hold all descriptors for a while: that is not the end. */
static bool
wait_for_files(struct task *task, const struct err *why)
{
	int64_t now = monotime_ms();

	if (why->sys != EMFILE && why->sys != ENFILE)
		return false;
	if (task->patience == 0)
		task->patience = now + FILES_MS;
	return now < task->patience;
}

static void
start_pull(struct blob_fetch *f, struct task *task)
{
	struct err why = ERR_INIT;

	if (f->n_pulls == f->config.transfers ||
	    task->source->active == DATA_TRANSFERS_MAX)
		return;
	if (blob_transfer_new(&task->request, &f->config.pace, f->behind,
		monotime_ms(), &task->transfer, &why) == 0) {
		f->n_pulls++;
		task->source->active++;
		if (!blob_transfer_done(task->transfer))
			return;
	} else if (wait_for_files(task, &why)) {
		return;
	}
	finish(f, task, &why);
}

static void
start_check(struct blob_fetch *f, struct task *task)
{
	int64_t until = monotime_ms() + f->config.shown_ms;
	struct err why = ERR_INIT;

	if (f->n_checks == CHECKS_MAX)
		return;
	if (blob_check_new(&task->request, until, &task->check, &why) == 0)
		f->n_checks++;
	else
		finish(f, task, &why);
}

/* First come, first served, but no worker with more than its share. */
static void
start_tasks(struct blob_fetch *f)
{
	struct task *task, *next;

	f->room = false;
	for (task = f->tasks; task != NULL; task = next) {
		next = task->next;
		if (task->transfer != NULL || task->check != NULL)
			continue;
		if (task->request.way == BLOB_PULL)
			start_pull(f, task);
		else
			start_check(f, task);
	}
}

/* Whether anything was sent. */
static bool
ask(struct blob_fetch *f, struct task *task)
{
	struct data_msg m = {.type = DATA_MSG_PULL};
	struct blob_source *s = task->source;
	struct err e = ERR_INIT;
	bool sent = false;

	while (s->connected && blob_transfer_ask(task->transfer, &m.pull)) {
		sent = true;
		/* Its next DATA_HELLO ties it again, and it is asked again. */
		if (link_send_data(f->link, &s->peer, &m, &e) < 0)
			s->connected = false;
	}
	return sent;
}

/* Whether there is more to do at once. */
static bool
check(struct blob_fetch *f, struct task *task, int64_t now)
{
	struct err why = ERR_INIT;
	int rc = blob_check_step(task->check, now, &why);

	if (rc == 0)
		return blob_check_wait(task->check) <= now;
	finish(f, task, &why);
	return true;
}

/* One round over all that is on; true: the next one shall not wait. */
static bool
work(struct blob_fetch *f, bool all_came)
{
	int64_t now = monotime_ms();
	struct task *task, *next;
	bool busy = false;

	for (task = f->tasks; task != NULL; task = next) {
		struct err why = ERR_INIT;

		next = task->next;
		if (task->check != NULL) {
			/* A task that has finished is another thread's. */
			busy |= check(f, task, now);
			continue;
		}
		if (task->transfer == NULL)
			continue;
		/* Not while what came is still to be looked at. */
		if (all_came &&
		    blob_transfer_tick(task->transfer, now, &why) < 0) {
			finish(f, task, &why);
			busy = true;
			continue;
		}
		busy |= ask(f, task);
	}
	return busy;
}

static void
wait_for_work(struct blob_fetch *f)
{
	struct pollfd fds[] = {
	    {link_fd(f->link), POLLIN, 0}, {f->wake_fd, POLLIN, 0}};
	int64_t now = monotime_ms(), until = now + WAIT_MAX_MS;

	if (f->server != NULL && f->hello.next < until)
		until = f->hello.next;
	for (const struct task *task = f->tasks; task != NULL;
	     task = task->next) {
		int64_t at = until;

		if (task->transfer != NULL)
			at = blob_transfer_deadline(task->transfer);
		else if (task->check != NULL)
			at = blob_check_wait(task->check);
		else if (task->patience != 0)
			at = now + FILES_AGAIN_MS;
		until = at < until ? at : until;
	}
	/* A socket that has failed would be readable for ever. */
	if (f->broken.kind != ERR_NONE) {
		fds[0].fd = -1;
		until = now + WAIT_MAX_MS;
	}
	poll(fds, 2, until > now ? (int)(until - now) : 0);
}

static void
break_down(struct blob_fetch *f, const struct err *why)
{
	f->broken = *why;
	err_ctx(&f->broken, "data socket");
	while (f->tasks != NULL)
		finish(f, f->tasks, &f->broken);
}

void *
blob_fetch_thread(void *arg)
{
	struct blob_fetch *f = arg;

	while (take_commands(f)) {
		struct err e = ERR_INIT;
		bool busy = false;
		int rc;

		if (f->broken.kind == ERR_NONE) {
			start_tasks(f);
			/* Last before sleeping: see link_recv. */
			if (say_hello(f, &e) < 0 || (rc = receive(f, &e)) < 0)
				break_down(f, &e);
			else
				busy = work(f, rc == 0) || rc > 0 || f->room;
		}
		if (!busy)
			wait_for_work(f);
	}
	return NULL;
}
