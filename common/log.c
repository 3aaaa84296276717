#include "log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "err.h"

/* An error's text, and what its reporter says around it. */
#define LINE_MAX_LEN (ERR_TEXT_MAX + 512)

/* Process-wide, as standard error is. */
static struct {
	pthread_mutex_t lock;
	const char *program;
	enum log_level level;
	void (*sink)(void *arg, const char *line);
	void *arg;
} state = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .program = "quarry",
    .level = LOG_INFO,
};

void
log_start(const char *program, enum log_level level)
{
	pthread_mutex_lock(&state.lock);
	state.program = program;
	state.level = level;
	pthread_mutex_unlock(&state.lock);
}

void
log_divert(void (*sink)(void *arg, const char *line), void *arg)
{
	pthread_mutex_lock(&state.lock);
	state.sink = sink;
	state.arg = arg;
	pthread_mutex_unlock(&state.lock);
}

/*
 * File names may hold anything: a line stays one line, and nothing that a
 * terminal obeys gets through.  UTF-8 is left alone.
 */
static void
clean(char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

void
log_line(enum log_level level, const char *fmt, ...)
{
	char line[LINE_MAX_LEN + 1]; /* and its newline */
	size_t len;
	va_list ap;
	int n;

	pthread_mutex_lock(&state.lock);
	if (level > state.level) {
		pthread_mutex_unlock(&state.lock);
		return;
	}
	n = snprintf(line, LINE_MAX_LEN, "%s: %s", state.program,
	    level == LOG_WARNING ? "warning: " : "");
	if (n >= 0 && (size_t)n < LINE_MAX_LEN) {
		va_start(ap, fmt);
		vsnprintf(line + n, LINE_MAX_LEN - (size_t)n, fmt, ap);
		va_end(ap);
	}
	clean(line);
	if (state.sink != NULL) {
		state.sink(state.arg, line);
	} else {
		len = strlen(line);
		line[len++] = '\n';
		while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
			continue;
	}
	pthread_mutex_unlock(&state.lock);
}
