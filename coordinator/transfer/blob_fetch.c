#include "transfer/blob_fetch.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transfer/blob_check.h"
#include "transfer/blob_fetch_state.h"
#include "transfer/blob_source.h"
#include "data_endpoint.h"
#include "link.h"
#include "own.h"
#include "quiet_thread.h"
#include "wake_fd.h"
#include "write_behind.h"

/* Lists of tasks: one way, with the place of the last pointer. */

void
task_push(struct task ***end, struct task *task)
{
	task->next = NULL;
	**end = task;
	*end = &task->next;
}

void
task_unlink(struct task **head, struct task ***end, struct task *task)
{
	struct task **at = head;

	while (*at != task)
		at = &(*at)->next;
	if ((*at = task->next) == NULL)
		*end = at;
	task->next = NULL;
}

void
task_free(struct task *task)
{
	if (task == NULL)
		return;
	blob_transfer_free(task->transfer);
	blob_check_free(task->check);
	blob_request_clear(&task->request);
	free(task);
}

void
command_free(struct command *c)
{
	task_free(c->task);
	blob_source_free(c->source);
	free(c);
}

void
blob_fetch_defaults(struct blob_fetch_config *config)
{
	*config = (struct blob_fetch_config){
	    .transfers = BLOB_FETCH_TRANSFERS,
	    .pace = {.window = DATA_WINDOW_MAX,
		.silent_ms = BLOB_FETCH_SILENT_MS,
		.tries = BLOB_FETCH_TRIES},
	    .shown_ms = BLOB_FETCH_SHOWN_MS,
	    .hello_ms = DATA_HELLO_MS,
	};
}

static int
listen_for_workers(void *ctx, const struct blob_fetch_config *config,
    struct blob_fetch *f, struct err *e)
{
	if (link_listen_data(ctx, config->endpoint, config->keys, &f->link, e) <
	    0)
		return -1;
	data_endpoint_welcome(
	    link_endpoint(f->link), f->welcome, sizeof(f->welcome));
	return 0;
}

static int
connect_to_server(void *ctx, const struct blob_fetch_config *config,
    struct blob_fetch *f, struct err *e)
{
	const struct blob_fetch_server *server = config->server;

	if (blob_source_server(server->name, server->token, &f->server, e) < 0)
		return -1;
	f->sources = f->server;
	f->hello.every_ms = config->hello_ms;
	memcpy(f->hello.token, server->token, sizeof(f->hello.token));
	return link_connect_data(
	    ctx, config->endpoint, config->keys, &f->link, e);
}

int
blob_fetch_new(void *ctx, const struct blob_fetch_config *config,
    struct blob_fetch **out, struct err *e)
{
	AUTO(blob_fetch_freep) struct blob_fetch *f = NULL;
	int rc;

	if ((f = calloc(1, sizeof(*f))) == NULL)
		return err_set(e, ERR_FATAL, errno, "data socket");
	f->config = *config;
	f->config.endpoint = NULL;
	f->config.keys = NULL;
	f->config.server = NULL;
	f->commands_end = &f->commands;
	f->tasks_end = &f->tasks;
	f->done_end = &f->done;
	pthread_mutex_init(&f->lock, NULL);
	f->wake_fd = wake_fd_new();
	f->done_fd = wake_fd_new();
	if (f->wake_fd < 0 || f->done_fd < 0)
		return err_set(e, ERR_FATAL, errno, "data socket");
	if (write_behind_new(&f->behind, e) < 0)
		return -1;
	if (config->server != NULL ? connect_to_server(ctx, config, f, e) < 0
				   : listen_for_workers(ctx, config, f, e) < 0)
		return -1;
	/* The socket is the thread's from here on, until it is joined. */
	if ((rc = quiet_thread(&f->thread, blob_fetch_thread, f)) != 0)
		return err_set(e, ERR_FATAL, rc, "data socket's thread");
	f->started = true;
	*out = STEAL(&f);
	return 0;
}

