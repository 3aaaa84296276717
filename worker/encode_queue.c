#include "encode_queue.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "encode_crew.h"
#include "encoder.h"
#include "encoding.h"
#include "err.h"

/* Chunks of one layer that others may be making. */
#define AHEAD 64

struct encode_queue {
	struct encoding encoding;
	struct encode_crew *crew;
	encode_take *take;
	void *arg;
	struct encoder *encoder;
	uint8_t *in;
	size_t chunk, fill;
	bool any; /* chunk has been made */
	struct encode_member *made_by[AHEAD];
	size_t first, n; /* the oldest, and how many there are */
};

int
encode_queue_new(const struct encoding *encoding, struct encode_crew *crew,
    encode_take *take, void *arg, struct encode_queue **out, struct err *e)
{
	struct encode_queue *q;

	if ((q = calloc(1, sizeof(*q))) == NULL)
		return err_set(e, ERR_RETRY, errno, "encoder");
	q->encoding = *encoding;
	q->crew = crew;
	q->take = take;
	q->arg = arg;
	if (encoder_new(encoding, &q->encoder, e) < 0) {
		encode_queue_free(q);
		return -1;
	}
	q->chunk = encoder_chunk(q->encoder);
	if ((q->in = malloc(q->chunk)) == NULL) {
		encode_queue_free(q);
		return err_set(e, ERR_RETRY, errno, "encoder");
	}
	*out = q;
	return 0;
}

static struct encode_member *
oldest(struct encode_queue *q)
{
	struct encode_member *m = q->made_by[q->first];

	q->first = (q->first + 1) % AHEAD;
	q->n--;
	return m;
}

void
encode_queue_free(struct encode_queue *q)
{
	if (q == NULL)
		return;
	while (q->n > 0) {
		struct encode_member *m = oldest(q);
		struct err ignored = ERR_INIT;
		const void *out;
		size_t len;

		encode_member_wait(m, &out, &len, &ignored);
		encode_member_back(m);
	}
	encoder_free(q->encoder);
	free(q->in);
	free(q);
}

static int
take_oldest(struct encode_queue *q, struct err *e)
{
	struct encode_member *m = oldest(q);
	const void *out;
	size_t len;
	int rc;

	rc = encode_member_wait(m, &out, &len, e);
	if (rc == 0)
		rc = q->take(q->arg, out, len, e);
	encode_member_back(m);
	return rc;
}

static int
take_all(struct encode_queue *q, struct err *e)
{
	while (q->n > 0)
		if (take_oldest(q, e) < 0)
			return -1;
	return 0;
}

static bool
hand_out(struct encode_queue *q)
{
	struct encode_member *m;

	if (q->crew == NULL || q->n == AHEAD)
		return false;
	m = encode_crew_start(q->crew, &q->encoding, &q->in, q->chunk, q->fill);
	if (m == NULL)
		return false;
	q->made_by[(q->first + q->n++) % AHEAD] = m;
	return true;
}

/*
 * With one helper, this thread makes each second chunk; with more it has
 * enough to do with what they make, and must keep them busy.
 */
static int
make_chunk(struct encode_queue *q, struct err *e)
{
	const void *out;
	size_t len;

	q->any = true;
	for (;;) {
		if (hand_out(q)) {
			q->fill = 0;
			return 0;
		}
		if (q->n <= 1)
			break;
		if (take_oldest(q, e) < 0)
			return -1;
	}
	if (encoder_run(q->encoder, q->in, q->fill, &out, &len, e) < 0 ||
	    take_all(q, e) < 0)
		return -1;
	q->fill = 0;
	return q->take(q->arg, out, len, e);
}

int
encode_queue_put(
    struct encode_queue *q, const void *data, size_t len, struct err *e)
{
	const uint8_t *at = data;

	while (len > 0) {
		size_t n = q->chunk - q->fill;

		if (n > len)
			n = len;
		memcpy(q->in + q->fill, at, n);
		q->fill += n;
		at += n;
		len -= n;
		if (q->fill == q->chunk && make_chunk(q, e) < 0)
			return -1;
	}
	return 0;
}

/* Nothing at all still is one member: no file of 0 bytes is gzip or zstd. */
int
encode_queue_end(struct encode_queue *q, struct err *e)
{
	if ((q->fill > 0 || !q->any) && make_chunk(q, e) < 0)
		return -1;
	return take_all(q, e);
}
