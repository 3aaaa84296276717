/* What is shown of hosts, workers and jobs, by what is told of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <jansson.h>

#include "err.h"
#include "log.h"
#include "monotime.h"
#include "progress/progress.h"
#include "progress/progress_state.h"

#define MIB ((uint64_t)1 << 20)

static struct err e;
static FILE *file; /* takes standard error's place */
static int kept = -1;
static off_t seen; /* of it */
static char shown[1 << 16];

static struct progress *
begin(enum progress_mode mode)
{
	struct progress *p;

	log_start("quarry", LOG_INFO);
	assert_non_null(file = tmpfile());
	seen = 0;
	kept = dup(STDERR_FILENO);
	assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
	assert_int_equal(progress_new(mode, &p, &e), 0);
	progress_phase(p, "building layers");
	progress_tell_jobs(p);
	progress_totals(p, 100, 1000 * MIB);
	return p;
}

/* What was written since the last time. */
static const char *
look(void)
{
	ssize_t n = pread(fileno(file), shown, sizeof(shown) - 1, seen);

	assert_true(n >= 0);
	shown[n] = '\0';
	seen += n;
	return shown;
}

static const char *
end(struct progress *p)
{
	progress_free(p);
	dup2(kept, STDERR_FILENO);
	close(kept);
	look();
	fclose(file);
	return shown;
}

/* Where it can be seen. */
static void
wrong(const char *what, const char *text)
{
	dup2(kept, STDERR_FILENO);
	fail_msg("%s: \"%s\" in:\n%s", what, text, shown);
}

static void
has(const char *text)
{
	if (strstr(shown, text) == NULL)
		wrong("not there", text);
}

static void
is(const char *text)
{
	if (strcmp(shown, text) != 0)
		wrong("is not", text);
}

static void
has_not(const char *text)
{
	if (strstr(shown, text) != NULL)
		wrong("there", text);
}

static void
tick(struct progress *p)
{
	p->next = 0;
	look();
	assert_true(progress_tick(p, monotime_ms()) > 0);
	look();
}

/* Two workers of one host, and one of another. */
static void
three_workers(struct progress *p)
{
	progress_worker_up(p, 0, "alpha/10");
	progress_worker_up(p, 1, "alpha/11");
	progress_worker_up(p, 7, "beta/12");
	progress_job(p, 0, 1, "layer 1 (a)", 1 * MIB, 10 * MIB);
	progress_job(p, 1, 2, "layer 2 (b)", 2 * MIB, 20 * MIB);
	progress_job(p, 7, 3, "layer 3 (c)", 3 * MIB, 30 * MIB);
}

static void
bar_of_one_host(void **state)
{
	struct progress *p = begin(PROGRESS_BAR);

	(void)state;
	progress_worker_up(p, 0, "alpha/10");
	progress_job(p, 0, 1, "layer 1 (a)", 1 * MIB, 10 * MIB);
	tick(p);
	has("  alpha/10             layer 1 (a): 1.00 MiB of 10.0 MiB");
	has_not("worker");
	end(p);
}

static void
bar_of_hosts(void **state)
{
	struct progress *p = begin(PROGRESS_BAR);

	(void)state;
	three_workers(p);
	tick(p);
	has("  2 hosts, 3 workers\033[K\n");
	has("  alpha                2 workers, 2 layers\033[K\n"
	    "    layer 1 (a): 1.00 MiB of 10.0 MiB\033[K\n"
	    "    layer 2 (b): 2.00 MiB of 20.0 MiB\033[K\n"
	    "  beta                 1 worker, 1 layer\033[K\n"
	    "    layer 3 (c): 3.00 MiB of 30.0 MiB\033[K");
	/* One that is idle has no line. */
	progress_job_end(p, 7, 3, "layer 3 (c)", 30 * MIB, 1, true);
	tick(p);
	has("2 hosts, 3 workers");
	has("  alpha/10             layer 1 (a)");
	has_not("beta");
	end(p);
}

static void
bar_with_too_little_room(void **state)
{
	struct progress *p = begin(PROGRESS_BAR);
	char name[32];

	(void)state;
	for (size_t i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "h%02zu/1", i);
		progress_worker_up(p, i, name);
		progress_job(p, i, i, "layer", i * MIB, 100 * MIB);
		progress_job(p, i, 100 + i, "big", i * MIB, 200 * MIB);
	}
	tick(p);
	has("  20 hosts, 20 workers");
	has("  h00                  1 worker, 2 layers; big: 0 B of 200 MiB");
	has("  and 10 hosts more");
	assert_int_equal(p->lines, 13);
	for (size_t i = 1; i < 20; i++)
		progress_worker_gone(p, i, true);
	for (size_t i = 0; i < 20; i++)
		progress_job(p, 0, 200 + i, "layer", 0, MIB);
	tick(p);
	has("  1 host, 1 worker (20 joined, 19 lost)");
	has("  and 12 jobs more");
	end(p);
}

