/*
 * The scheduler's rules for workers that fail, are slow, lack room, leave or
 * lie, each with a scripted clock.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scheduler_script.h"

static void
gone(struct scheduler *s, uint64_t worker)
{
	sched_worker_gone(s, 0, (struct worker_id){worker}, "killed");
}

static void
postpone(struct scheduler *s, int64_t now, uint64_t worker, uint64_t job,
    uint64_t attempt)
{
	sched_postpone(
	    s, now, (struct worker_id){worker}, (struct job_id){job}, attempt);
}

/* What a worker that is back does not hold was lost on its way there. */
static void
back_without_what_was_lost(void **state)
{
	struct scheduler *s = make();
	/* In no order, some twice, and some that are of nobody. */
	struct sched_held held[] = {
	    {{7}, 1}, {{0}, 1}, {{2}, 9}, {{0}, 1}, {{0}, 2}, {{1}, 0}};

	(void)state;
	add(s, 3);
	add(s, 2);
	add(s, 1);
	up(s, 0, 0, 2);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 0);
	expect(s, 0, SCHED_SEND, 2, 0);
	expect_nothing(s, 0);
	sched_worker_back(s, 5000, (struct worker_id){0}, held, 6);
	/* Nobody is blamed, and it is not silent. */
	assert_int_equal(sched_failures(s, (struct job_id){1}), 0);
	expect(s, 14999, SCHED_SEND, 1, 0);
	expect(s, 14999, SCHED_SEND, 2, 0);
	expect_nothing(s, 14999);
	/* The lost attempts are still its own; that of another is not. */
	assert_true(
	    sched_given(s, (struct worker_id){0}, (struct job_id){1}, 1));
	assert_false(
	    sched_given(s, (struct worker_id){1}, (struct job_id){1}, 1));
	assert_false(
	    sched_given(s, (struct worker_id){0}, (struct job_id){3}, 1));
	done_at(s, 14999, 0, 0, 1, SCHED_ACCEPTED);
	done_at(s, 14999, 0, 1, 2, SCHED_ACCEPTED);
	done_at(s, 14999, 0, 2, 2, SCHED_ACCEPTED);
	/* Another attempt than it holds counts as lost, too. */
	add(s, 1);
	expect(s, 15000, SCHED_SEND, 3, 0);
	sched_worker_back(
	    s, 15000, (struct worker_id){0}, &(struct sched_held){{3}, 2}, 1);
	expect(s, 15000, SCHED_SEND, 3, 0);
	sched_worker_back(s, 15000, (struct worker_id){7}, NULL, 0);
	sched_free(s);
}

/* Of two workers, one fails it twice and more: another has not failed it. */
static void
poison_wants_distinct_workers(void **state)
{
	struct scheduler *s = make();

	(void)state;
	add(s, 1);
	up(s, 0, 0, 1);
	up(s, 0, 1, 1);
	expect(s, 0, SCHED_SEND, 0, 0);
	fail_at(s, 0, 0, 0, 1);
	expect(s, 0, SCHED_SEND, 0, 1);
	gone(s, 1);
	expect(s, 0, SCHED_SEND, 0, 0);
	up(s, 0, 2, 1);
	fail_at(s, 0, 0, 0, 3);
	/* Three failures, but two workers, and the third one is good. */
	expect(s, 0, SCHED_SEND, 0, 2);
	assert_int_equal(done(s, 2, 0, 4, &one), SCHED_ACCEPTED);
	assert_int_equal(sched_open(s), 0);
	sched_free(s);
}

/* One worker only: three attempts. */
static void
poison_is_bounded(void **state)
{
	struct scheduler *s = make();

	(void)state;
	add(s, 1);
	up(s, 0, 0, 1);
	for (uint64_t attempt = 1; attempt <= 3; attempt++) {
		expect(s, 0, SCHED_SEND, 0, 0);
		fail_at(s, 0, 0, 0, attempt);
	}
	expect(s, 0, SCHED_FAILED, 0, 0);
	expect_nothing(s, 0);
	sched_free(s);
}

