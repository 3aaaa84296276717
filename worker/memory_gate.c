#include "memory_gate.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#include "err.h"
#include "layer_inputs.h"
#include "layer_run.h"
#include "memory_room.h"
#include "monotime.h"
#include "registry_stream.h"

#define MIB ((uint64_t)1 << 20)
/* Buffers of the way from files to outputs, and threads' stacks. */
#define NEED_JOB (6 * MIB)
#define NEED_GZIP (2 * MIB)
#define NEED_GZIP_SLOW (6 * MIB) /* from level 10 on */
#define NEED_ZSTD (8 * MIB)	 /* besides its tables */
/* A NAR that is decompressed: xz as Nix compresses by default, and buffers. */
#define NEED_NAR (16 * MIB)
/* Parts of an upload: one that is filled, one that is sent. */
#define NEED_STREAM (2 * (uint64_t)REGISTRY_STREAM_PART)
/* Where there is so many times more than is wanted, the next look is later. */
#define PLENTY 8
#define LOOK_MS 1000

struct memory_gate {
	pthread_mutex_t lock; /* all below */
	const char *root;
	size_t jobs;	   /* that are inside */
	uint64_t reserved; /* by them, and by helpers */
	uint64_t before;   /* what the process has besides */
	int64_t look_at;   /* until then there is plenty, */
	uint64_t plenty;   /* for that much in all */
};

int
memory_gate_new(const char *root, struct memory_gate **out, struct err *e)
{
	struct memory_gate *g;

	if ((g = calloc(1, sizeof(*g))) == NULL)
		return err_set(e, ERR_FATAL, errno, "memory");
	pthread_mutex_init(&g->lock, NULL);
	g->root = root;
	*out = g;
	return 0;
}

void
memory_gate_free(struct memory_gate *g)
{
	if (g == NULL)
		return;
	pthread_mutex_destroy(&g->lock);
	free(g);
}

/* ZSTD_sizeof_CCtx after a chunk of 4 MiB, of the levels up to that one. */
static uint64_t
zstd_tables(int level)
{
	static const struct {
		int level;
		uint64_t mib;
	} most[] = {{4, 3}, {8, 7}, {9, 13}, {11, 25}};

	for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++)
		if (level <= most[i].level)
			return most[i].mib * MIB;
	return 65 * MIB;
}

/* Of one encoder, with its chunk and what comes of it. */
uint64_t
memory_gate_encoder(const struct encoding *encoding)
{
	switch (encoding->kind) {
	case ENCODING_NONE:
		break;
	case ENCODING_GZIP:
		return encoding->level < 10 ? NEED_GZIP : NEED_GZIP_SLOW;
	case ENCODING_ZSTD:
		return NEED_ZSTD + zstd_tables(encoding->level);
	}
	return 0;
}

uint64_t
memory_gate_need(const struct layer_job *job)
{
	uint64_t need = NEED_JOB;

	if (job->spec.source == LAYER_FROM_STORE && job->inputs != NULL &&
	    job->inputs->caches.n_urls > 0)
		need += NEED_NAR;
	if (!job->spec.measure)
		need += memory_gate_encoder(&job->spec.encoding);
	if (job->stream != NULL)
		need += NEED_STREAM;
	return need;
}

/* There is room for all that is reserved and not taken yet. */
static int
check(struct memory_gate *g, uint64_t need, struct err *e)
{
	uint64_t want = g->before + g->reserved + need, has, left;
	int64_t now = monotime_ms();

	if (now < g->look_at && want <= g->plenty)
		return 0;
	has = memory_taken(g->root);
	left = memory_left(g->root);
	/* What was there before the jobs was given back. */
	if (has < g->before) {
		want -= g->before - has;
		g->before = has;
	}
	/* What others have taken beyond theirs is not this one's. */
	want = want > has + need ? want - has : need;
	if (left < want + MEMORY_KEEP_FREE)
		return err_set(e, ERR_RETRY, ENOMEM,
		    "%" PRIu64 " MiB of memory are left, %" PRIu64
		    " MiB are wanted for this job and %zu others",
		    left / MIB, (want + MEMORY_KEEP_FREE) / MIB, g->jobs);
	g->plenty = (left - MEMORY_KEEP_FREE) / PLENTY;
	g->look_at = now + LOOK_MS;
	return 0;
}

/* By nobody who has reserved it: helpers that are idle have what is theirs. */
static uint64_t
taken_besides(const struct memory_gate *g)
{
	uint64_t has = memory_taken(g->root);

	return has > g->reserved ? has - g->reserved : 0;
}

int
memory_gate_enter(struct memory_gate *g, uint64_t need, struct err *e)
{
	int rc = 0;

	pthread_mutex_lock(&g->lock);
	if (g->jobs == 0)
		g->before = taken_besides(g);
	else
		rc = check(g, need, e);
	if (rc == 0) {
		g->jobs++;
		g->reserved += need;
	}
	pthread_mutex_unlock(&g->lock);
	return rc;
}

void
memory_gate_leave(struct memory_gate *g, uint64_t need)
{
	pthread_mutex_lock(&g->lock);
	g->jobs--;
	g->reserved -= need;
	pthread_mutex_unlock(&g->lock);
}

bool
memory_gate_lend(struct memory_gate *g, uint64_t need)
{
	struct err none = ERR_INIT;
	bool lends;

	pthread_mutex_lock(&g->lock);
	lends = check(g, 2 * need, &none) == 0;
	if (lends)
		g->reserved += need;
	pthread_mutex_unlock(&g->lock);
	return lends;
}

void
memory_gate_return(struct memory_gate *g, uint64_t need)
{
	pthread_mutex_lock(&g->lock);
	g->reserved -= need;
	pthread_mutex_unlock(&g->lock);
}
