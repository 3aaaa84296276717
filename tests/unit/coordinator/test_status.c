/* A snapshot as JSON and back, as a table, and as Prometheus' text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "err.h"
#include "progress/status.h"
#include "progress/status_fields.h"

/* Each number is another one. */
static struct status
example(size_t workers, size_t clients)
{
	struct status s = {.session = 0x1fULL << 56};

	status_name(s.version, sizeof(s.version), "0.1.0");
	status_name(s.command, sizeof(s.command), "serve");
	for (size_t i = 0; i < status_fields; i++)
		status_set(&s, &status_field[i], 1000 + i);
	s.workers_omitted = s.clients_omitted = 0;
	s.worker = calloc(workers + 1, sizeof(*s.worker));
	s.client = calloc(clients + 1, sizeof(*s.client));
	for (s.n_workers = 0; s.n_workers < workers; s.n_workers++) {
		struct status_worker *w = &s.worker[s.n_workers];
		size_t n = s.n_workers;
		char name[64];

		snprintf(name, sizeof(name), "host-%05zu/%zu", n / 2, n);
		status_name(w->name, sizeof(w->name), name);
		*w = (struct status_worker){.remote = n % 2 == 1,
		    .draining = n % 3 == 1,
		    .aside = n % 4 == 1,
		    .slots = n + 1,
		    .running = n,
		    .waiting = n % 2,
		    .rate = n << 20,
		    .done = 7 * n,
		    .failures = 3 * n};
		status_name(w->name, sizeof(w->name), name);
	}
	for (s.n_clients = 0; s.n_clients < clients; s.n_clients++) {
		struct status_client *c = &s.client[s.n_clients];
		char name[64];

		snprintf(name, sizeof(name), "client-%05zu/1", s.n_clients);
		status_name(c->name, sizeof(c->name), name);
		snprintf(c->image, sizeof(c->image), "image:%zu", s.n_clients);
		c->wanted = 2 * s.n_clients + 1;
		c->done = s.n_clients;
	}
	return s;
}

static void
assert_same(const struct status *a, const struct status *b)
{
	assert_string_equal(a->version, b->version);
	assert_string_equal(a->command, b->command);
	assert_true(a->session == b->session);
	for (size_t i = 0; i < status_fields; i++)
		assert_int_equal(status_get(a, &status_field[i]),
		    status_get(b, &status_field[i]));
	assert_int_equal(a->n_workers, b->n_workers);
	for (size_t i = 0; i < a->n_workers; i++)
		assert_memory_equal(
		    &a->worker[i], &b->worker[i], sizeof(a->worker[i]));
	assert_int_equal(a->n_clients, b->n_clients);
	for (size_t i = 0; i < a->n_clients; i++)
		assert_memory_equal(
		    &a->client[i], &b->client[i], sizeof(a->client[i]));
}

static void
json_and_back(void **state)
{
	struct status s = example(3, 2), got, copy;
	struct err e = ERR_INIT;
	char *text, *again;

	(void)state;
	assert_int_equal(status_json(&s, 1 << 20, &text, &e), 0);
	assert_non_null(strstr(text, "\"session\":\"1f00000000000000\""));
	assert_int_equal(status_parse(text, strlen(text), &got, &e), 0);
	assert_same(&s, &got);
	assert_int_equal(status_copy(&got, &copy, &e), 0);
	status_clear(&got);
	assert_same(&s, &copy);
	assert_int_equal(status_json(&copy, 1 << 20, &again, &e), 0);
	assert_string_equal(text, again);
	free(text);
	free(again);
	status_clear(&copy);
	status_clear(&s);
}

/* Lists are cut where the room ends, and say so. */
static void
json_has_room_for(size_t max, size_t workers, size_t clients)
{
	struct status s = example(workers, clients), got;
	struct err e = ERR_INIT;
	char *text;

	assert_int_equal(status_json(&s, max, &text, &e), 0);
	assert_true(strlen(text) <= max);
	assert_int_equal(status_parse(text, strlen(text), &got, &e), 0);
	assert_int_equal(got.n_workers + got.workers_omitted, workers);
	assert_int_equal(got.n_clients + got.clients_omitted, clients);
	/* No more is cut than has to be. */
	if (got.workers_omitted > 0 && max > STATUS_JSON_MIN)
		assert_true(strlen(text) + STATUS_JSON_MIN >= max - 512);
	free(text);
	status_clear(&got);
	status_clear(&s);
}

static void
json_is_cut(void **state)
{
	(void)state;
	json_has_room_for(STATUS_JSON_MIN, 100, 100);
	json_has_room_for(STATUS_JSON_MIN, 0, 0);
	json_has_room_for(768 << 10, 20000, 3);
	json_has_room_for(768 << 10, 20000, 20000);
	json_has_room_for(768 << 10, 2, 20000);
	json_has_room_for(20000, 40, 40);
}