static void
attempts_have_a_deadline(void **state)
{
	struct scheduler *s = make();
	int64_t now = 0;

	(void)state;
	add(s, 40 * MB);
	up(s, 0, 0, 1);
	expect(s, 0, SCHED_SEND, 0, 0);
	/* Nobody knows: 1 MB/s, so 4 x 40 s, however the bytes creep. */
	for (; now < 160000; now += 5000) {
		progress(s, now, 0, 0, 1, (uint64_t)now + 1);
		expect_nothing(s, now);
	}
	expect(s, 160000, SCHED_CANCEL, 0, 0);
	/* The next attempt has twice as long, and is done in 20 s. */
	expect(s, now, SCHED_SEND, 0, 0);
	progress(s, now + 9000, 0, 0, 2, 1);
	progress(s, now + 18000, 0, 0, 2, 2);
	done_at(s, now + 20000, 0, 0, 2, SCHED_ACCEPTED);
	/* Now it is known: 2 MB/s, so 4 x 45 s for 90 MB. */
	add(s, 90 * MB);
	now += 20000;
	expect(s, now, SCHED_SEND, 1, 0);
	for (int64_t t = 0; t < 180000; t += 9000) {
		progress(s, now + t, 0, 1, 1, (uint64_t)t + 1);
		expect_nothing(s, now + t);
	}
	sched_beat(s, now + 179999, (struct worker_id){0}, 1);
	expect_nothing(s, now + 179999);
	expect(s, now + 180000, SCHED_CANCEL, 1, 0);
	sched_free(s);
}

/* Alone with its last job: a second copy, and no third one. */
static void
stragglers_get_a_copy(void **state)
{
	struct scheduler *s = make();

	(void)state;
	for (int i = 0; i < 2; i++)
		add(s, 10 * MB);
	up(s, 0, 0, 1);
	up(s, 0, 1, 1);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 1);
	/* As fast as the other. */
	progress(s, 900, 0, 0, 1, 9 * MB);
	done_at(s, 1000, 1, 1, 1, SCHED_ACCEPTED);
	expect_nothing(s, 1000);
	/* But then it slows down: 1.2 s for the rest, in the end. */
	for (int64_t now = 9000; now < 28000; now += 9000) {
		sched_beat(s, now, (struct worker_id){1}, 0);
		progress(s, now, 0, 0, 1, 9600000 + (uint64_t)now / 1000);
		expect_nothing(s, now);
	}
	sched_beat(s, 28000, (struct worker_id){1}, 0);
	progress(s, 28000, 0, 0, 1, 9600028);
	assert_true(sched_deadline(s) <= 28000);
	expect(s, 28000, SCHED_SEND, 0, 1);
	expect_nothing(s, 29000);
	/* A copy's failure is no end, and no third attempt runs beside. */
	fail_at(s, 29000, 1, 0, 2);
	expect_nothing(s, 29000);
	assert_int_equal(sched_open(s), 1);
	progress(s, 29000, 0, 0, 1, 9600029);
	up(s, 29000, 2, 1);
	sched_measured(s, (struct worker_id){2}, 20 * MB, 1000);
	expect(s, 29100, SCHED_SEND, 0, 2);
	done_at(s, 30000, 2, 0, 3, SCHED_ACCEPTED);
	expect(s, 30000, SCHED_CANCEL, 0, 0);
	assert_int_equal(done(s, 0, 0, 1, &one), SCHED_DUPLICATE);
	assert_int_equal(done(s, 0, 0, 1, &two), SCHED_DIFFERS);
	assert_int_equal(sched_open(s), 0);
	sched_free(s);
}

static void
fastest_worker_gets_the_largest(void **state)
{
	struct scheduler *s = make();

	(void)state;
	add(s, MB);
	add(s, 10 * MB);
	up(s, 0, 0, 1);
	up(s, 0, 1, 1);
	sched_measured(s, (struct worker_id){0}, MB, 1000);
	sched_measured(s, (struct worker_id){1}, 2 * MB, 1000);
	expect(s, 0, SCHED_SEND, 1, 1);
	expect(s, 0, SCHED_SEND, 0, 0);
	sched_free(s);
}

