#include "progress/metrics.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "endpoint.h"
#include "err.h"
#include "monotime.h"
#include "own.h"
#include "progress/status.h"

#define LOOPBACK "127.0.0.1"
#define BACKLOG 16
#define TEXT "text/plain; version=0.0.4; charset=utf-8"

struct metrics {
	struct MHD_Daemon *daemon;
	int64_t start;
	_Atomic int64_t updated; /* ms */
	bool stays;
	char url[NI_MAXHOST + 64];
	pthread_mutex_t lock;
	struct status status; /* under the lock */
};

/* Two parts of `where`; both are the caller's to free. */
static int
split(const char *where, char **host, char **port, struct err *e)
{
	const char *colon = strrchr(where, ':');
	size_t len = colon == NULL ? 0 : (size_t)(colon - where);
	const char *from = where;

	if (len >= 2 && where[0] == '[' && where[len - 1] == ']') {
		from++;
		len -= 2;
	}
	*host = colon == NULL ? strdup(LOOPBACK) : strndup(from, len);
	*port = strdup(colon == NULL ? where : colon + 1);
	if (*host != NULL && *port != NULL)
		return 0;
	return err_set(e, ERR_FATAL, errno, "--metrics");
}

int
metrics_check(const char *where, struct err *e)
{
	bool port_only = strchr(where, ':') == NULL;
	struct err bad = ERR_INIT;
	struct endpoint endpoint;
	char text[ENDPOINT_MAX + 1];
	int n = snprintf(text, sizeof(text), "tcp://%s%s",
	    port_only ? LOOPBACK ":" : "", where);

	if (n >= (int)sizeof(text) ||
	    endpoint_check(text, true, &endpoint, &bad) < 0)
		return err_set(e, ERR_USAGE, 0,
		    "--metrics '%.120s': wanted is HOST:PORT, [IPV6]:PORT or "
		    "PORT",
		    where);
	return 0;
}

/* The first address that can be listened at; -1: errno is the last one's. */
static int
listen_at(const struct addrinfo *list)
{
	for (const struct addrinfo *a = list; a != NULL; a = a->ai_next) {
		AUTO(own_closep)
		int fd = socket(a->ai_family,
		    a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		int yes = 1, no = 0;

		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
		if (a->ai_family == AF_INET6)
			setsockopt(
			    fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no));
		if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 &&
		    listen(fd, BACKLOG) == 0) {
			int open = fd;

			fd = -1;
			return open;
		}
	}
	return -1;
}

static int
look_up(const char *host, const char *port, int family, struct addrinfo **out)
{
	const struct addrinfo hints = {.ai_family = family,
	    .ai_socktype = SOCK_STREAM,
	    .ai_flags = AI_PASSIVE | AI_NUMERICSERV};

	return getaddrinfo(strcmp(host, "*") == 0 ? NULL : host,
	    strcmp(port, "*") == 0 ? "0" : port, &hints, out);
}

/* Every address: a socket of IPv6 takes those of IPv4, too, if there is one. */
static int
open_socket(const char *where, struct err *e)
{
	AUTO(own_freep) char *host = NULL;
	AUTO(own_freep) char *port = NULL;
	int fd = -1, rc = EAI_NONAME, sys = 0;

	if (split(where, &host, &port, e) < 0)
		return -1;
	for (int try = 0; try < 2 && fd < 0 && sys != EADDRINUSE; try++) {
		bool any = strcmp(host, "*") == 0;
		struct addrinfo *list;

		rc = look_up(host, port,
		    !any	   ? AF_UNSPEC
			: try == 0 ? AF_INET6
				   : AF_INET,
		    &list);
		if (rc != 0)
			continue;
		fd = listen_at(list);
		sys = errno;
		freeaddrinfo(list);
	}
	if (fd < 0 && rc != 0)
		return err_set(e, ERR_FATAL, 0, "--metrics %.120s: %s", where,
		    gai_strerror(rc));
	if (fd < 0)
		return err_set(e, ERR_FATAL, sys, "--metrics %.120s", where);
	return fd;
}

