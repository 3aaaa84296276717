#include "progress/progress_state.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "text/human.h"
#include "process/interrupt.h"
#include "log.h"
#include "monotime.h"

/* Below the bar. */
#define LINES_MAX 12
#define BAR_MAX 40
/* Columns that a line needs besides the bar. */
#define BAR_REST 74
#define CURSOR_HIDE "\033[?25l"
#define CURSOR_SHOW "\033[?25h"

/* Text that is collected and then written at once: no flicker. */
struct screen {
	char text[16384];
	size_t len, columns;
	size_t lines, max; /* that were put, and may be */
};

static void put(struct screen *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void
put(struct screen *s, const char *fmt, ...)
{
	size_t room = sizeof(s->text) - s->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(s->text + s->len, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		s->len += (size_t)n < room ? (size_t)n : room - 1;
}

/* A line, cut to the terminal's width, control characters made harmless. */
static void
put_line(struct screen *s, const char *line)
{
	char *to = s->text + s->len;
	size_t n = strlen(line);

	if (n > s->columns - 1)
		n = s->columns - 1;
	if (n + 8 > sizeof(s->text) - s->len)
		return;
	memcpy(to, line, n);
	to[n] = '\0';
	log_clean(to);
	s->len += strlen(to);
	put(s, "\033[K");
}

static void
write_all(const char *at, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDERR_FILENO, at, len);

		if (n < 0 && errno != EINTR)
			return;
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
}

static void
screen_write(struct screen *s)
{
	write_all(s->text, s->len);
	s->len = 0;
}

/* Where the bar was erased. */
static void
write_held(struct progress *p, struct screen *s)
{
	pthread_mutex_lock(&p->lock);
	if (p->held_len > 0) {
		screen_write(s);
		write_all(p->held, p->held_len);
	}
	p->held_len = 0;
	pthread_mutex_unlock(&p->lock);
}

/* To where the bar begins, and nothing below it. */
static void
erase(struct progress *p, struct screen *s)
{
	if (p->lines > 1)
		put(s, "\033[%zuA", p->lines - 1);
	if (p->lines > 0)
		put(s, "\r\033[J");
	p->lines = 0;
}

/*
 * "building layers  45% [######----] 0:03 left  34/100  1.2 GiB/s  312 MiB of
 * 700 MiB": what matters most comes first, narrow terminals cut the rest.
 */
static void
bar_line(const struct progress *p, int64_t now, size_t columns, char *out,
    size_t size)
{
	char done[HUMAN_MAX], total[HUMAN_MAX], rate[HUMAN_MAX],
	    left[HUMAN_MAX];
	char bar[BAR_MAX + 4] = "";
	uint64_t bytes = progress_bytes_now(p);
	double seconds = (double)(now - p->phase_start) / 1000, share;

	if (p->jobs == 0) {
		snprintf(out, size, "%s", p->phase);
		return;
	}
	/* The total is an estimate (tar adds headers); 100% is the end. */
	share = p->bytes > 0 ? (double)bytes / (double)p->bytes
			     : (double)p->jobs_done / (double)p->jobs;
	if (share > 0.99)
		share = p->jobs_done == p->jobs ? 1 : 0.99;
	if (columns > BAR_REST) {
		size_t width = columns - BAR_REST;

		width = width < BAR_MAX ? width : BAR_MAX;
		memset(bar, '-', width + 3);
		bar[0] = '[';
		memset(bar + 1, '#', (size_t)(share * (double)width));
		memcpy(bar + width + 1, "] ", 3);
	}
	human_bytes(bytes, done);
	human_bytes(p->bytes, total);
	human_bytes(
	    seconds > 0.2 ? (uint64_t)((double)bytes / seconds) : 0, rate);
	if (share > 0.01)
		human_seconds(seconds / share - seconds, left);
	else
		snprintf(left, sizeof(left), "?"); /* too early to say */
	snprintf(out, size, "%s %3d%% %s%s left  %zu/%zu  %s/s  %s of %s",
	    p->phase, (int)(share * 100), bar, left, p->jobs_done, p->jobs,
	    rate, done, total);
}

/* One more line, if there is room. */
static void
put_below(struct screen *s, const char *line)
{
	if (s->lines >= s->max)
		return;
	put(s, "\n");
	put_line(s, line);
	s->lines++;
}

/* "and 3 jobs more", where a list ends. */
static void
put_more(struct screen *s, size_t n, const char *what)
{
	char line[64];

	snprintf(line, sizeof(line), "  and %zu %s more", n, what);
	put_below(s, line);
}

/* All jobs, one below the other. */
static void
put_jobs(const struct progress *p, struct screen *s)
{
	char line[256], job[200];

	for (size_t i = 0; i < p->n_running; i++) {
		const struct running *r = &p->running[i];

		if (s->lines + 1 == s->max && i + 1 < p->n_running) {
			put_more(s, p->n_running - i, "jobs");
			return;
		}
		progress_text_job(r, job, sizeof(job));
		snprintf(line, sizeof(line), "  %-20s %s",
		    progress_worker_name(p, r->worker), job);
		put_below(s, line);
	}
}

/* A host, and the jobs that run there: its first one where all have no room. */
static void
put_host(const struct progress *p, struct screen *s, size_t host, bool all)
{
	const struct seen_host *h = &p->host[host];
	char line[256], text[64], job[200] = "";

	progress_text_host(h, text, sizeof(text));
	if (!all && h->most != NULL)
		progress_text_job(h->most, job, sizeof(job));
	snprintf(line, sizeof(line), "  %-20s %s%s%s", h->name, text,
	    *job != '\0' ? "; " : "", job);
	put_below(s, line);
	for (size_t i = 0; all && i < p->n_running; i++) {
		if (p->worker[p->running[i].worker].host != host)
			continue;
		progress_text_job(&p->running[i], job, sizeof(job));
		snprintf(line, sizeof(line), "    %s", job);
		put_below(s, line);
	}
}

/* Those that work on something. */
static void
put_hosts(const struct progress *p, struct screen *s, size_t hosts)
{
	bool all = hosts + p->n_running <= s->max - s->lines;
	size_t told = 0;

	for (size_t i = 0; i < p->n_hosts; i++) {
		if (p->host[i].running == 0)
			continue;
		if (s->lines + 1 == s->max && told + 1 < hosts) {
			put_more(s, hosts - told, "hosts");
			return;
		}
		put_host(p, s, i, all);
		told++;
	}
}

/* What is below the bar. */
static void
put_work(struct progress *p, struct screen *s)
{
	char line[256] = "  ";
	size_t hosts;

	progress_text_events(p, line + 2, sizeof(line) - 2);
	if (line[2] != '\0')
		put_below(s, line);
	hosts = progress_count_hosts(p);
	if (hosts > 1 && s->lines < s->max)
		put_hosts(p, s, hosts);
	else
		put_jobs(p, s);
}

/* A signal must remove the lines that are drawn now. */
static void
restore_set(struct progress *p)
{
	char *text = p->restore[p->restore_at ^= 1];
	size_t up = p->lines > 0 ? p->lines - 1 : 0;

	/* "0A" would go up one line, too. */
	if (up > 0)
		snprintf(text, sizeof(p->restore[0]),
		    "\033[%zuA\r\033[J" CURSOR_SHOW, up);
	else
		snprintf(text, sizeof(p->restore[0]), "\r\033[J" CURSOR_SHOW);
	interrupt_terminal(text);
}

/* above: a line for people that stays, over the bar; or NULL. */
static void
draw(struct progress *p, int64_t now, const char *above)
{
	struct screen s = {.columns = 80};
	struct winsize size = {0};
	size_t rows = 24;
	char line[512];

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
		s.columns = size.ws_col;
		rows = size.ws_row;
	}
	if (!p->shown)
		put(&s, CURSOR_HIDE);
	p->shown = true;
	erase(p, &s);
	write_held(p, &s);
	if (above != NULL)
		put(&s, "%.4000s\n", above);
	bar_line(p, now, s.columns, line, sizeof(line));
	put_line(&s, line);
	s.max = rows > 3 ? rows - 3 : 0;
	if (s.max > LINES_MAX)
		s.max = LINES_MAX;
	put_work(p, &s);
	p->lines = 1 + s.lines;
	put(&s, "\r");
	screen_write(&s);
	restore_set(p);
}

static void
on_log(void *arg, enum log_level level, const char *line)
{
	struct progress *p = arg;
	size_t len = strlen(line);
	char *grown;

	(void)level;
	if (pthread_equal(pthread_self(), p->owner)) {
		draw(p, monotime_ms(), line);
		return;
	}
	pthread_mutex_lock(&p->lock);
	if ((grown = realloc(p->held, p->held_len + len + 1)) != NULL) {
		p->held = grown;
		memcpy(grown + p->held_len, line, len);
		grown[p->held_len + len] = '\n';
		p->held_len += len + 1;
	}
	pthread_mutex_unlock(&p->lock);
}

void
progress_bar_start(struct progress *p)
{
	interrupt_terminal(CURSOR_SHOW);
	log_divert(on_log, p);
}

void
progress_bar_draw(struct progress *p, int64_t now)
{
	draw(p, now, NULL);
}

void
progress_bar_end(struct progress *p)
{
	struct screen s = {.columns = 80};

	log_divert(NULL, NULL);
	erase(p, &s);
	write_held(p, &s);
	if (p->shown)
		put(&s, CURSOR_SHOW);
	screen_write(&s);
	interrupt_terminal(NULL);
	p->shown = false;
}