/* Longer than all that is queued: a copy before the queue is empty. */
static void
all_will_wait_for_it(void **state)
{
	struct scheduler *s = make();

	(void)state;
	add(s, 1000 * MB);
	for (int i = 0; i < 50; i++)
		add(s, MB);
	up(s, 0, 0, 1);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 0);
	progress(s, 6000, 0, 0, 1, 6 * MB);
	up(s, 6000, 1, 1);
	expect(s, 6000, SCHED_SEND, 2, 1);
	expect_nothing(s, 6000);
	done_at(s, 6060, 1, 2, 1, SCHED_ACCEPTED);
	expect(s, 6060, SCHED_SEND, 0, 1);
	expect(s, 6060, SCHED_SEND, 3, 1);
	expect_nothing(s, 6060);
	/* Once that is sure to win, the other one is in the way. */
	progress(s, 7000, 1, 0, 2, 90 * MB);
	progress(s, 7000, 0, 0, 1, 7 * MB);
	expect(s, 7000, SCHED_CANCEL, 0, 0);
	expect(s, 7000, SCHED_SEND, 4, 0);
	expect_nothing(s, 7000);
	sched_free(s);
}

/* One in ten slots at most. */
static void
copies_are_few(void **state)
{
	struct scheduler *s = make();
	struct sched_action a;
	int copies = 0;

	(void)state;
	for (int i = 0; i < 20; i++)
		add(s, 10 * MB);
	up(s, 0, 0, 20);
	for (uint64_t i = 0; i < 20; i++)
		expect(s, 0, SCHED_SEND, i, 0);
	up(s, 0, 1, 20);
	expect_nothing(s, 0);
	done_at(s, 1000, 0, 0, 1, SCHED_ACCEPTED);
	sched_beat(s, 9000, (struct worker_id){1}, 0);
	while (sched_next(s, 9000, &a)) {
		assert_int_equal(a.kind, SCHED_SEND);
		assert_int_equal(a.worker.v, 1);
		copies++;
	}
	assert_int_equal(copies, 4);
	sched_free(s);
}

/* Takes all actions; the last job sent to each of two workers, and news. */
static void
take_all(struct scheduler *s, int64_t now, struct sched_action sent[2],
    enum sched_action_kind *news, uint64_t *about)
{
	struct sched_action a;

	*news = SCHED_SEND;
	while (sched_next(s, now, &a))
		if (a.kind == SCHED_SEND) {
			sent[a.worker.v] = a;
		} else if (a.kind == SCHED_SET_ASIDE ||
		    a.kind == SCHED_USED_AGAIN) {
			*news = a.kind;
			*about = a.worker.v;
		}
}

static void
blame_sets_aside(void **state)
{
	struct scheduler *s = make();
	struct sched_action sent[2] = {0};
	enum sched_action_kind news;
	uint64_t about = 9;
	int64_t now = 0;

	(void)state;
	for (int i = 0; i < 9; i++)
		add(s, 1);
	up(s, 0, 0, 1);
	up(s, 0, 1, 1);
	take_all(s, 0, sent, &news, &about);
	/* A success between: not in a row.  Handed back: no failure. */
	for (int i = 0; i < 12; i++, now += 5000) {
		sched_beat(s, now, (struct worker_id){0}, 0);
		sched_beat(s, now, (struct worker_id){1}, 1);
		take_all(s, now, sent, &news, &about);
		assert_int_equal(news, SCHED_SEND);
		if (i % 4 == 3)
			done_at(s, now, 0, sent[0].job.v, sent[0].attempt,
			    SCHED_ACCEPTED);
		else if (i % 4 == 1)
			postpone(s, now, 0, sent[0].job.v, sent[0].attempt);
		else
			fail_at(s, now, 0, sent[0].job.v, sent[0].attempt);
	}
	sched_free(s);
}

