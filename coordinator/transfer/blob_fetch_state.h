/*
 * Inside of blob_fetch: its state, and what its two files call of each other.
 * blob_fetch.c is what other threads call, blob_fetch_thread.c the thread that
 * owns the socket.  For these two alone.
 */
#ifndef BLOB_FETCH_STATE_H
#define BLOB_FETCH_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "transfer/blob_fetch.h"
#include "data_hello.h"
#include "endpoint.h"
#include "err.h"

struct blob_check;
struct blob_source;
struct link;
struct write_behind;

struct task {
	struct blob_request request;
	struct blob_source *source; /* once the thread has it */
	struct blob_transfer *transfer;
	struct blob_check *check;
	atomic_uint_fast64_t bytes;
	int64_t patience; /* ms: until when it waits for descriptors; 0: not */
	struct err err;
	bool broken; /* the thread had failed */
	struct task *next;
};

enum command_kind { COMMAND_ADD, COMMAND_DROP, COMMAND_WORKER, COMMAND_GONE };

/* What the thread is to do; what it does not take is freed with it. */
struct command {
	enum command_kind kind;
	struct task *task;
	struct blob_source *source;
	uint8_t token[DATA_TOKEN_SIZE];
	struct data_id id;
	struct command *next;
};

struct blob_fetch {
	struct blob_fetch_config config;
	char welcome[ENDPOINT_MAX + 1];
	pthread_t thread;
	bool started;
	int wake_fd, done_fd;

	pthread_mutex_t lock;
	struct command *commands, **commands_end;
	struct task *tasks, **tasks_end; /* changed by the thread alone */
	struct task *done, **done_end;
	bool stop;

	/* The thread's. */
	struct link *link;
	struct blob_source *sources;
	struct blob_source *server; /* the only one, where it connects */
	struct data_hello hello;    /* said to the server */
	bool greeted;		    /* it has answered one, */
	bool unanswered;	    /* but not the last one, which it should */
	struct write_behind *behind;
	size_t n_pulls, n_checks; /* that are on */
	bool room;		  /* one of them has ended since others began */
	struct err broken;	  /* ends every request, once it is set */
};

/* A list of tasks has a head, and the place of its last pointer. */
void task_push(struct task ***end, struct task *task);
void task_unlink(struct task **head, struct task ***end, struct task *task);
void task_free(struct task *task);

void command_free(struct command *c);

/* The thread's main function; arg is the fetch. */
void *blob_fetch_thread(void *arg);

#endif
