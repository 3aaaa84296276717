#include "progress.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <jansson.h>

#include "err.h"
#include "human.h"
#include "image.h"
#include "interrupt.h"
#include "log.h"
#include "monotime.h"
#include "own.h"

#define REDRAW_MS 100
#define JSON_MS 1000
#define WORKER_LINES_MAX 12
#define BAR_MAX 40
/* Columns that a line needs besides the bar. */
#define BAR_REST 74
#define CURSOR_HIDE "\033[?25l"
#define CURSOR_SHOW "\033[?25h"

struct running {
	size_t worker, job;
	const char *label;
	uint64_t bytes, total;
};

struct seen_worker {
	char name[64];
	bool up;
};

struct progress {
	enum progress_mode mode;
	const char *phase;
	size_t jobs, jobs_done;
	uint64_t bytes, bytes_done;
	int64_t phase_start, next;
	struct running *running;
	size_t n_running, room_running;
	struct seen_worker *worker;
	size_t n_workers;
	size_t lines; /* of the bar that are on the screen */
	bool shown;   /* the cursor is hidden */
	bool tell;    /* of the phase's jobs, in plain lines */
	/* Lines of other threads, which the next drawing shows. */
	pthread_t owner;
	pthread_mutex_t lock;
	char *held;
	size_t held_len;
	/* What a signal writes; the one that is not in use is changed. */
	char restore[2][40];
	unsigned restore_at;
};

/* Text that is collected and then written at once: no flicker. */
struct screen {
	char text[16384];
	size_t len, columns;
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
	size_t n = strlen(line);

	if (n > s->columns - 1)
		n = s->columns - 1;
	if (n + 8 > sizeof(s->text) - s->len)
		return;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)line[i];

		s->text[s->len++] = c < 0x20 || c == 0x7f ? '?' : line[i];
	}
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

static void draw(struct progress *p, int64_t now, const char *above);