static void
last_usable_worker_stays(void **state)
{
	struct scheduler *s = make();
	struct sched_action sent[2] = {0};
	enum sched_action_kind news;
	uint64_t about = 9;

	(void)state;
	for (int i = 0; i < 20; i++)
		add(s, 1);
	up(s, 0, 0, 1);
	up(s, 0, 1, 1);
	for (int i = 0; i < 3; i++) {
		take_all(s, 0, sent, &news, &about);
		assert_int_equal(news, SCHED_SEND);
		fail_at(s, 0, 0, sent[0].job.v, sent[0].attempt);
	}
	take_all(s, 0, sent, &news, &about);
	assert_int_equal(news, SCHED_SET_ASIDE);
	assert_int_equal(about, 0);
	/* The other one fails as often, but is the last. */
	for (int i = 0; i < 5; i++) {
		fail_at(s, 0, 1, sent[1].job.v, sent[1].attempt);
		take_all(s, 0, sent, &news, &about);
		assert_int_equal(news, SCHED_SEND);
	}
	/* Told to use the first again, the scheduler does: no longer last. */
	sched_worker_use(s, (struct worker_id){0});
	sent[0].attempt = 0;
	fail_at(s, 0, 1, sent[1].job.v, sent[1].attempt);
	take_all(s, 0, sent, &news, &about);
	assert_int_equal(news, SCHED_SET_ASIDE);
	assert_int_equal(about, 1);
	assert_int_not_equal(sent[0].attempt, 0);
	/* Better than nobody. */
	gone(s, 0);
	take_all(s, 0, sent, &news, &about);
	assert_int_equal(news, SCHED_USED_AGAIN);
	assert_int_equal(about, 1);
	sched_free(s);
}

static void
postponed_jobs_are_no_failures(void **state)
{
	struct scheduler *s = make();

	(void)state;
	add(s, 30);
	add(s, 20);
	add(s, 10);
	up(s, 0, 0, 2);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 0);
	expect(s, 0, SCHED_SEND, 2, 0);
	/* Not that one again, nor a heavier one, until a job ends. */
	postpone(s, 0, 0, 1, 1);
	expect_nothing(s, 0);
	add(s, 25);
	add(s, 5);
	expect(s, 0, SCHED_SEND, 4, 0);
	done_at(s, 1000, 0, 0, 1, SCHED_ACCEPTED);
	expect(s, 1000, SCHED_SEND, 3, 0);
	assert_int_equal(sched_failures(s, (struct job_id){1}), 0);
	/* Nobody can: it is tried every 10 s, not more often. */
	done_at(s, 1000, 0, 2, 1, SCHED_ACCEPTED);
	done_at(s, 1000, 0, 4, 1, SCHED_ACCEPTED);
	done_at(s, 1000, 0, 3, 1, SCHED_ACCEPTED);
	for (int64_t now = 1000, n = 2; now < 41000; now += 10000, n++) {
		sched_beat(s, now, (struct worker_id){0}, 0);
		expect(s, now, SCHED_SEND, 1, 0);
		postpone(s, now, 0, 1, (uint64_t)n);
		sched_beat(s, now + 9999, (struct worker_id){0}, 0);
		expect_nothing(s, now + 9999);
		assert_true(sched_deadline(s) <= now + 10000);
	}
	/* Another worker gets it at once. */
	up(s, 40999, 1, 1);
	expect(s, 40999, SCHED_SEND, 1, 1);
	sched_free(s);
}

static void
draining_workers_end_their_jobs(void **state)
{
	struct scheduler *s = make();

	(void)state;
	for (int i = 0; i < 3; i++)
		add(s, 1);
	up(s, 0, 0, 1);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 0);
	sched_worker_drain(s, 0, (struct worker_id){0});
	done_at(s, 0, 0, 0, 1, SCHED_ACCEPTED);
	expect_nothing(s, 0);
	/* Handed back, or gone: to another, and nobody is blamed. */
	up(s, 0, 1, 1);
	expect(s, 0, SCHED_SEND, 2, 1);
	gone(s, 0);
	expect(s, 0, SCHED_SEND, 1, 1);
	assert_int_equal(sched_failures(s, (struct job_id){1}), 0);
	sched_free(s);
}

