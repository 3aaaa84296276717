/* The queue of jobs against a plain array, with many equal weights. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "schedule/job_queue.h"

enum { JOBS = 300, WEIGHTS = 40 };

struct slot {
	struct job_queue_node node;
	char other[8];
};

struct model {
	bool there[JOBS];
	uint64_t weight[JOBS];
};

static void
put(struct job_queue *q, struct slot *slot, uint64_t weight, uint64_t id)
{
	struct job_queue_node *node = &slot[job_queue_slot(id)].node;

	node->weight = weight;
	node->id = id;
	job_queue_put(q, id);
}

static uint64_t
random_below(uint64_t *seed, uint64_t n)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed % n;
}

/* The first after (weight, id); first: the very first. */
static uint64_t
model_after(const struct model *m, bool first, uint64_t weight, uint64_t id)
{
	uint64_t best = JOB_QUEUE_NONE;

	for (uint64_t i = 0; i < JOBS; i++) {
		if (!m->there[i] ||
		    (!first &&
			(m->weight[i] > weight ||
			    (m->weight[i] == weight && i <= id))))
			continue;
		if (best == JOB_QUEUE_NONE || m->weight[i] > m->weight[best])
			best = i;
	}
	return best;
}

/* The last before it. */
static uint64_t
model_before(const struct model *m, uint64_t weight, uint64_t id)
{
	uint64_t best = JOB_QUEUE_NONE;

	for (uint64_t i = 0; i < JOBS; i++) {
		if (!m->there[i] || m->weight[i] < weight ||
		    (m->weight[i] == weight && i >= id))
			continue;
		if (best == JOB_QUEUE_NONE || m->weight[i] <= m->weight[best])
			best = i;
	}
	return best;
}

/* Ids of jobs that took the place of others: of the same slots, but newer. */
static void
goes_by_age(void **state)
{
	const uint64_t newer = (uint64_t)1 << JOB_QUEUE_SLOT_BITS;
	struct slot slot[4];
	struct job_queue q;

	(void)state;
	job_queue_init(&q, sizeof(slot[0]));
	job_queue_at(&q, slot);
	put(&q, slot, 7, 2 * newer + 0);
	put(&q, slot, 7, 3);
	put(&q, slot, 7, newer + 1);
	assert_int_equal(job_queue_first(&q), 3);
	assert_int_equal(job_queue_after(&q, 7, 3), newer + 1);
	assert_int_equal(job_queue_after(&q, 7, newer + 1), 2 * newer);
	assert_int_equal(job_queue_after(&q, 7, 2 * newer), JOB_QUEUE_NONE);
	job_queue_remove(&q, newer + 1);
	assert_int_equal(job_queue_after(&q, 7, 3), 2 * newer);
}

static void
same_as_an_array(void **state)
{
	struct model m = {0};
	struct slot *slot = NULL;
	struct job_queue q;
	uint64_t r = 1;
	size_t n = 0;

	(void)state;
	job_queue_init(&q, sizeof(slot[0]));
	assert_int_equal(job_queue_first(&q), JOB_QUEUE_NONE);
	for (int step = 0; step < 20000; step++) {
		uint64_t id = random_below(&r, JOBS);
		uint64_t weight = random_below(&r, WEIGHTS);

		/* They move. */
		if (step % 100 == 0) {
			slot = reallocarray(
			    slot, JOBS + (size_t)step, sizeof(*slot));
			assert_non_null(slot);
			job_queue_at(&q, slot);
		}
		if (m.there[id]) {
			job_queue_remove(&q, id);
			n--;
		} else {
			put(&q, slot, weight, id);
			m.weight[id] = weight;
			n++;
		}
		m.there[id] = !m.there[id];
		assert_int_equal(q.n, n);
		assert_int_equal(
		    job_queue_first(&q), model_after(&m, true, 0, 0));
		assert_int_equal(
		    job_queue_last(&q), model_before(&m, 0, UINT64_MAX));
		id = random_below(&r, 8) == 0 ? UINT64_MAX
					      : random_below(&r, JOBS);
		assert_int_equal(job_queue_after(&q, weight, id),
		    model_after(&m, false, weight, id));
		assert_int_equal(job_queue_before(&q, weight, id),
		    model_before(&m, weight, id));
	}
	free(slot);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(same_as_an_array),
	    cmocka_unit_test(goes_by_age),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