static void
on_log(void *arg, const char *line)
{
	struct progress *p = arg;
	size_t len = strlen(line);
	char *grown;

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

int
progress_new(enum progress_mode mode, struct progress **out, struct err *e)
{
	struct progress *p;
	const char *term = getenv("TERM");

	if ((p = calloc(1, sizeof(*p))) == NULL)
		return err_set(e, ERR_FATAL, errno, "progress");
	if (mode == PROGRESS_AUTO)
		mode = isatty(STDERR_FILENO) && term != NULL &&
			strcmp(term, "dumb") != 0
		    ? PROGRESS_BAR
		    : PROGRESS_PLAIN;
	p->mode = mode;
	p->owner = pthread_self();
	pthread_mutex_init(&p->lock, NULL);
	p->phase = "starting";
	p->phase_start = monotime_ms();
	if (mode == PROGRESS_BAR) {
		interrupt_terminal(CURSOR_SHOW);
		log_divert(on_log, p);
	}
	*out = p;
	return 0;
}

static void
bar_end(struct progress *p)
{
	struct screen s = {.columns = 80};

	if (p->mode != PROGRESS_BAR)
		return;
	log_divert(NULL, NULL);
	erase(p, &s);
	write_held(p, &s);
	if (p->shown)
		put(&s, CURSOR_SHOW);
	screen_write(&s);
	interrupt_terminal(NULL);
	p->shown = false;
	p->mode = PROGRESS_PLAIN;
}

void
progress_free(struct progress *p)
{
	if (p == NULL)
		return;
	bar_end(p);
	pthread_mutex_destroy(&p->lock);
	free(p->held);
	free(p->running);
	free(p->worker);
	free(p);
}

void
progress_freep(struct progress **p)
{
	progress_free(*p);
	*p = NULL;
}

/* One JSON line on standard error; takes the object. */
static void
emit(json_t *event)
{
	char *line = event == NULL
	    ? NULL
	    : json_dumps(event, JSON_COMPACT | JSON_REAL_PRECISION(6));

	if (line != NULL)
		dprintf(STDERR_FILENO, "%s\n", line);
	free(line);
	json_decref(event);
}

static uint64_t
bytes_now(const struct progress *p)
{
	uint64_t bytes = p->bytes_done;

	for (size_t i = 0; i < p->n_running; i++)
		bytes += p->running[i].bytes;
	return bytes;
}

void
progress_phase(struct progress *p, const char *what)
{
	p->phase = what;
	p->phase_start = monotime_ms();
	p->jobs = p->jobs_done = 0;
	p->bytes = p->bytes_done = 0;
	p->n_running = 0;
	p->tell = false;
	if (p->mode == PROGRESS_JSON)
		emit(json_pack("{s:s,s:s}", "event", "phase", "phase", what));
	if (p->mode == PROGRESS_BAR)
		draw(p, p->phase_start, NULL);
}

void
progress_tell_jobs(struct progress *p)
{
	p->tell = true;
}

void
progress_totals(struct progress *p, size_t jobs, uint64_t bytes)
{
	p->jobs = jobs;
	p->bytes = bytes;
}

void
progress_worker_up(struct progress *p, size_t worker, const char *name)
{
	if (worker >= p->n_workers) {
		struct seen_worker *w =
		    realloc(p->worker, (worker + 1) * sizeof(*w));

		if (w == NULL)
			return; /* it is only not shown */
		memset(w + p->n_workers, 0,
		    (worker + 1 - p->n_workers) * sizeof(*w));
		p->worker = w;
		p->n_workers = worker + 1;
	}
	p->worker[worker].up = true;
	snprintf(
	    p->worker[worker].name, sizeof(p->worker[worker].name), "%s", name);
	if (p->mode == PROGRESS_JSON)
		emit(json_pack("{s:s,s:s}", "event", "worker", "name", name));
}

void
progress_worker_gone(struct progress *p, size_t worker)
{
	size_t kept = 0;

	if (worker < p->n_workers)
		p->worker[worker].up = false;
	for (size_t i = 0; i < p->n_running; i++)
		if (p->running[i].worker != worker)
			p->running[kept++] = p->running[i];
	p->n_running = kept;
}

static struct running *
running_find(struct progress *p, size_t worker, size_t job)
{
	for (size_t i = 0; i < p->n_running; i++)
		if (p->running[i].worker == worker && p->running[i].job == job)
			return &p->running[i];
	return NULL;
}

void
progress_job(struct progress *p, size_t worker, size_t job, const char *label,
    uint64_t bytes, uint64_t total)
{
	struct running *r = running_find(p, worker, job);

	if (r == NULL && p->n_running == p->room_running) {
		size_t room = p->room_running == 0 ? 16 : 2 * p->room_running;

		if ((r = realloc(p->running, room * sizeof(*r))) == NULL)
			return; /* it is only not shown */
		p->running = r;
		p->room_running = room;
		r = NULL;
	}
	if (r == NULL)
		r = &p->running[p->n_running++];
	*r = (struct running){worker, job, label, bytes, total};
}

static const char *
worker_name(const struct progress *p, size_t worker)
{
	return worker < p->n_workers ? p->worker[worker].name : "?";
}

void
progress_job_end(struct progress *p, size_t worker, size_t job,
    const char *label, uint64_t bytes, double seconds, bool done)
{
	struct running *r = running_find(p, worker, job);
	char size[HUMAN_MAX], time[HUMAN_MAX];

	if (r != NULL)
		*r = p->running[--p->n_running];
	if (!done)
		return;
	p->jobs_done++;
	p->bytes_done += bytes;
	if (p->mode == PROGRESS_PLAIN && p->tell) {
		human_bytes(bytes, size);
		human_seconds(seconds, time);
		log_line(LOG_INFO, "%zu/%zu: %s: %s in %s by %s", p->jobs_done,
		    p->jobs, label, size, time, worker_name(p, worker));
	} else if (p->mode == PROGRESS_JSON) {
		emit(json_pack("{s:s,s:s,s:s,s:I,s:f,s:I,s:I}", "event", "done",
		    "layer", label, "worker", worker_name(p, worker), "bytes",
		    (json_int_t)bytes, "seconds", seconds, "jobs_done",
		    (json_int_t)p->jobs_done, "jobs", (json_int_t)p->jobs));
	}
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
	uint64_t bytes = bytes_now(p);
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

static void
put_workers(
    const struct progress *p, struct screen *s, size_t max, size_t *lines)
{
	char line[256], done[HUMAN_MAX], total[HUMAN_MAX];

	for (size_t i = 0; i < p->n_running && i < max; i++) {
		const struct running *r = &p->running[i];

		if (i + 1 == max && p->n_running > max) {
			snprintf(line, sizeof(line), "  and %zu more",
			    p->n_running - i);
		} else {
			human_bytes(r->bytes, done);
			human_bytes(r->total, total);
			snprintf(line, sizeof(line), "  %-20s %s: %s of %s",
			    worker_name(p, r->worker), r->label, done, total);
		}
		put(s, "\n");
		put_line(s, line);
		(*lines)++;
	}
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
	size_t rows = 24, max;
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
	p->lines = 1;
	max = rows > 3 ? rows - 3 : 0;
	put_workers(
	    p, &s, max < WORKER_LINES_MAX ? max : WORKER_LINES_MAX, &p->lines);
	put(&s, "\r");
	screen_write(&s);
	restore_set(p);
	p->next = now + REDRAW_MS;
}

int
progress_tick(struct progress *p, int64_t now)
{
	if (p->mode != PROGRESS_BAR && p->mode != PROGRESS_JSON)
		return -1;
	if (now < p->next)
		return (int)(p->next - now);
	if (p->mode == PROGRESS_BAR) {
		draw(p, now, NULL);
		return REDRAW_MS;
	}
	emit(json_pack("{s:s,s:s,s:I,s:I,s:I,s:I}", "event", "progress",
	    "phase", p->phase, "bytes", (json_int_t)bytes_now(p), "bytes_total",
	    (json_int_t)p->bytes, "jobs_done", (json_int_t)p->jobs_done, "jobs",
	    (json_int_t)p->jobs));
	p->next = now + JSON_MS;
	return JSON_MS;
}

static void
target_text(const struct output_target *target, char *out, size_t size)
{
	snprintf(out, size, "%s%s%s", output_kind_name(target->kind),
	    target->kind == OUTPUT_NONE ? "" : ":", target->path);
}

static void
summary_json(const struct progress_summary *s, const char *id, uint64_t tar,
    uint64_t blobs)
{
	json_t *to = json_array();
	char text[4200];

	for (size_t i = 0; i < s->n_targets; i++) {
		target_text(&s->targets[i], text, sizeof(text));
		json_array_append_new(to, json_string(text));
	}
	emit(json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:f,s:o}", "event",
	    "summary", "image_id", id, "name", s->image->name, "tag",
	    s->image->tag, "layers", (json_int_t)s->image->n_layers, "tar_size",
	    (json_int_t)tar, "size", (json_int_t)blobs, "seconds", s->seconds,
	    "to", to));
}