static void
locality_waits_no_longer_than_the_transfer(void **state)
{
	struct scheduler *s = make();
	struct job_id j;

	(void)state;
	add(s, 50 * MB);
	add(s, 40 * MB);
	up(s, 0, 0, 1);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 0);
	up(s, 0, 1, 1);
	expect(s, 0, SCHED_CANCEL, 1, 0);
	expect(s, 0, SCHED_SEND, 1, 1);
	up(s, 0, 2, 1);
	/* Half-way after 1 s: 1 s more. */
	progress(s, 1000, 0, 0, 1, 25 * MB);
	progress(s, 1000, 1, 1, 2, 20 * MB);
	/* 400 MB are 4 s, missing at 2 and 1; worker 0 waits for 1 s. */
	j = add(s, 30 * MB);
	for (uint64_t w = 1; w < 3; w++)
		assert_int_equal(sched_set_missing(
				     s, (struct worker_id){w}, j, 400 * MB, &e),
		    0);
	expect(s, 1000, SCHED_SEND, 2, 0);
	/* Worker 0 has no room any more: job 3 is held back for it, 5 s. */
	j = add(s, 20 * MB);
	for (uint64_t w = 1; w < 3; w++)
		assert_int_equal(sched_set_missing(
				     s, (struct worker_id){w}, j, 400 * MB, &e),
		    0);
	expect_nothing(s, 1000);
	assert_int_equal(sched_deadline(s), 6000);
	expect_nothing(s, 5999);
	expect(s, 6000, SCHED_SEND, 3, 2);
	sched_free(s);
}

static void
missing(struct scheduler *s, uint64_t worker, struct job_id j, uint64_t bytes)
{
	assert_int_equal(
	    sched_set_missing(s, (struct worker_id){worker}, j, bytes, &e), 0);
}

/* Each one that is held back makes the wait of the next one longer. */
static void
locality_counts_what_it_holds_back(void **state)
{
	struct scheduler *s = make();

	(void)state;
	up(s, 0, 0, 1);
	/* 10 MB/s: a job of 20 MB takes 2 s; half of the first is done. */
	sched_measured(s, (struct worker_id){0}, 100 * MB, 10000);
	add(s, 21 * MB);
	add(s, 20 * MB);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 0);
	progress(s, 1000, 0, 0, 1, 21 * MB / 2);
	/* Worker 1 would fetch for 5.5 s what worker 0 has. */
	for (int i = 0; i < 4; i++)
		add(s, (19 - (uint64_t)i) * MB);
	up(s, 1000, 1, 1);
	sched_measured(s, (struct worker_id){1}, 100 * MB, 10000);
	for (uint64_t j = 2; j < 6; j++)
		missing(s, 1, (struct job_id){j}, 550 * MB);
	/* 3 s, 4.9 s; 6.7 s are more than fetching. */
	expect(s, 1000, SCHED_SEND, 4, 1);
	sched_free(s);
}

/* A worker does what it has before it fetches. */
static void
locality_comes_before_fetching(void **state)
{
	struct scheduler *s = make();

	(void)state;
	up(s, 0, 0, 1);
	missing(s, 0, add(s, 9), MB);
	add(s, 8);
	add(s, 7);
	expect(s, 0, SCHED_SEND, 1, 0);
	expect(s, 0, SCHED_SEND, 2, 0);
	assert_int_equal(done(s, 0, 1, 1, &one), SCHED_ACCEPTED);
	expect(s, 0, SCHED_SEND, 0, 0);
	sched_free(s);
}