static void
events_are_told(void **state)
{
	struct progress *p = begin(PROGRESS_BAR);

	(void)state;
	three_workers(p);
	progress_again(p, 0, "layer 9", 2, SCHED_END_LOST);
	progress_again(p, 0, "layer 9", 3, SCHED_END_LOST);
	progress_again(p, 0, "layer 8", 2, SCHED_END_POSTPONED);
	progress_copy(p, 0, "layer 7", 2);
	progress_audit(p, "layer 5", true);
	progress_audit(p, "layer 6", false);
	progress_fetched(p, 3 * MIB);
	progress_worker_gone(p, 7, false);
	log_line(LOG_INFO, "a line above");
	look();
	has("a line above\n");
	/* 80 columns: the rest is cut. */
	has("  1 host, 2 workers (3 joined, 1 left), 3 again (2 lost, 1 "
	    "postponed), 1 second\033[K");
	end(p);
}

static void
plain_lines(void **state)
{
	struct progress *p = begin(PROGRESS_PLAIN);

	(void)state;
	three_workers(p);
	progress_again(p, 1, "layer 9 (x)", 2, SCHED_END_EXPIRED);
	progress_copy(p, 7, "layer 7 (y)", 3);
	progress_audit(p, "layer 5", true);
	progress_job_end(p, 0, 1, "layer 1 (a)", 10 * MIB, 2.5, true);
	look();
	is("quarry: again (expired): layer 9 (x), attempt 2, by alpha/11\n"
	   "quarry: again (copy): layer 7 (y), attempt 3, by beta/12\n"
	   "quarry: 1/100: layer 1 (a): 10.0 MiB in 2.5 s by alpha/10\n");
	assert_true(progress_tick(p, monotime_ms()) > 1000);
	assert_string_equal(look(), "");
	tick(p);
	is("quarry: 1/100: 15.0 MiB of 0.98 GiB; 2 hosts, 3 workers, 1 again "
	   "(1 expired), 1 second copy, audits: 1 agreed; alpha: 2 workers, "
	   "1 layer; beta: 1 worker, 1 layer\n");
	end(p);
}

/* One machine that works well is no news. */
static void
plain_lines_of_one_worker(void **state)
{
	struct progress *p = begin(PROGRESS_PLAIN);

	(void)state;
	progress_worker_up(p, 0, "alpha/10");
	tick(p);
	is("quarry: 0/100: 0 B of 0.98 GiB; alpha: 1 worker, 0 layers\n");
	/* Other phases say nothing of themselves. */
	progress_phase(p, "writing the image");
	assert_int_equal(progress_tick(p, INT64_MAX), -1);
	end(p);
}

static json_t *
line_of(const char *event)
{
	const char *line = look();
	json_t *found = NULL;

	for (; *line != '\0'; line = strchr(line, '\n') + 1) {
		json_t *doc = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);

		assert_non_null(doc);
		if (strcmp(json_string_value(json_object_get(doc, "event")),
			event) == 0) {
			json_decref(found);
			found = json_incref(doc);
		}
		json_decref(doc);
	}
	assert_non_null(found);
	return found;
}

static void
expect_json(const char *event, const char *text)
{
	json_t *got = line_of(event);
	json_t *want = json_loads(text, 0, NULL);

	assert_non_null(want);
	if (!json_equal(got, want))
		fail_msg("%s", json_dumps(got, 0));
	json_decref(got);
	json_decref(want);
}

