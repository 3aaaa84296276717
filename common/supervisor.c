#include "supervisor.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "own.h"

#define TEXT_MAX 512
/* A supervisor that does not read must not hold this process up. */
#define SEND_S 1

static struct {
	struct sockaddr_un to;
	socklen_t len; /* 0: nobody wants to know */
	int64_t every; /* ms; 0: no watchdog */
	int64_t next;
} state;

/* A path, or '@' and a name that is in no file system. */
static void
take_socket(const char *name)
{
	size_t len = strlen(name);

	if ((*name != '/' && *name != '@') ||
	    len >= sizeof(state.to.sun_path)) {
		log_line(LOG_WARNING,
		    "NOTIFY_SOCKET: nothing can be told to '%.120s'", name);
		return;
	}
	state.to.sun_family = AF_UNIX;
	memcpy(state.to.sun_path, name, len);
	if (*name == '@')
		state.to.sun_path[0] = '\0';
	state.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

/* Half of the time that it has. */
static void
take_watchdog(const char *usec, const char *pid)
{
	char *end;
	uint64_t n;

	if (pid != NULL && strtoll(pid, NULL, 10) != getpid())
		return;
	errno = 0;
	n = strtoull(usec, &end, 10);
	if (errno != 0 || end == usec || *end != '\0' || n == 0 ||
	    n > INT64_MAX)
		log_line(
		    LOG_WARNING, "WATCHDOG_USEC: '%.40s' is no time", usec);
	else
		state.every = n < 2000 ? 1 : (int64_t)(n / 2000);
}

void
supervisor_start(void)
{
	const char *name = getenv("NOTIFY_SOCKET");
	const char *usec = getenv("WATCHDOG_USEC");

	memset(&state, 0, sizeof(state));
	if (name != NULL)
		take_socket(name);
	if (usec != NULL && state.len > 0)
		take_watchdog(usec, getenv("WATCHDOG_PID"));
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

static void
tell(const char *text)
{
	static const struct timeval patience = {.tv_sec = SEND_S};
	AUTO(own_closep) int fd = -1;

	if (state.len == 0)
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 ||
	    setsockopt(
		fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
	    sendto(fd, text, strlen(text), MSG_NOSIGNAL,
		(const struct sockaddr *)&state.to, state.len) < 0)
		log_line(LOG_DEBUG, "NOTIFY_SOCKET: %s", strerror(errno));
}

/* The status is the last of the lines. */
static void
tell_with(const char *lines, const char *status)
{
	char text[TEXT_MAX];

	snprintf(text, sizeof(text), "%s%s%s", lines,
	    status != NULL ? "STATUS=" : "", status != NULL ? status : "");
	/* What people named is one line. */
	for (char *at = text + strlen(lines); *at != '\0'; at++)
		if (*at == '\n')
			*at = ' ';
	tell(text);
}

void
supervisor_ready(const char *status)
{
	tell_with("READY=1\n", status);
}

void
supervisor_status(const char *status)
{
	tell_with("", status);
}

void
supervisor_reloading(void)
{
	char text[TEXT_MAX];
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRId64,
	    (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000);
	tell(text);
}

void
supervisor_stopping(void)
{
	tell("STOPPING=1");
}

int64_t
supervisor_watchdog(int64_t now)
{
	if (state.every == 0)
		return INT64_MAX;
	if (now >= state.next) {
		tell("WATCHDOG=1");
		state.next = now + state.every;
	}
	return state.next;
}