/* But not before what takes longer than all the rest. */
static void
locality_does_not_keep_all_waiting(void **state)
{
	struct scheduler *s = make();

	(void)state;
	up(s, 0, 0, 1);
	sched_measured(s, (struct worker_id){0}, 100 * MB, 10000);
	add(s, 20 * MB);
	expect(s, 0, SCHED_SEND, 0, 0);
	assert_int_equal(sched_done(s, 2000, (struct worker_id){0},
			     (struct job_id){0}, 1, &one),
	    SCHED_ACCEPTED);
	/* 1 s of work, and 10 s of fetching; 1 s of work besides. */
	missing(s, 0, add(s, 11 * MB), 1000 * MB);
	add(s, 10 * MB);
	expect(s, 2000, SCHED_SEND, 1, 0);
	sched_free(s);
}

static void
who_cannot_is_not_asked(void **state)
{
	struct scheduler *s = make();
	struct job_id j;

	(void)state;
	up(s, 0, 0, 1);
	up(s, 0, 1, 4);
	for (int i = 0; i < 3; i++) {
		j = add(s, 5);
		missing(s, 1, j, SCHED_UNABLE);
	}
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 0);
	/* However long worker 0 is busy. */
	expect_nothing(s, 0);
	expect_nothing(s, 9000);
	fail_at(s, 9000, 0, 0, 1);
	fail_at(s, 9000, 0, 1, 1);
	expect(s, 9000, SCHED_SEND, 0, 0);
	expect(s, 9000, SCHED_SEND, 1, 0);
	/* Nobody else is left: it shall say what it lacks. */
	sched_worker_gone(s, 9000, (struct worker_id){0}, "left");
	expect(s, 9000, SCHED_SEND, 0, 1);
	sched_free(s);
}

/* Also one that came while nobody else could, and has no room at all now. */
static void
who_came_since_is_waited_for(void **state)
{
	struct scheduler *s = make();

	(void)state;
	up(s, 0, 0, 1);
	missing(s, 0, add(s, 9), SCHED_UNABLE);
	expect(s, 0, SCHED_SEND, 0, 0);
	up(s, 0, 1, 1);
	for (uint64_t i = 0; i < 2; i++)
		missing(s, 0, add(s, 8 - i), SCHED_UNABLE);
	expect(s, 0, SCHED_SEND, 1, 1);
	expect(s, 0, SCHED_SEND, 2, 1);
	assert_true(
	    sched_postpone(s, 0, (struct worker_id){1}, (struct job_id){2}, 1));
	missing(s, 0, add(s, 5), SCHED_UNABLE);
	expect(s, 0, SCHED_SEND, 3, 1);
	fail_at(s, 100, 0, 0, 1);
	expect_nothing(s, 100);
	done_at(s, 200, 1, 1, 1, SCHED_ACCEPTED);
	expect(s, 200, SCHED_SEND, 0, 1);
	sched_free(s);
}

/* One that was set aside may still be better than one that cannot. */
static void
who_cannot_comes_last(void **state)
{
	struct scheduler *s = make();

	(void)state;
	up(s, 0, 0, 1);
	up(s, 0, 1, 1);
	for (uint64_t i = 0; i < 3; i++) {
		struct job_id j = add(s, 5);

		missing(s, 1, j, SCHED_UNABLE);
		expect(s, 0, SCHED_SEND, i, 0);
		fail_at(s, 0, 0, i, 1);
		if (i < 2)
			sched_cancel(s, 0, j);
	}
	expect(s, 0, SCHED_SET_ASIDE, 0, 0);
	expect(s, 0, SCHED_USED_AGAIN, 0, 0);
	expect(s, 0, SCHED_SEND, 2, 0);
	sched_free(s);
}

static void
who_cannot_audits_nothing(void **state)
{
	struct scheduler *s = make();
	struct job_id j;

	(void)state;
	up(s, 0, 0, 1);
	up(s, 0, 1, 1);
	j = add(s, 5);
	sched_audit(s, j);
	missing(s, 1, j, SCHED_UNABLE);
	expect(s, 0, SCHED_SEND, 0, 0);
	assert_int_equal(done(s, 0, 0, 1, &one), SCHED_ACCEPTED);
	expect(s, 0, SCHED_AUDIT_SKIPPED, 0, 0);
	assert_int_equal(sched_open(s), 0);
	sched_free(s);
}

