/* Snapshots that are handed in while others are read: none is half of two. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "err.h"
#include "monotime.h"
#include "progress/metrics.h"
#include "progress/status.h"

#define UPDATES 3000

static struct err e;
static atomic_bool over;

/* All of its numbers are n, and it has n % 50 workers. */
static struct status
all(uint64_t n)
{
	struct status s = {.cached = n, .bytes_made = n, .joins = n};

	s.jobs.done = s.measures.failed = n;
	s.worker = calloc(50, sizeof(*s.worker));
	assert_non_null(s.worker);
	for (; s.n_workers < n % 50; s.n_workers++)
		s.worker[s.n_workers].slots = n;
	return s;
}

static int
port_of(const struct metrics *m)
{
	return atoi(strrchr(metrics_url(m), ':') + 1);
}

/* What is answered, or an empty text; the caller's. */
static char *
get(int port, const char *path)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)port),
	    .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char *text = calloc(1, 1 << 20);
	size_t len = 0;
	ssize_t n;

	if (connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0) {
		dprintf(fd, "GET %s HTTP/1.0\r\n\r\n", path);
		while ((n = read(fd, text + len, (1 << 20) - 1 - len)) > 0)
			len += (size_t)n;
	}
	close(fd);
	return text;
}

static uint64_t
value(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at == NULL ? UINT64_MAX : strtoull(at + strlen(name), NULL, 10);
}

/* The number of scrapes, or NULL where one was torn. */
static void *
scrape(void *arg)
{
	static const char *const names[] = {
	    "\nquarry_jobs_done_total ",
	    "\nquarry_measures_failed_total ",
	    "\nquarry_layers_cached_total ",
	    "\nquarry_made_bytes_total ",
	    "\nquarry_workers_joined_total ",
	};
	const struct metrics *m = arg;
	uint64_t last = 0;
	uintptr_t n = 1;

	while (!atomic_load(&over)) {
		char *text = get(port_of(m), "/metrics");
		uint64_t v = value(text, names[0]);
		bool same = strstr(text, "200 OK") != NULL && v >= last &&
		    value(text, "\nquarry_workers ") == v % 50 &&
		    value(text, "\nquarry_slots ") == v % 50 * v;

		for (size_t i = 1; i < sizeof(names) / sizeof(names[0]); i++)
			same &= value(text, names[i]) == v;
		free(text);
		if (!same)
			return NULL;
		last = v;
		n++;
	}
	return (void *)n;
}

static void
no_half_snapshots(void **state)
{
	struct metrics *m;
	pthread_t thread[3];
	void *scraped;

	(void)state;
	atomic_store(&over, false);
	assert_int_equal(metrics_start("*", "build", false, &m, &e), 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(
		    pthread_create(&thread[i], NULL, scrape, m), 0);
	for (uint64_t n = 1; n <= UPDATES; n++) {
		struct status s = all(n);

		metrics_update(m, (int64_t)n, &s);
		assert_null(s.worker);
		usleep(200);
	}
	atomic_store(&over, true);
	for (size_t i = 0; i < 3; i++) {
		pthread_join(thread[i], &scraped);
		assert_true((uintptr_t)scraped > 1);
	}
	metrics_stop(m);
}

static void
how_often(void **state)
{
	struct status s = all(1);
	struct metrics *m;

	(void)state;
	assert_int_equal(
	    metrics_start("127.0.0.1:*", "build", false, &m, &e), 0);
	/* The first one at once. */
	metrics_update(m, 5000, &s);
	assert_int_equal(metrics_due(m), 5000 + METRICS_MS);
	metrics_stop(m);
}

/* Before there is any snapshot, and while somebody is in the middle. */
static void
begins_and_ends(void **state)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	struct metrics *m;
	char *text;
	int fd, port;

	(void)state;
	assert_int_equal(metrics_start("*", "build", false, &m, &e), 0);
	port = port_of(m);
	text = get(port, "/metrics");
	assert_non_null(
	    strstr(text, "version=\"" QUARRY_VERSION "\",command=\"build\""));
	assert_int_equal(value(text, "\nquarry_workers "), 0);
	free(text);
	text = get(port, "/healthz");
	assert_non_null(strstr(text, "\r\n\r\nok\n"));
	free(text);
	at.sin_port = htons((uint16_t)port);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	dprintf(fd, "GET /met");
	metrics_stop(m);
	close(fd);
	/* The port is free again, at once. */
	text = malloc(32);
	snprintf(text, 32, "127.0.0.1:%d", port);
	assert_int_equal(metrics_start(text, "build", false, &m, &e), 0);
	metrics_stop(m);
	free(text);
}

static void
healthy(const struct metrics *m, bool want)
{
	char *text = get(port_of(m), "/healthz");

	assert_non_null(strstr(text, want ? " 200 " : " 503 "));
	assert_non_null(strstr(text, want ? "\nok\n" : "not come round"));
	free(text);
}

/* One that stays up has to come round, a build may do other things. */
static void
stands_still(void **state)
{
	int64_t long_ago = monotime_ms() - METRICS_STILL_MS - 1;

	(void)state;
	for (int stays = 0; stays < 2; stays++) {
		struct status s = all(1), t = all(2);
		struct metrics *m;

		assert_int_equal(metrics_start("*", "serve", stays, &m, &e), 0);
		healthy(m, true);
		metrics_update(m, long_ago, &s);
		healthy(m, !stays);
		metrics_update(m, monotime_ms(), &t);
		healthy(m, true);
		metrics_stop(m);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_half_snapshots),
	    cmocka_unit_test(how_often),
	    cmocka_unit_test(begins_and_ends),
	    cmocka_unit_test(stands_still),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
