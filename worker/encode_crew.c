#include "encode_crew.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "encoder.h"
#include "encoding.h"
#include "err.h"
#include "memory_gate.h"
#include "own.h"
#include "quiet_thread.h"
#include "timed_cond.h"

/* After so long without work a member gives its memory back. */
#define IDLE_MS 5000

struct encode_member {
	struct encode_crew *crew;
	struct encode_member *next; /* of all */
	struct encode_member *idle; /* the next one that is */
	pthread_t thread;
	pthread_cond_t change;
	bool given;    /* it has a chunk that is not done */
	bool borrowed; /* else it is on the list of idle ones */

	/* The thread's while a chunk is given, else the borrower's. */
	struct encoding encoding; /* of the encoder */
	struct encoder *encoder;  /* or NULL */
	uint64_t reserved;	  /* of memory, while it has one */
	uint8_t *chunk;		  /* or NULL */
	size_t room, len;
	const void *out;
	size_t out_len;
	struct err err;
};

struct encode_crew {
	struct memory_gate *gate;
	pthread_mutex_t lock; /* all below */
	size_t cores, layers, lent;
	bool stop;
	struct encode_member *all, *idle;
};

int
encode_crew_new(size_t cores, struct memory_gate *gate,
    struct encode_crew **out, struct err *e)
{
	struct encode_crew *crew = calloc(1, sizeof(*crew));

	if (crew == NULL)
		return err_set(e, ERR_FATAL, errno, "encoders");
	pthread_mutex_init(&crew->lock, NULL);
	crew->cores = cores;
	crew->gate = gate;
	*out = crew;
	return 0;
}

static void
member_forget(struct encode_member *m)
{
	if (m->reserved > 0)
		memory_gate_return(m->crew->gate, m->reserved);
	m->reserved = 0;
	encoder_freep(&m->encoder);
	free(m->chunk);
	m->chunk = NULL;
	m->room = 0;
}

static void
member_free(struct encode_member *m)
{
	member_forget(m);
	pthread_cond_destroy(&m->change);
	free(m);
}

void
encode_crew_free(struct encode_crew *crew)
{
	struct encode_member *m;

	if (crew == NULL)
		return;
	pthread_mutex_lock(&crew->lock);
	crew->stop = true;
	for (m = crew->all; m != NULL; m = m->next)
		pthread_cond_broadcast(&m->change);
	pthread_mutex_unlock(&crew->lock);
	while ((m = crew->all) != NULL) {
		crew->all = m->next;
		pthread_join(m->thread, NULL);
		member_free(m);
	}
	pthread_mutex_destroy(&crew->lock);
	free(crew);
}

void
encode_crew_freep(struct encode_crew **crew)
{
	encode_crew_free(*crew);
	*crew = NULL;
}

void
encode_crew_join(struct encode_crew *crew)
{
	pthread_mutex_lock(&crew->lock);
	crew->layers++;
	pthread_mutex_unlock(&crew->lock);
}

void
encode_crew_leave(struct encode_crew *crew)
{
	pthread_mutex_lock(&crew->lock);
	crew->layers--;
	pthread_mutex_unlock(&crew->lock);
}

/* Waits for a chunk; false: there will be none.  Under the lock. */
static bool
wait_for_chunk(struct encode_member *m)
{
	struct encode_crew *crew = m->crew;
	struct timespec until;

	while (!m->given && !crew->stop) {
		until = timed_cond_after(IDLE_MS);
		if (m->borrowed || m->encoder == NULL)
			pthread_cond_wait(&m->change, &crew->lock);
		else if (pthread_cond_timedwait(
			     &m->change, &crew->lock, &until) == ETIMEDOUT &&
		    !m->borrowed)
			member_forget(m);
	}
	return m->given;
}