/* All slots of equals are used before anything waits. */
static void
locality_spreads(void **state)
{
	struct scheduler *s = make();

	(void)state;
	for (uint64_t w = 0; w < 3; w++)
		up(s, 0, w, 1);
	for (int i = 0; i < 2; i++)
		missing(s, 2, add(s, 5), MB);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 1);
	sched_free(s);
}

static void
audits_need_a_second_worker(void **state)
{
	struct scheduler *s = make();

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct job_id j = add(s, 5);

		sched_audit(s, j);
	}
	up(s, 0, 0, 2);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 0);
	assert_int_equal(done(s, 0, 0, 1, &one), SCHED_ACCEPTED);
	assert_int_equal(sched_open(s), 2);
	/* Not by the same one; its own echo is no proof. */
	expect_nothing(s, 0);
	assert_int_equal(done(s, 0, 0, 1, &one), SCHED_DUPLICATE);
	up(s, 0, 1, 1);
	expect(s, 0, SCHED_SEND, 0, 1);
	assert_int_equal(done(s, 0, 1, 1, &one), SCHED_ACCEPTED);
	expect(s, 0, SCHED_SEND, 1, 1);
	assert_int_equal(done(s, 1, 0, 2, &one), SCHED_CONFIRMED);
	assert_int_equal(sched_open(s), 1);
	assert_int_equal(done(s, 1, 1, 2, &two), SCHED_DIFFERS);
	assert_int_equal(sched_open(s), 0);
	expect_nothing(s, 0);
	sched_free(s);
}

static void
audits_are_skipped_in_the_end(void **state)
{
	struct scheduler *s = make();

	(void)state;
	sched_audit(s, add(s, 5));
	add(s, 4);
	up(s, 0, 0, 1);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 0);
	assert_int_equal(done(s, 0, 0, 1, &one), SCHED_ACCEPTED);
	/* Somebody may come as long as there is work. */
	expect_nothing(s, 0);
	assert_int_equal(done(s, 0, 1, 1, &one), SCHED_ACCEPTED);
	expect(s, 0, SCHED_AUDIT_SKIPPED, 0, 0);
	assert_int_equal(sched_open(s), 0);
	sched_free(s);
}

/* The only other worker has no room for it. */
static void
audits_are_not_postponed_for_ever(void **state)
{
	struct scheduler *s = make();

	(void)state;
	sched_audit(s, add(s, 5));
	up(s, 0, 0, 1);
	expect(s, 0, SCHED_SEND, 0, 0);
	up(s, 0, 1, 1);
	assert_int_equal(done(s, 0, 0, 1, &one), SCHED_ACCEPTED);
	for (int64_t now = 0; now < 30000; now += 10000) {
		sched_beat(s, now, (struct worker_id){0}, 0);
		sched_beat(s, now, (struct worker_id){1}, 0);
		expect(s, now, SCHED_SEND, 0, 1);
		postpone(s, now, 1, 0, (uint64_t)now / 10000 + 2);
	}
	expect(s, 20000, SCHED_AUDIT_SKIPPED, 0, 0);
	assert_int_equal(sched_open(s), 0);
	sched_free(s);
}

/* Events need not be followed by sched_next. */
static void
actions_wait(void **state)
{
	enum { WORKERS = 40 };
	struct scheduler *s = make();
	struct sched_action a;
	int cancels = 0;

	(void)state;
	for (int i = 0; i < 2 * WORKERS; i++)
		add(s, 1);
	for (uint64_t i = 0; i < WORKERS; i++)
		up(s, 0, i, 1);
	while (sched_next(s, 0, &a))
		;
	for (uint64_t i = 0; i < WORKERS; i++) {
		sched_cancel(s, 0, (struct job_id){i});
		gone(s, i);
		up(s, 0, WORKERS + i, 1);
	}
	for (uint64_t i = 0; i < WORKERS; i++)
		sched_cancel(s, 0, (struct job_id){WORKERS + i});
	while (sched_next(s, 0, &a))
		cancels += a.kind == SCHED_CANCEL;
	assert_int_equal(cancels, WORKERS);
	assert_int_equal(sched_open(s), 0);
	sched_free(s);
}