void
blob_fetch_free(struct blob_fetch *f)
{
	if (f == NULL)
		return;
	if (f->started) {
		pthread_mutex_lock(&f->lock);
		f->stop = true;
		wake_fd_set(f->wake_fd);
		pthread_mutex_unlock(&f->lock);
		pthread_join(f->thread, NULL);
	}
	link_close(f->link, 0);
	while (f->tasks != NULL) {
		struct task *task = f->tasks;

		task_unlink(&f->tasks, &f->tasks_end, task);
		task_free(task);
	}
	while (f->done != NULL) {
		struct task *task = f->done;

		task_unlink(&f->done, &f->done_end, task);
		task_free(task);
	}
	while (f->sources != NULL) {
		struct blob_source *s = f->sources;

		f->sources = s->next;
		blob_source_free(s);
	}
	write_behind_free(f->behind);
	own_closep(&f->wake_fd);
	own_closep(&f->done_fd);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

void
blob_fetch_freep(struct blob_fetch **f)
{
	blob_fetch_free(*f);
	*f = NULL;
}

const char *
blob_fetch_endpoint(const struct blob_fetch *f)
{
	return link_endpoint(f->link);
}

const char *
blob_fetch_welcome(const struct blob_fetch *f)
{
	return f->welcome;
}

int
blob_fetch_fd(const struct blob_fetch *f)
{
	return f->done_fd;
}

static int
put(struct blob_fetch *f, const struct command *command, struct err *e)
{
	struct command *c;

	if ((c = malloc(sizeof(*c))) == NULL)
		return err_set(e, ERR_FATAL, errno, "data socket");
	*c = *command;
	pthread_mutex_lock(&f->lock);
	*f->commands_end = c;
	f->commands_end = &c->next;
	wake_fd_set(f->wake_fd);
	pthread_mutex_unlock(&f->lock);
	return 0;
}

int
blob_fetch_worker(struct blob_fetch *f, const char *name, const char *key,
    uint8_t *token, struct err *e)
{
	struct command c = {.kind = COMMAND_WORKER};

	assert(f->server == NULL);
	if (blob_source_new("worker", name, key, &c.source, e) < 0)
		return -1;
	/* Once it is put it is the thread's. */
	memcpy(token, c.source->token, DATA_TOKEN_SIZE);
	if (put(f, &c, e) < 0) {
		blob_source_free(c.source);
		return -1;
	}
	return 0;
}

int
blob_fetch_worker_gone(
    struct blob_fetch *f, const uint8_t *token, struct err *e)
{
	struct command c = {.kind = COMMAND_GONE};

	assert(f->server == NULL);
	memcpy(c.token, token, sizeof(c.token));
	return put(f, &c, e);
}

int
blob_fetch_drop(struct blob_fetch *f, const uint8_t *token,
    const struct data_id *id, struct err *e)
{
	struct command c = {.kind = COMMAND_DROP, .id = *id};

	memcpy(c.token, token, sizeof(c.token));
	return put(f, &c, e);
}

int
blob_fetch_add(
    struct blob_fetch *f, const struct blob_request *r, struct err *e)
{
	struct command c = {.kind = COMMAND_ADD};

	if ((c.task = calloc(1, sizeof(*c.task))) == NULL)
		return err_set(e, ERR_FATAL, errno, "request");
	if (blob_request_copy(r, &c.task->request, e) < 0 ||
	    put(f, &c, e) < 0) {
		task_free(c.task);
		return -1;
	}
	return 0;
}

bool
blob_fetch_take(struct blob_fetch *f, struct blob_outcome *out)
{
	struct task *task;

	pthread_mutex_lock(&f->lock);
	if ((task = f->done) != NULL)
		task_unlink(&f->done, &f->done_end, task);
	if (f->done == NULL)
		wake_fd_clear(f->done_fd);
	pthread_mutex_unlock(&f->lock);
	if (task == NULL)
		return false;
	*out = (struct blob_outcome){
	    .id = task->request.id, .way = task->request.way};
	memcpy(out->token, task->request.token, sizeof(out->token));
	out->err = task->err;
	out->broken = task->broken;
	task_free(task);
	return true;
}

uint64_t
blob_fetch_bytes(struct blob_fetch *f, const struct data_id *id)
{
	uint64_t bytes = 0;

	pthread_mutex_lock(&f->lock);
	for (struct task *task = f->tasks; task != NULL; task = task->next)
		if (task->request.id.job == id->job &&
		    task->request.id.attempt == id->attempt)
			bytes = atomic_load(&task->bytes);
	pthread_mutex_unlock(&f->lock);
	return bytes;
}