static void *
run(void *arg)
{
	struct encode_member *m = arg;
	struct encode_crew *crew = m->crew;

	pthread_mutex_lock(&crew->lock);
	while (wait_for_chunk(m)) {
		pthread_mutex_unlock(&crew->lock);
		encoder_run(m->encoder, m->chunk, m->len, &m->out, &m->out_len,
		    &m->err);
		pthread_mutex_lock(&crew->lock);
		m->given = false;
		pthread_cond_broadcast(&m->change);
	}
	pthread_mutex_unlock(&crew->lock);
	return NULL;
}

/* A new one, that is borrowed; under the lock. */
static struct encode_member *
member_new(struct encode_crew *crew)
{
	struct encode_member *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return NULL;
	m->crew = crew;
	m->borrowed = true;
	timed_cond_init(&m->change);
	if (quiet_thread(&m->thread, run, m) != 0) {
		member_free(m);
		return NULL;
	}
	m->next = crew->all;
	crew->all = m;
	return m;
}

/* One that is idle, or new; NULL: no core is. */
static struct encode_member *
take(struct encode_crew *crew)
{
	struct encode_member *m = NULL;

	pthread_mutex_lock(&crew->lock);
	if (crew->layers + crew->lent < crew->cores) {
		if ((m = crew->idle) != NULL)
			crew->idle = m->idle;
		else
			m = member_new(crew);
	}
	if (m != NULL) {
		m->borrowed = true;
		crew->lent++;
	}
	pthread_mutex_unlock(&crew->lock);
	return m;
}

/* It gets an encoder, and memory for it; false: there is none. */
static bool
get_encoder(struct encode_member *m, const struct encoding *encoding)
{
	uint64_t need = memory_gate_encoder(encoding);
	struct err none = ERR_INIT;

	if (m->crew->gate != NULL) {
		if (!memory_gate_lend(m->crew->gate, need))
			return false;
		m->reserved = need;
	}
	m->encoding = *encoding;
	return encoder_new(encoding, &m->encoder, &none) == 0;
}

/* Its encoder and its chunk are as they are wanted; it is borrowed. */
static bool
equip(struct encode_member *m, const struct encoding *encoding, size_t room)
{
	if (m->encoder != NULL &&
	    (m->encoding.kind != encoding->kind ||
		m->encoding.level != encoding->level))
		member_forget(m);
	if (m->encoder == NULL && !get_encoder(m, encoding)) {
		member_forget(m);
		return false;
	}
	if (m->room == room)
		return true;
	free(m->chunk);
	m->chunk = malloc(room);
	m->room = m->chunk != NULL ? room : 0;
	return m->chunk != NULL;
}

struct encode_member *
encode_crew_start(struct encode_crew *crew, const struct encoding *encoding,
    uint8_t **chunk, size_t room, size_t len)
{
	struct encode_member *m = take(crew);
	uint8_t *swap;

	if (m == NULL)
		return NULL;
	if (!equip(m, encoding, room)) {
		encode_member_back(m);
		return NULL;
	}
	swap = m->chunk;
	m->chunk = *chunk;
	*chunk = swap;
	m->len = len;
	err_clear(&m->err);
	pthread_mutex_lock(&crew->lock);
	m->given = true;
	pthread_cond_broadcast(&m->change);
	pthread_mutex_unlock(&crew->lock);
	return m;
}

int
encode_member_wait(
    struct encode_member *m, const void **out, size_t *out_len, struct err *e)
{
	pthread_mutex_lock(&m->crew->lock);
	while (m->given)
		pthread_cond_wait(&m->change, &m->crew->lock);
	pthread_mutex_unlock(&m->crew->lock);
	if (m->err.kind != ERR_NONE) {
		*e = m->err;
		return -1;
	}
	*out = m->out;
	*out_len = m->out_len;
	return 0;
}

void
encode_member_back(struct encode_member *m)
{
	struct encode_crew *crew = m->crew;

	pthread_mutex_lock(&crew->lock);
	m->borrowed = false;
	m->idle = crew->idle;
	crew->idle = m;
	crew->lent--;
	/* From now on it counts how long it is idle. */
	pthread_cond_broadcast(&m->change);
	pthread_mutex_unlock(&crew->lock);
}