static void
cancelled_jobs_are_gone(void **state)
{
	struct scheduler *s = make();

	(void)state;
	add(s, 5);
	add(s, 4);
	up(s, 0, 0, 1);
	up(s, 0, 1, 1);
	sched_worker_drain(s, 0, (struct worker_id){1});
	expect(s, 0, SCHED_SEND, 0, 0);
	sched_cancel(s, 0, (struct job_id){0});
	sched_cancel(s, 0, (struct job_id){1});
	sched_cancel(s, 0, (struct job_id){1});
	expect(s, 0, SCHED_CANCEL, 0, 0);
	expect_nothing(s, 0);
	assert_int_equal(sched_open(s), 0);
	assert_int_equal(done(s, 0, 0, 1, &one), SCHED_DUPLICATE);
	assert_int_equal(done(s, 0, 0, 1, &two), SCHED_DUPLICATE);
	sched_free(s);
}

/* Whoever is told of last, in whatever order: each entry is its worker's. */
static void
missing_in_any_order(void **state)
{
	const uint64_t orders[][5] = {
	    {0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {2, 4, 0, 3, 1}, {3, 0, 4, 1, 2}};

	(void)state;
	for (size_t o = 0; o < 4; o++)
		for (uint64_t near = 0; near < 5; near++) {
			struct scheduler *s = make();

			add(s, MB);
			for (uint64_t w = 0; w < 5; w++)
				up(s, 0, w, 1);
			/* Twice: what is known is replaced. */
			for (size_t i = 0; i < 10; i++) {
				uint64_t w = orders[o][i % 5];
				uint64_t bytes = i < 5 ? SCHED_UNABLE
				    : w == near	       ? (uint64_t)0
						       : (uint64_t)1000000 * MB;

				assert_int_equal(
				    sched_set_missing(s, (struct worker_id){w},
					(struct job_id){0}, bytes, &e),
				    0);
			}
			expect(s, 0, SCHED_SEND, 0, near);
			sched_free(s);
		}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(back_without_what_was_lost),
	    cmocka_unit_test(poison_wants_distinct_workers),
	    cmocka_unit_test(poison_is_bounded),
	    cmocka_unit_test(attempts_have_a_deadline),
	    cmocka_unit_test(stragglers_get_a_copy),
	    cmocka_unit_test(fastest_worker_gets_the_largest),
	    cmocka_unit_test(all_will_wait_for_it),
	    cmocka_unit_test(copies_are_few),
	    cmocka_unit_test(blame_sets_aside),
	    cmocka_unit_test(last_usable_worker_stays),
	    cmocka_unit_test(postponed_jobs_are_no_failures),
	    cmocka_unit_test(draining_workers_end_their_jobs),
	    cmocka_unit_test(locality_waits_no_longer_than_the_transfer),
	    cmocka_unit_test(locality_counts_what_it_holds_back),
	    cmocka_unit_test(locality_comes_before_fetching),
	    cmocka_unit_test(locality_does_not_keep_all_waiting),
	    cmocka_unit_test(who_cannot_is_not_asked),
	    cmocka_unit_test(who_came_since_is_waited_for),
	    cmocka_unit_test(who_cannot_comes_last),
	    cmocka_unit_test(who_cannot_audits_nothing),
	    cmocka_unit_test(locality_spreads),
	    cmocka_unit_test(audits_need_a_second_worker),
	    cmocka_unit_test(audits_are_skipped_in_the_end),
	    cmocka_unit_test(audits_are_not_postponed_for_ever),
	    cmocka_unit_test(actions_wait),
	    cmocka_unit_test(cancelled_jobs_are_gone),
	    cmocka_unit_test(missing_in_any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
