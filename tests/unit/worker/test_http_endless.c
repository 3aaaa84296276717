/*
 * Answers over HTTP that do not end, to what gets from caches and to what
 * talks to registries: neither memory nor time is without end.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cmocka.h>

#include "err.h"
#include "http.h"
#include "http_get.h"

static pid_t server;
static char url[64];

/* Says begin, and then the rest again and again, to each who comes. */
static void
serve(int listener, const char *begin, const char *rest, useconds_t pause)
{
	char request[4096];
	int fd;

	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		if (read(fd, request, sizeof(request)) > 0 &&
		    send(fd, begin, strlen(begin), MSG_NOSIGNAL) > 0)
			while (send(fd, rest, strlen(rest), MSG_NOSIGNAL) > 0)
				usleep(pause);
		close(fd);
	}
	_exit(0);
}

static void
start(const char *begin, const char *rest, useconds_t pause)
{
	struct sockaddr_in at = {
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/x",
	    (unsigned)ntohs(at.sin_port));
	if ((server = fork()) == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(fd, begin, rest, pause);
	}
	assert_true(server > 0);
	close(fd);
}

static int
teardown(void **state)
{
	(void)state;
	if (server > 0) {
		kill(server, SIGKILL);
		waitpid(server, NULL, 0);
	}
	server = 0;
	return 0;
}

/* Reads to the end, which has to be a failure. */
static void
get_fails(bool unpack, const char *why)
{
	static const atomic_bool never;
	struct http_get *h = NULL;
	struct err e = ERR_INIT;
	const uint8_t *data;
	size_t len = 1;
	bool found;
	int rc;

	assert_int_equal(http_get_new(&never, &h, &e), 0);
	rc = http_get_open(h, url, unpack, &found, &e);
	while (rc == 0 && len > 0)
		rc = http_get_read(h, &data, &len, &e);
	assert_int_equal(rc, -1);
	assert_int_equal(e.kind, ERR_RETRY);
	assert_non_null(strstr(e.text, why));
	http_get_free(h);
}

static int
ask(long stall_s, struct http_answer *a, struct err *e)
{
	struct http_request r = {.method = "GET", .url = url, .fd = -1};
	struct http_options options = {.stall_s = stall_s};
	struct http_tls *tls = NULL;
	struct http *h = NULL;
	int rc;

	assert_int_equal(http_tls_new(NULL, true, &tls, e), 0);
	options.tls = tls;
	assert_int_equal(http_new(&options, &h, e), 0);
	rc = http_do(h, &r, a, e);
	http_free(h);
	http_tls_free(tls);
	return rc;
}

#define TRAILER                                                                \
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"                \
	"5\r\nhello\r\n0\r\n"

static void
test_trailers(void **state)
{
	struct http_answer a;
	struct err e = ERR_INIT;

	(void)state;
	start(TRAILER, "X-And: so on\r\nX-And: on\r\nX-And: on\r\n", 0);
	get_fails(false, "its headers do not end");
	assert_int_equal(ask(60, &a, &e), -1);
	assert_int_equal(a.fault, HTTP_REFUSED);
	assert_non_null(strstr(e.text, "too large"));
	http_answer_clear(&a);
}

static atomic_bool enough;

static void
on_alarm(int signal)
{
	(void)signal;
	atomic_store(&enough, true);
}

/* A server may ask for a pause, though not for one without end. */
static void
test_pause(void **state)
{
	struct http_get *h = NULL;
	struct err e = ERR_INIT;
	bool found;

	(void)state;
	start("HTTP/1.1 503 No\r\nRetry-After: 9223372036854775807\r\n"
	      "Content-Length: 0\r\n\r\n",
	    "", 0);
	signal(SIGALRM, on_alarm);
	assert_int_equal(http_get_new(&enough, &h, &e), 0);
	alarm(3);
	assert_int_equal(http_get_open(h, url, false, &found, &e), -1);
	/* It was still waiting. */
	assert_int_equal(e.sys, ECANCELED);
	http_get_free(h);
}

/* Bytes without end that are no body: of a chunk's header. */
static void
test_no_body(void **state)
{
	struct http_answer a;
	struct err e = ERR_INIT;

	(void)state;
	start("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=", "x",
	    20);
	get_fails(false, "sent only 0 bytes in 20 s");
	assert_int_equal(ask(1, &a, &e), -1);
	assert_int_equal(a.fault, HTTP_BROKEN);
	http_answer_clear(&a);
}

/* A refusal is one, however much is said of it. */
static void
test_refusal(void **state)
{
	static char much[65536];
	struct http_answer a;
	struct err e = ERR_INIT;

	(void)state;
	memset(much, 'x', sizeof(much) - 1);
	start("HTTP/1.1 403 Forbidden\r\n\r\n", much, 0);
	assert_int_equal(ask(60, &a, &e), 0);
	assert_int_equal(a.status, 403);
	assert_int_equal(a.len, HTTP_REFUSAL_MAX);
	http_answer_clear(&a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(test_trailers, teardown),
	    cmocka_unit_test_teardown(test_pause, teardown),
	    cmocka_unit_test_teardown(test_no_body, teardown),
	    cmocka_unit_test_teardown(test_refusal, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
