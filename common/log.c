#include "log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
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
	void (*sink)(void *arg, enum log_level level, const char *line);
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
log_divert(
    void (*sink)(void *arg, enum log_level level, const char *line), void *arg)
{
	pthread_mutex_lock(&state.lock);
	state.sink = sink;
	state.arg = arg;
	pthread_mutex_unlock(&state.lock);
}

/* The character at s, of UTF-8, and its length; 0: there is none. */
static size_t
decode(const unsigned char *s, uint32_t *out)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = *s < 0x80 ? 1
	    : *s >> 5 == 6     ? 2
	    : *s >> 4 == 14    ? 3
	    : *s >> 3 == 30    ? 4
			       : 0;
	uint32_t c = len == 1 ? *s : len == 0 ? 0 : *s & (0x7fu >> len);

	for (size_t i = 1; i < len; i++) {
		if (s[i] >> 6 != 2)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (len == 0 || c < least[len] || c > 0x10ffff ||
	    (c >= 0xd800 && c < 0xe000))
		return 0;
	*out = c;
	return len;
}

/* Ends of lines and marks of direction are obeyed, too. */
static bool
is_obeyed(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c ||
	    (c >= 0x200e && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	    (c >= 0x2066 && c <= 0x2069);
}

void
log_clean(char *text)
{
	char *to = text;

	for (const char *s = text; *s != '\0';) {
		uint32_t c = 0;
		size_t len = decode((const unsigned char *)s, &c);

		if (len == 0 || is_obeyed(c)) {
			*to++ = '?';
			s += len == 0 ? 1 : len;
			continue;
		}
		memmove(to, s, len);
		to += len;
		s += len;
	}
	*to = '\0';
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
	log_clean(line);
	if (state.sink != NULL) {
		state.sink(state.arg, level, line);
	} else {
		len = strlen(line);
		line[len++] = '\n';
		while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
			continue;
	}
	pthread_mutex_unlock(&state.lock);
}