static void
refuse(const char *text, const char *why)
{
	struct err e = ERR_INIT;
	struct status s;

	assert_int_equal(status_parse(text, strlen(text), &s, &e), -1);
	assert_int_equal(e.kind, ERR_PEER);
	if (strstr(e.text, why) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", e.text, why);
}

/* `from` in the example's JSON is replaced by `to`. */
static void
refuse_changed(const char *from, const char *to, const char *why)
{
	struct status s = example(1, 1);
	struct err e = ERR_INIT;
	char *text, *changed, *at;

	assert_int_equal(status_json(&s, 1 << 20, &text, &e), 0);
	assert_non_null(at = strstr(text, from));
	assert_true(asprintf(&changed, "%.*s%s%s", (int)(at - text), text, to,
			at + strlen(from)) > 0);
	refuse(changed, why);
	free(changed);
	free(text);
	status_clear(&s);
}

static void
what_is_wrong_is_named(void **state)
{
	char deep[64];

	(void)state;
	refuse("", "column");
	refuse("[]", "version is no string");
	refuse("{}", "version is no string");
	memset(deep, '[', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = '\0';
	refuse(deep, "nested");
	refuse_changed("\"queued\":", "\"queu\":", "jobs.queued");
	refuse_changed("\"queued\":1002", "\"queued\":-1", "jobs.queued");
	refuse_changed("\"queued\":1002", "\"queued\":1.5", "jobs.queued");
	refuse_changed("\"slots\":1", "\"slots\":\"1\"", "slots");
	refuse_changed("\"aside\":false", "\"aside\":0", "aside");
	refuse_changed("\"wanted\":1", "\"wanted\":null", "wanted");
	refuse_changed("1f0000", "1g0000", "session");
	refuse_changed("\"list\":[", "\"lost\":[", "no list");
}

/* What a peer calls itself cannot move the cursor or end a label. */
static void
names_are_harmless(void **state)
{
	struct status s = example(2, 1);
	struct err e = ERR_INIT;
	char *text;

	(void)state;
	status_name(s.worker[0].name, sizeof(s.worker[0].name),
	    "a\033[2J\n\"\\\xc3x/1");
	assert_string_equal(s.worker[0].name, "a?[2J?\"\\?x/1");
	status_name(s.worker[1].name, sizeof(s.worker[1].name),
	    "0123456789012345678901234567890123456789012345678901234567890123");
	assert_int_equal(strlen(s.worker[1].name), STATUS_NAME_SIZE - 1);
	assert_int_equal(status_json(&s, 1 << 20, &text, &e), 0);
	free(text);
	assert_int_equal(status_prometheus(&s, &text, &e), 0);
	assert_non_null(strstr(text, "worker=\"a?[2J?\\\"\\\\?x/1\""));
	free(text);
	status_clear(&s);
}

static void
lists_have_an_order(void **state)
{
	struct status s = example(3, 0);

	(void)state;
	strcpy(s.worker[0].name, "b/1");
	strcpy(s.worker[1].name, "c/1");
	strcpy(s.worker[2].name, "a/1");
	status_sort(&s);
	assert_string_equal(s.worker[0].name, "a/1");
	assert_int_equal(s.worker[0].slots, 3);
	assert_string_equal(s.worker[2].name, "c/1");
	status_clear(&s);
}

static void
expect_line(const char *text, const char *line)
{
	const char *at = text;
	size_t len = strlen(line);

	for (; at != NULL; at = strchr(at, '\n')) {
		at += *at == '\n';
		if (strncmp(at, line, len) == 0 &&
		    (at[len] == '\n' || at[len] == '\0'))
			return;
	}
	fail_msg("no line \"%s\" in:\n%s", line, text);
}

static const struct status_pushes pushes = {
    .open = 3,
    .there = 4,
    .mounted = 5,
    .uploaded = 6,
    .left = 7,
    .failed = 1,
    .uploaded_bytes = 2048,
    .own = 8,
    .own_bytes = 10,
};

static void
table(void **state)
{
	struct status s = example(2, 1);
	struct err e = ERR_INIT;
	char *text;

	(void)state;
	s.uptime_ms = 3723000;
	s.jobs = (struct sched_counts){.queued = 12,
	    .running = 4,
	    .done = 130,
	    .failed = 1,
	    .copies = 2,
	    .agreed = 5};
	s.jobs.retried[SCHED_END_LOST] = 3;
	s.measures = (struct sched_counts){0};
	s.bytes_made = 3 << 20;
	s.bytes_read = 2 << 20;
	s.bytes_fetched = 512;
	s.bytes_pulled = 0;
	s.workers_omitted = 9;
	s.pushes = pushes;
	s.joins = 14;
	s.losses = 2;
	s.leaves = 1;
	assert_int_equal(status_table(&s, &text, &e), 0);
	expect_line(text, "quarry    0.1.0, serve, up 1:02:03");
	expect_line(
	    text, "layers    12 queued, 4 running, 130 done, 1 failed, 0 left");
	expect_line(text,
	    "retries   0 failed, 3 lost, 0 expired, 0 postponed; "
	    "2 second copies");
	expect_line(text, "audits    5 agreed, 0 skipped");
	expect_line(text,
	    "bytes     2.00 MiB read, 512 B fetched, 3.00 MiB made, 0 B "
	    "pulled");
	expect_line(text,
	    "pushes    3 open, 6 uploaded (2.00 KiB), 5 mounted, 4 were there, "
	    "7 left (1 failed); 8 blobs from here (10 B)");
	expect_line(text, "workers   11 here; 14 joined, 2 lost, 1 left");
	expect_line(text,
	    "WORKER        WHERE  SLOTS RUNNING WAITING        RATE     DONE "
	    "FAILURES");
	expect_line(text,
	    "host-00000/0  local      1       0       0           -        0 "
	    "       0");
	expect_line(text,
	    "host-00000/1  remote     2       1       1  1.00 MiB/s        7 "
	    "       3  draining  aside");
	expect_line(text, "and 9 more");
	expect_line(text, "client-00000/1         1        0  image:0");
	assert_null(strstr(text, "sizes"));
	free(text);
	s.measures.added = s.measures.queued = 1;
	assert_int_equal(status_table(&s, &text, &e), 0);
	expect_line(
	    text, "sizes     1 queued, 0 running, 0 done, 0 failed, 0 left");
	free(text);
	status_clear(&s);
}

/* HELP and TYPE come once and first; no series comes twice. */
static void
check_families(char *text)
{
	char *line, *rest = text, seen[128][80];
	size_t n = 0;

	while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
		char name[80];

		if (sscanf(line, "# HELP %79s", name) == 1) {
			for (size_t i = 0; i < n; i++)
				assert_string_not_equal(seen[i], name);
			assert_true(n < 128);
			strcpy(seen[n++], name);
		} else if (sscanf(line, "# TYPE %79s", name) == 1) {
			assert_string_equal(seen[n - 1], name);
		} else {
			assert_int_equal(sscanf(line, "%79[a-z_]", name), 1);
			assert_string_equal(seen[n - 1], name);
		}
	}
}

static void
prometheus(void **state)
{
	struct status s = example(3, 2);
	struct err e = ERR_INIT;
	char *text;

	(void)state;
	s.uptime_ms = 1050;
	s.jobs.done = 17;
	s.jobs.retried[SCHED_END_LOST] = 4;
	assert_int_equal(status_prometheus(&s, &text, &e), 0);
	expect_line(
	    text, "quarry_build_info{version=\"0.1.0\",command=\"serve\"} 1");
	expect_line(text, "quarry_uptime_seconds 1.050");
	expect_line(text, "quarry_jobs_done_total 17");
	expect_line(text, "quarry_jobs_retries_total{reason=\"lost\"} 4");
	expect_line(text, "quarry_workers 3");
	expect_line(text, "quarry_slots 6");
	expect_line(text, "quarry_client_jobs_open 3");
	expect_line(text,
	    "quarry_worker_jobs_done_total{worker=\"host-00001/2\","
	    "where=\"local\"} 14");
	expect_line(text, "quarry_workers_unlisted 0");
	check_families(text);
	free(text);
	status_clear(&s);
}

static void
series_are_bounded(void **state)
{
	struct status s = example(2500, 100);
	struct err e = ERR_INIT;
	char *text, *at;
	size_t n = 0;

	(void)state;
	s.workers_omitted = 7;
	assert_int_equal(status_prometheus(&s, &text, &e), 0);
	for (at = text; (at = strstr(at, "\nquarry_worker_slots{")) != NULL;
	     at++)
		n++;
	assert_int_equal(n, STATUS_SERIES_MAX);
	expect_line(text, "quarry_workers 2507");
	expect_line(text, "quarry_workers_unlisted 1507");
	assert_null(strstr(text, "client-0"));
	free(text);
	status_clear(&s);
}

/* By Prometheus' own rules. */
static void
promtool_agrees(void **state)
{
	struct status s = example(3, 2);
	struct err e = ERR_INIT;
	char *text;
	FILE *f;
	int rc;

	(void)state;
	if (system("command -v promtool >/dev/null") != 0)
		skip();
	status_name(s.worker[0].name, sizeof(s.worker[0].name), "a\"b\\c/1");
	assert_int_equal(status_prometheus(&s, &text, &e), 0);
	assert_non_null(f = popen("promtool check metrics >&2", "w"));
	fputs(text, f);
	rc = pclose(f);
	assert_true(WIFEXITED(rc));
	assert_int_equal(WEXITSTATUS(rc), 0);
	free(text);
	status_clear(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(json_and_back),
	    cmocka_unit_test(json_is_cut),
	    cmocka_unit_test(what_is_wrong_is_named),
	    cmocka_unit_test(names_are_harmless),
	    cmocka_unit_test(lists_have_an_order),
	    cmocka_unit_test(table),
	    cmocka_unit_test(prometheus),
	    cmocka_unit_test(series_are_bounded),
	    cmocka_unit_test(promtool_agrees),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
