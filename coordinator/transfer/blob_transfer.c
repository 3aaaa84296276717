#include "transfer/blob_transfer.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "output/blob_place.h"
#include "output/blob_request.h"
#include "err.h"
#include "own.h"

struct blob_transfer {
	const struct blob_request *request;
	struct blob_pace pace;
	struct write_behind *behind;
	enum data_form form;
	struct blob_place *place; /* of this form; NULL: all is done */
	uint64_t pull;
	uint64_t size;	 /* of this form */
	uint64_t at;	 /* up to here it has come */
	uint64_t asked;	 /* up to here it is asked for; a chunk's end */
	uint64_t stale;	 /* chunks of older pulls that may still come */
	uint64_t before; /* bytes of forms that are through */
	int64_t last;	 /* when something came, or was asked for again */
	unsigned failures;
};

static uint64_t
chunks_until(uint64_t bytes)
{
	return (bytes + DATA_CHUNK - 1) / DATA_CHUNK;
}

/*
 * Opens the outputs of the next form that is needed, from *form on.  One
 * without bytes need not be asked for.
 */
static int
next_form(struct blob_transfer *t, unsigned form, struct err *e)
{
	struct digest digest;

	blob_place_freep(&t->place);
	for (; form <= DATA_BLOB; form++) {
		if (!blob_request_needs(t->request, (enum data_form)form))
			continue;
		t->form = (enum data_form)form;
		blob_request_want(t->request, t->form, &t->size, &digest);
		t->at = t->asked = 0;
		t->pull++;
		if (blob_place_new(
			t->request, t->form, t->behind, &t->place, e) < 0)
			return -1;
		if (t->size > 0)
			return 0;
		if (blob_place_commit(t->place, e) < 0)
			return -1;
		blob_place_freep(&t->place);
	}
	return 0;
}

int
blob_transfer_new(const struct blob_request *r, const struct blob_pace *pace,
    struct write_behind *behind, int64_t now, struct blob_transfer **out,
    struct err *e)
{
	struct blob_transfer *t;

	assert(pace->window >= 2 && pace->window <= DATA_WINDOW_MAX);
	if ((t = calloc(1, sizeof(*t))) == NULL)
		return err_set(e, ERR_FATAL, errno, "transfer");
	t->request = r;
	t->pace = *pace;
	t->behind = behind;
	t->last = now;
	if (next_form(t, DATA_TAR, e) < 0) {
		blob_transfer_free(t);
		return -1;
	}
	*out = t;
	return 0;
}

void
blob_transfer_free(struct blob_transfer *t)
{
	if (t == NULL)
		return;
	blob_place_free(t->place);
	free(t);
}

void
blob_transfer_restart(struct blob_transfer *t)
{
	if (t->place == NULL)
		return;
	t->stale += chunks_until(t->asked) - chunks_until(t->at);
	t->asked = t->at;
	t->pull++;
}

/* Half a window at a time: few messages, and never an empty way. */
bool
blob_transfer_ask(struct blob_transfer *t, struct data_msg_pull *out)
{
	uint64_t away, end, n;

	if (t->place == NULL || t->asked >= t->size)
		return false;
	away = chunks_until(t->asked) - chunks_until(t->at);
	if (away > t->pace.window / 2)
		return false;
	end = chunks_until(t->size);
	n = end - chunks_until(t->asked);
	if (n > t->pace.window - away)
		n = t->pace.window - away;
	*out = (struct data_msg_pull){.id = t->request->id,
	    .form = t->form,
	    .pull = t->pull,
	    .offset = t->asked,
	    .chunks = n};
	t->asked += n * DATA_CHUNK;
	return true;
}

bool
blob_transfer_done(const struct blob_transfer *t)
{
	return t->place == NULL;
}

/* Of an older pull: it was asked for once, and so no more come than that. */
static int
take_stale(struct blob_transfer *t, struct err *e)
{
	if (t->stale == 0)
		return err_set(
		    e, ERR_PEER, 0, "it sends chunks that were not asked for");
	t->stale--;
	return 0;
}

int
blob_transfer_chunk(struct blob_transfer *t, int64_t now,
    const struct data_msg_chunk *m, struct err *e)
{
	uint64_t want;

	if (m->pull < t->pull || t->place == NULL)
		return take_stale(t, e);
	if (m->pull > t->pull || m->form != t->form || m->offset >= t->asked)
		return err_set(
		    e, ERR_PEER, 0, "it sends chunks that were not asked for");
	/* One connection keeps the order; a new one has a new pull. */
	if (m->offset != t->at)
		return err_set(e, ERR_PEER, 0,
		    "it sends the chunk at %" PRIu64 " where that at %" PRIu64
		    " is the next",
		    m->offset, t->at);
	want = t->size - t->at < DATA_CHUNK ? t->size - t->at : DATA_CHUNK;
	if (m->len != want)
		return err_set(e, ERR_PEER, 0,
		    "its chunk at %" PRIu64 " has %zu bytes, not %" PRIu64
		    ": the %s is not the %" PRIu64 " bytes that were said",
		    m->offset, m->len, want, data_form_name(t->form), t->size);
	if (blob_place_write(t->place, m->bytes, m->len, e) < 0)
		return -1;
	t->at += m->len;
	t->last = now;
	t->failures = 0;
	if (t->at < t->size)
		return 0;
	if (blob_place_commit(t->place, e) < 0)
		return -1;
	t->before += t->size;
	return next_form(t, t->form + 1u, e);
}

int
blob_transfer_failed(
    struct blob_transfer *t, const struct data_msg_pull_fail *m, struct err *e)
{
	if (m->pull != t->pull || m->form != t->form || t->place == NULL)
		return 0;
	err_set(e, m->kind == ERR_JOB ? ERR_JOB : ERR_RETRY, 0, "%s", m->text);
	e->sys = m->sys;
	return -1;
}

int
blob_transfer_tick(struct blob_transfer *t, int64_t now, struct err *e)
{
	if (t->place == NULL || now < blob_transfer_deadline(t))
		return 0;
	if (++t->failures > t->pace.tries)
		return err_set(e, ERR_RETRY, 0,
		    "the %s is stuck at byte %" PRIu64 " of %" PRIu64
		    ": asked %u times, nothing came in %" PRIi64 " s",
		    data_form_name(t->form), t->at, t->size, t->failures,
		    t->failures * t->pace.silent_ms / 1000);
	t->last = now;
	blob_transfer_restart(t);
	return 0;
}

int64_t
blob_transfer_deadline(const struct blob_transfer *t)
{
	return t->last + t->pace.silent_ms;
}

uint64_t
blob_transfer_bytes(const struct blob_transfer *t)
{
	return t->before + (t->place != NULL ? t->at : 0);
}