static int
name_url(struct metrics *m, int fd, struct err *e)
{
	struct sockaddr_storage at;
	socklen_t len = sizeof(at);
	char host[NI_MAXHOST], port[NI_MAXSERV];
	bool six;

	if (getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		return err_set(e, ERR_FATAL, errno, "--metrics");
	if (getnameinfo((struct sockaddr *)&at, len, host, sizeof(host), port,
		sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return err_set(e, ERR_FATAL, 0, "--metrics: no name");
	six = strchr(host, ':') != NULL;
	snprintf(m->url, sizeof(m->url), "http://%s%s%s:%s/metrics",
	    six ? "[" : "", host, six ? "]" : "", port);
	return 0;
}

static enum MHD_Result
answer(struct MHD_Connection *c, unsigned status, const char *type, char *text,
    enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *r =
	    MHD_create_response_from_buffer(strlen(text), text, mode);
	enum MHD_Result rc = MHD_NO;

	if (r == NULL) {
		if (mode == MHD_RESPMEM_MUST_FREE)
			free(text);
		return MHD_NO;
	}
	if (MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type) ==
		MHD_YES &&
	    (status != MHD_HTTP_METHOD_NOT_ALLOWED ||
		MHD_add_response_header(
		    r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD") == MHD_YES))
		rc = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return rc;
}

static enum MHD_Result
say(struct MHD_Connection *c, unsigned status, const char *text)
{
	return answer(c, status, "text/plain; charset=utf-8", (char *)text,
	    MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result
tell_metrics(struct metrics *m, struct MHD_Connection *c)
{
	struct err e = ERR_INIT;
	struct status s;
	char *text;
	int rc;

	pthread_mutex_lock(&m->lock);
	rc = status_copy(&m->status, &s, &e);
	pthread_mutex_unlock(&m->lock);
	if (rc == 0) {
		s.uptime_ms = (uint64_t)(monotime_ms() - m->start);
		rc = status_prometheus(&s, &text, &e);
		status_clear(&s);
	}
	if (rc < 0)
		return say(
		    c, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
	return answer(c, MHD_HTTP_OK, TEXT, text, MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result
tell_health(const struct metrics *m, struct MHD_Connection *c)
{
	int64_t since = monotime_ms() - m->updated;

	if (m->stays && since > METRICS_STILL_MS)
		return say(c, MHD_HTTP_SERVICE_UNAVAILABLE,
		    "the coordinator has not come round for 30 s\n");
	return say(c, MHD_HTTP_OK, "ok\n");
}

/* What a request carries besides is not read. */
static enum MHD_Result
on_request(void *arg, struct MHD_Connection *c, const char *url,
    const char *method, const char *version, const char *data, size_t *len,
    void **state)
{
	(void)version;
	(void)data;
	(void)len;
	(void)state;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 &&
	    strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return say(c, MHD_HTTP_METHOD_NOT_ALLOWED,
		    "only GET and HEAD are answered\n");
	if (strcmp(url, "/metrics") == 0)
		return tell_metrics(arg, c);
	if (strcmp(url, "/healthz") == 0)
		return tell_health(arg, c);
	return say(c, MHD_HTTP_NOT_FOUND, "there are /metrics and /healthz\n");
}

/* Whoever asks cannot write into our log. */
static void
log_nothing(void *arg, const char *fmt, va_list args)
{
	(void)arg;
	(void)fmt;
	(void)args;
}

/* Its thread gets no signals: they are the main thread's.  Takes fd. */
static int
start_daemon(struct metrics *m, int fd, struct err *e)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	m->daemon = MHD_start_daemon(
	    MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG, 0, NULL, NULL,
	    on_request, m, MHD_OPTION_EXTERNAL_LOGGER, log_nothing, NULL,
	    MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
	    (unsigned)METRICS_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
	    (unsigned)METRICS_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	    (size_t)METRICS_REQUEST_MAX, MHD_OPTION_END);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (m->daemon != NULL)
		return 0;
	close(fd);
	return err_set(e, ERR_FATAL, 0, "--metrics: its thread cannot start");
}

int
metrics_start(const char *where, const char *command, bool stays,
    struct metrics **out, struct err *e)
{
	struct metrics *m;
	int fd;

	if (metrics_check(where, e) < 0 || (fd = open_socket(where, e)) < 0)
		return -1;
	if ((m = calloc(1, sizeof(*m))) == NULL) {
		close(fd);
		return err_set(e, ERR_FATAL, errno, "--metrics");
	}
	pthread_mutex_init(&m->lock, NULL);
	m->start = monotime_ms();
	m->stays = stays;
	m->updated = m->start - METRICS_MS;
	status_name(
	    m->status.version, sizeof(m->status.version), QUARRY_VERSION);
	status_name(m->status.command, sizeof(m->status.command), command);
	if (name_url(m, fd, e) < 0) {
		close(fd);
		metrics_stop(m);
		return -1;
	}
	if (start_daemon(m, fd, e) < 0) {
		metrics_stop(m);
		return -1;
	}
	*out = m;
	return 0;
}

void
metrics_stop(struct metrics *m)
{
	if (m == NULL)
		return;
	if (m->daemon != NULL)
		MHD_stop_daemon(m->daemon);
	status_clear(&m->status);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

const char *
metrics_url(const struct metrics *m)
{
	return m->url;
}

int64_t
metrics_due(const struct metrics *m)
{
	return m->updated + METRICS_MS;
}

void
metrics_update(struct metrics *m, int64_t now, struct status *s)
{
	struct status old;

	pthread_mutex_lock(&m->lock);
	old = m->status;
	m->status = *s;
	pthread_mutex_unlock(&m->lock);
	*s = (struct status){0};
	status_clear(&old);
	m->updated = now;
}
