#include "progress/json_lines.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "log.h"
#include "own.h"
#include "quiet_thread.h"
#include "text/json_text.h"
#include "wake_fd.h"

/* A longer line of somebody else's is several events. */
#define LINE_MAX_LEN 4096

static struct {
	bool on;
	int out;	  /* what standard error was */
	int from, stop;	  /* the pipe's end; readable: read what is there */
	pthread_t thread; /* reads it into */
	char line[LINE_MAX_LEN + 1];
	size_t len;
} state = {.out = -1, .from = -1, .stop = -1};

void
json_line(json_t *event)
{
	AUTO(own_freep) char *text = NULL;
	int out = state.on ? state.out : STDERR_FILENO;
	size_t len;

	if (event != NULL)
		text = json_dumps(event,
		    JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6));
	json_decref(event);
	if (text == NULL)
		return;
	/* The place of its 0 is the newline's. */
	len = strlen(text);
	text[len++] = '\n';
	while (write(out, text, len) < 0 && errno == EINTR)
		continue;
}

static const char *
level_name(enum log_level level)
{
	switch (level) {
	case LOG_ERROR:
		return "error";
	case LOG_WARNING:
		return "warning";
	case LOG_INFO:
		return "info";
	case LOG_DEBUG:
		break;
	}
	return "debug";
}

/* Without "quarry: warning: ". */
static const char *
text_of(enum log_level level, const char *line)
{
	static const char warning[] = "warning: ";
	const char *text = strstr(line, ": ");

	text = text == NULL ? line : text + 2;
	if (level == LOG_WARNING &&
	    strncmp(text, warning, strlen(warning)) == 0)
		text += strlen(warning);
	return text;
}

static void
on_log(void *arg, enum log_level level, const char *line)
{
	(void)arg;
	json_line(json_pack("{s:s,s:s,s:o}", "event", "log", "level",
	    level_name(level), "text", json_text(text_of(level, line))));
}

/* What others write: nobody knows how much it matters. */
static void
tell_line(void)
{
	state.line[state.len] = '\0';
	if (state.len > 0)
		json_line(json_pack("{s:s,s:o}", "event", "log", "text",
		    json_text(state.line)));
	state.len = 0;
}

static void
take(const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\n' || state.len == LINE_MAX_LEN)
			tell_line();
		if (data[i] != '\n')
			state.line[state.len++] =
			    data[i] == '\0' ? '?' : data[i];
	}
}

/* Until nobody writes any more, or it is time to end and nothing is left. */
static void *
read_lines(void *arg)
{
	struct pollfd fds[] = {
	    {state.from, POLLIN, 0}, {state.stop, POLLIN, 0}};
	char data[4096];
	ssize_t n = 1;

	(void)arg;
	while (n > 0) {
		if (poll(fds, 2, -1) < 0)
			continue;
		n = read(state.from, data, sizeof(data));
		if (n > 0)
			take(data, (size_t)n);
		else if (n < 0 && (errno == EINTR || errno == EAGAIN))
			n = fds[1].revents == 0;
	}
	tell_line();
	return NULL;
}

static void
close_all(void)
{
	own_closep(&state.out);
	own_closep(&state.from);
	own_closep(&state.stop);
}

int
json_lines_start(struct err *e)
{
	int ends[2] = {-1, -1}, rc;

	state.out = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	state.stop = wake_fd_new();
	if (state.out < 0 || state.stop < 0 || pipe2(ends, O_CLOEXEC) < 0) {
		err_set(e, ERR_FATAL, errno, "standard error");
		close_all();
		return -1;
	}
	state.from = ends[0];
	fcntl(state.from, F_SETFL, O_NONBLOCK);
	state.on = true; /* for the thread */
	rc = quiet_thread(&state.thread, read_lines, NULL);
	if (rc == 0)
		dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	if (rc == 0) {
		log_divert(on_log, NULL);
		return 0;
	}
	state.on = false;
	close_all();
	return err_set(e, ERR_FATAL, rc, "standard error's thread");
}

void
json_lines_end(void)
{
	if (!state.on)
		return;
	log_divert(NULL, NULL);
	dup2(state.out, STDERR_FILENO);
	wake_fd_set(state.stop);
	pthread_join(state.thread, NULL);
	state.on = false;
	close_all();
}