static void
json_lines(void **state)
{
	struct progress *p = begin(PROGRESS_JSON);

	(void)state;
	progress_worker_up(p, 0, "alpha/10");
	expect_json("worker",
	    "{\"event\":\"worker\",\"name\":\"alpha/10\",\"host\":\"alpha\"}");
	progress_again(p, 0, "layer 9", 2, SCHED_END_FAILED);
	expect_json("again",
	    "{\"event\":\"again\",\"layer\":\"layer 9\",\"worker\":"
	    "\"alpha/10\",\"attempt\":2,\"reason\":\"failed\"}");
	progress_audit(p, "layer 5", false);
	expect_json("audit",
	    "{\"event\":\"audit\",\"layer\":\"layer 5\",\"agreed\":false}");
	progress_read(p, 4);
	progress_fetched(p, 5);
	progress_job(p, 0, 1, "layer 1", 7, 10);
	p->next = 0;
	progress_tick(p, monotime_ms());
	expect_json("progress",
	    "{\"event\":\"progress\",\"phase\":\"building layers\","
	    "\"bytes\":7,\"bytes_total\":1048576000,\"jobs_done\":0,"
	    "\"jobs\":100,\"hosts\":1,\"workers\":1,\"jobs_running\":1,"
	    "\"by_host\":[{\"host\":\"alpha\",\"workers\":1,\"running\":1}],"
	    "\"running\":[{\"layer\":\"layer 1\",\"worker\":\"alpha/10\","
	    "\"bytes\":7,\"bytes_total\":10}],"
	    "\"totals\":{\"joined\":1,\"lost\":0,\"left\":0,\"again_lost\":0,"
	    "\"again_failed\":1,\"again_expired\":0,\"again_postponed\":0,"
	    "\"copies\":0,\"audits_agreed\":0,\"audits_skipped\":1,"
	    "\"bytes_read\":4,\"bytes_fetched\":5,\"pushes\":0,\"layers_"
	    "pushed\":0,"
	    "\"layers_uploaded\":0,\"layers_mounted\":0,"
	    "\"pushes_left\":0,\"uploads_failed\":0,"
	    "\"bytes_uploaded\":0}}");
	progress_worker_gone(p, 0, true);
	expect_json("worker_gone",
	    "{\"event\":\"worker_gone\",\"name\":\"alpha/10\",\"lost\":true}");
	end(p);
}

/* Whatever comes and goes, in whatever order, is found again. */
static void
jobs_are_found(void **state)
{
	enum { WORKERS = 50, JOBS = 40 };
	static bool runs[WORKERS][JOBS];
	struct progress *p = begin(PROGRESS_JSON);
	uint64_t random = 1, bytes = 0;
	size_t n = 0;

	(void)state;
	for (size_t w = 0; w < WORKERS; w++)
		progress_worker_up(p, w, "h/1");
	for (int i = 0; i < 100000; i++) {
		size_t w, j;

		random = random * 6364136223846793005u + 1442695040888963407u;
		w = (random >> 33) % WORKERS;
		j = (random >> 45) % JOBS;
		if ((random >> 60) % 2 == 0) {
			n += !runs[w][j];
			bytes += runs[w][j] ? 0 : j;
			runs[w][j] = true;
			progress_job(p, w, j, "layer", j, JOBS);
		} else {
			n -= runs[w][j];
			bytes -= runs[w][j] ? j : 0;
			runs[w][j] = false;
			progress_job_end(p, w, j, "layer", 0, 0, false);
		}
		assert_int_equal(p->n_running, n);
		if (i % 1000 == 0)
			assert_int_equal(progress_bytes_now(p), bytes);
	}
	/* Some five slots a look-up, however many jobs run. */
	assert_true(p->by_job.looks < 1000000);
	for (size_t w = 0; w < WORKERS; w++) {
		progress_worker_gone(p, w, true);
		for (size_t j = 0; j < JOBS; j++)
			n -= runs[w][j];
		assert_int_equal(p->n_running, n);
	}
	assert_int_equal(p->by_job.n, 0);
	assert_int_equal(p->hosts_up, 0);
	/* Beats of one that is gone. */
	progress_job(p, 3, 1, "layer", 1, 2);
	progress_job(p, 999, 1, "layer", 1, 2);
	assert_int_equal(p->n_running, 0);
	end(p);
}

static void
hosts_by_name(void **state)
{
	struct progress *p = begin(PROGRESS_NONE);

	(void)state;
	progress_worker_up(p, 0, "a/1");
	assert_int_equal(p->n_hosts, 0);
	progress_tick(p, 0);
	p->mode = PROGRESS_JSON;
	progress_worker_up(p, 0, "a/1");
	progress_worker_up(p, 1, "a/22");
	progress_worker_up(p, 2, "tcp://server:4710");
	progress_worker_up(p, 3, "a/");
	progress_worker_up(p, 4, "");
	assert_int_equal(p->n_hosts, 4);
	assert_string_equal(p->host[0].name, "a");
	assert_int_equal(p->host[0].workers, 2);
	assert_string_equal(p->host[1].name, "tcp://server:4710");
	/* The same one again, by another name. */
	progress_worker_up(p, 1, "b/22");
	assert_int_equal(p->host[0].workers, 1);
	assert_int_equal(p->workers_up, 5);
	progress_worker_gone(p, 1, false);
	progress_worker_gone(p, 1, false);
	assert_int_equal(p->workers_up, 4);
	assert_int_equal(p->hosts_up, 4);
	end(p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bar_of_one_host),
	    cmocka_unit_test(bar_of_hosts),
	    cmocka_unit_test(bar_with_too_little_room),
	    cmocka_unit_test(events_are_told),
	    cmocka_unit_test(plain_lines),
	    cmocka_unit_test(plain_lines_of_one_worker),
	    cmocka_unit_test(json_lines),
	    cmocka_unit_test(jobs_are_found),
	    cmocka_unit_test(hosts_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
