#include "progress/progress_state.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text/human.h"
#include "image/image.h"
#include "output/output.h"

struct text {
	char *at;
	size_t left;
	const char *between; /* two of what was appended */
};

static void append(struct text *t, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void
append(struct text *t, const char *fmt, ...)
{
	char part[128];
	va_list ap;
	int n;

	va_start(ap, fmt);
	vsnprintf(part, sizeof(part), fmt, ap);
	va_end(ap);
	n = snprintf(t->at, t->left, "%s%s", t->between, part);
	if (n < 0 || (size_t)n >= t->left)
		n = (int)t->left - 1; /* cut */
	t->at += n;
	t->left -= (size_t)n;
	t->between = ", ";
}

/* "(4 joined, 1 lost)": what is 0 is not said. */
struct item {
	uint64_t n;
	const char *what;
};

static void
append_items(struct text *t, const struct item *item, size_t n)
{
	const char *open = " (";

	for (size_t i = 0; i < n; i++) {
		if (item[i].n == 0)
			continue;
		t->between = open;
		append(t, "%" PRIu64 " %s", item[i].n, item[i].what);
		open = ", ";
	}
	t->between = "";
	if (strcmp(open, ", ") == 0)
		append(t, ")");
	t->between = ", ";
}

static const char *
plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

void
progress_text_job(const struct running *r, char *out, size_t size)
{
	char done[HUMAN_MAX], total[HUMAN_MAX];

	human_bytes(r->bytes, done);
	human_bytes(r->total, total);
	snprintf(out, size, "%s: %s of %s", r->label, done, total);
}

void
progress_text_host(const struct seen_host *h, char *out, size_t size)
{
	snprintf(out, size, "%zu worker%s, %zu layer%s", h->workers,
	    plural(h->workers), h->running, plural(h->running));
}

/* Only what is worth a word: of one host with one worker nothing is. */
static void
append_workers(struct text *t, const struct progress *p)
{
	const struct progress_events *n = &p->events;
	const struct item items[] = {
	    {n->losses + n->leaves > 0 ? n->joins : 0, "joined"},
	    {n->losses, "lost"},
	    {n->leaves, "left"},
	};

	if (p->workers_up <= 1 && n->losses + n->leaves == 0)
		return;
	append(t, "%zu host%s, %zu worker%s", p->hosts_up, plural(p->hosts_up),
	    p->workers_up, plural(p->workers_up));
	append_items(t, items, sizeof(items) / sizeof(items[0]));
}

void
progress_text_events(const struct progress *p, char *out, size_t size)
{
	const struct progress_events *n = &p->events;
	const struct item again[] = {
	    {n->again[SCHED_END_LOST], "lost"},
	    {n->again[SCHED_END_FAILED], "failed"},
	    {n->again[SCHED_END_EXPIRED], "expired"},
	    {n->again[SCHED_END_POSTPONED], "postponed"},
	};
	struct text t = {.at = out, .left = size, .between = ""};
	char bytes[HUMAN_MAX];
	uint64_t sum = 0;

	*out = '\0';
	append_workers(&t, p);
	for (size_t i = 0; i < sizeof(again) / sizeof(again[0]); i++)
		sum += again[i].n;
	if (sum > 0) {
		append(&t, "%" PRIu64 " again", sum);
		append_items(&t, again, sizeof(again) / sizeof(again[0]));
	}
	if (n->copies > 0)
		append(&t, "%" PRIu64 " second cop%s", n->copies,
		    n->copies == 1 ? "y" : "ies");
	if (n->agreed + n->skipped > 0)
		append(&t, "audits: %" PRIu64 " agreed", n->agreed);
	if (n->skipped > 0)
		append(&t, "%" PRIu64 " skipped", n->skipped);
	if (n->fetched > 0) {
		human_bytes(n->fetched, bytes);
		append(&t, "%s fetched", bytes);
	}
	if (n->pushes.layers > 0) {
		human_bytes(n->pushes.uploaded_bytes, bytes);
		append(&t, "%" PRIu64 " of %" PRIu64 " pushed (%s uploaded)",
		    n->pushes.done, n->pushes.layers, bytes);
	}
}

void
progress_text_target(const struct output_target *target, char *out, size_t size)
{
	snprintf(out, size, "%s%s%s", output_kind_name(target->kind),
	    target->kind == OUTPUT_NONE ? "" : ":", target->path);
}

void
progress_text_sums(const struct image *image, struct progress_sums *out)
{
	*out = (struct progress_sums){0};
	for (size_t i = 0; i < image->n_layers; i++) {
		const struct image_layer *l = &image->layer[i];

		out->tar_size += l->result.tar_size;
		out->size += l->result.size;
		out->paths += l->kind == IMAGE_STORE ? l->n_paths : 0;
		out->known += l->cached;
	}
}