void
progress_summary(struct progress *p, const struct progress_summary *s)
{
	char id[DIGEST_TEXT_SIZE], tar[HUMAN_MAX], blobs[HUMAN_MAX],
	    rate[HUMAN_MAX], time[HUMAN_MAX], text[4200];
	uint64_t tar_size = 0, size = 0;
	size_t paths = 0;

	for (size_t i = 0; i < s->image->n_layers; i++) {
		const struct image_layer *l = &s->image->layer[i];

		tar_size += l->result.tar_size;
		size += l->result.size;
		paths += l->kind == IMAGE_STORE ? l->n_paths : 0;
	}
	digest_text(&s->image->id, id);
	if (p->mode == PROGRESS_JSON)
		summary_json(s, id, tar_size, size);
	bar_end(p);
	if (p->mode != PROGRESS_PLAIN)
		return;
	human_bytes(tar_size, tar);
	human_bytes(size, blobs);
	human_bytes(
	    s->seconds > 0 ? (uint64_t)((double)tar_size / s->seconds) : 0,
	    rate);
	human_seconds(s->seconds, time);
	log_line(LOG_INFO, "image    %s:%s", s->image->name, s->image->tag);
	log_line(LOG_INFO, "%s", id);
	log_line(LOG_INFO,
	    "layers   %zu of %zu store paths, %s of tar, %s as "
	    "blobs",
	    s->image->n_layers, paths, tar, blobs);
	log_line(LOG_INFO, "time     %s, %s/s", time, rate);
	for (size_t i = 0; i < s->n_targets; i++) {
		target_text(&s->targets[i], text, sizeof(text));
		log_line(LOG_INFO, "to       %s", text);
	}
}
