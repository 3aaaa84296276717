#include "image/layer_compare.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "image/layer_copy.h"
#include "own.h"

#define STEP ((size_t)1 << 16)
/* Bytes of a name, and of a worker's, in the text. */
#define SHOWN 200
#define WORKER 60

struct side {
	const char *worker;
	struct layer_copy *copy;
	struct layer_head head;
	uint8_t buf[STEP];
};

struct pair {
	struct side a, b;
	uint64_t most; /* bytes of each that are read */
	char *out;
	char of_a[SHOWN], of_b[SHOWN]; /* names, as they are shown */
};

static int say(struct pair *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* 1: that is what differs. */
static int
say(struct pair *p, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(p->out, LAYER_COMPARE_MAX, format, args);
	va_end(args);
	return 1;
}

/* Beginning and end of what is long. */
static const char *
show(const char *text, char out[static SHOWN])
{
	size_t len = strlen(text), half = SHOWN / 2 - 4;

	if (len < SHOWN)
		snprintf(out, SHOWN, "%s", text);
	else
		snprintf(out, SHOWN, "%.*s...%s", (int)half, text,
		    text + len - half);
	log_clean(out);
	return out;
}

/* What was compared is the same, and `most` forbids to read on. */
static bool
is_cut(const struct pair *p)
{
	return layer_copy_at(p->a.copy) >= p->most ||
	    layer_copy_at(p->b.copy) >= p->most;
}

static int
say_cut(struct pair *p)
{
	return say(p,
	    "the first %" PRIu64 " MiB do not differ, and more was not "
	    "compared",
	    p->most >> 20);
}

static int
say_broken(struct pair *p, const struct side *s)
{
	return say(p,
	    "worker %.*s's copy is no tar from byte %" PRIu64 " on: %s", WORKER,
	    s->worker, s->head.at, s->head.broken);
}

/* Whether an entry of that name comes later on. */
static int
seek_name(struct side *s, const char *name, bool *found, struct err *e)
{
	*found = false;
	while (!s->head.end && s->head.broken == NULL && !*found) {
		if (layer_copy_skip(s->copy, &s->head, e) < 0 ||
		    layer_copy_head(s->copy, &s->head, e) < 0)
			return -1;
		*found = !s->head.end && s->head.broken == NULL &&
		    strcmp(s->head.name, name) == 0;
	}
	return 0;
}

/* Other names, or only one of them. */
static int
compare_names(struct pair *p, struct err *e)
{
	bool a_later = false, b_later = false;
	char *name = NULL;
	int rc;

	show(p->a.head.name, p->of_a);
	show(p->b.head.name, p->of_b);
	if (p->a.head.end)
		return say(p, "%s is not in the copy of worker %.*s", p->of_b,
		    WORKER, p->a.worker);
	if (p->b.head.end)
		return say(p, "%s is not in the copy of worker %.*s", p->of_a,
		    WORKER, p->b.worker);
	/* The search overwrites the head that it starts from. */
	if ((name = strdup(p->a.head.name)) == NULL)
		return err_set(e, ERR_FATAL, errno, "layer");
	rc = seek_name(&p->a, p->b.head.name, &b_later, e);
	if (rc == 0)
		rc = seek_name(&p->b, name, &a_later, e);
	free(name);
	if (rc < 0)
		return -1;
	/* What was not found may come where nothing was read. */
	if ((a_later && b_later) || is_cut(p))
		return say(p, "%sworker %.*s has %s where worker %.*s has %s",
		    a_later && b_later ? "the order: " : "", WORKER,
		    p->a.worker, p->of_a, WORKER, p->b.worker, p->of_b);
	if (b_later)
		return say(p, "%s is not in the copy of worker %.*s", p->of_a,
		    WORKER, p->b.worker);
	return say(p, "%s is not in the copy of worker %.*s", p->of_b, WORKER,
	    p->a.worker);
}

static int
compare_fields(struct pair *p)
{
	const struct layer_head *a = &p->a.head, *b = &p->b.head;
	char links[2][SHOWN];

	show(a->name, p->of_a);
	for (int f = 0; f < LAYER_FIELDS; f++) {
		if (strcmp(a->field[f], b->field[f]) == 0)
			continue;
		show(a->field[f], links[0]);
		show(b->field[f], links[1]);
		return say(p, "%s: %s is %s of worker %.*s, %s of worker %.*s",
		    p->of_a, layer_field_name((enum layer_field)f), links[0],
		    WORKER, p->a.worker, links[1], WORKER, p->b.worker);
	}
	if (strcmp(a->link, b->link) != 0)
		return say(p,
		    "%s: it links to %.120s of worker %.*s, %.120s of "
		    "worker %.*s",
		    p->of_a, show(a->link, links[0]), WORKER, p->a.worker,
		    show(b->link, links[1]), WORKER, p->b.worker);
	return say(p, "%s: its header says the same in other bytes", p->of_a);
}

/* len bytes of both; 0: they are the same, and *n are there. */
static int
compare_bytes(
    struct pair *p, size_t len, size_t *n, uint64_t *differ, struct err *e)
{
	size_t of_a, of_b, i = 0;

	if (layer_copy_read(p->a.copy, p->a.buf, len, &of_a, e) < 0 ||
	    layer_copy_read(p->b.copy, p->b.buf, len, &of_b, e) < 0)
		return -1;
	*n = of_a < of_b ? of_a : of_b;
	while (i < *n && p->a.buf[i] == p->b.buf[i])
		i++;
	*differ = i;
	return i < *n || of_a != of_b;
}

static int
compare_content(struct pair *p, struct err *e)
{
	uint64_t size = p->a.head.content, differ, at = 0;
	uint64_t end = size + tar_padding(size);
	int rc = 0;

	while (rc == 0 && at < end) {
		size_t want = end - at < STEP ? (size_t)(end - at) : STEP, n;

		if ((rc = compare_bytes(p, want, &n, &differ, e)) < 0)
			return -1;
		if (rc == 0 && n < want && is_cut(p))
			return say_cut(p);
		if (rc == 0 && n < want)
			return say(p, "both copies end in %s",
			    show(p->a.head.name, p->of_a));
		at += rc == 0 ? n : differ;
	}
	if (rc == 0)
		return 0;
	show(p->a.head.name, p->of_a);
	if (at >= size)
		return say(p, "%s: the padding after it differs", p->of_a);
	return say(
	    p, "%s: content differs from byte %" PRIu64 " on", p->of_a, at);
}

/* Behind the last entry. */
static int
compare_rest(struct pair *p, struct err *e)
{
	uint64_t differ;
	size_t n;
	int rc;

	do {
		rc = compare_bytes(p, STEP, &n, &differ, e);
	} while (rc == 0 && n == STEP);
	if (rc < 0)
		return -1;
	if (rc > 0)
		return say(p, "what follows the last entry differs");
	if (is_cut(p))
		return say_cut(p);
	return say(p,
	    "the tars are the same, but not what they were "
	    "compressed to");
}

/* 0: that entry is the same, or that was the last one. */
static int
compare_entry(struct pair *p, struct err *e)
{
	const struct layer_head *a = &p->a.head, *b = &p->b.head;

	if (layer_copy_head(p->a.copy, &p->a.head, e) < 0 ||
	    layer_copy_head(p->b.copy, &p->b.head, e) < 0)
		return -1;
	if (is_cut(p))
		return say_cut(p);
	if (a->broken != NULL)
		return say_broken(p, &p->a);
	if (b->broken != NULL)
		return say_broken(p, &p->b);
	if (a->end && b->end)
		return compare_rest(p, e);
	if (a->end || b->end || strcmp(a->name, b->name) != 0)
		return compare_names(p, e);
	if (a->n != b->n || memcmp(a->raw, b->raw, a->n) != 0)
		return compare_fields(p);
	return compare_content(p, e);
}

int
layer_compare(const struct layer_place *a, const struct layer_place *b,
    char out[static LAYER_COMPARE_MAX], struct err *e)
{
	AUTO(layer_copy_freep) struct layer_copy *of_a = NULL;
	AUTO(layer_copy_freep) struct layer_copy *of_b = NULL;
	AUTO(own_freep) struct pair *p = NULL;
	int rc;

	if (layer_copy_open(a, &of_a, e) < 0 ||
	    layer_copy_open(b, &of_b, e) < 0)
		return -1;
	if ((p = calloc(1, sizeof(*p))) == NULL)
		return err_set(e, ERR_FATAL, errno, "layer");
	p->a.worker = a->worker;
	p->a.copy = of_a;
	p->b.worker = b->worker;
	p->b.copy = of_b;
	p->most = a->most < b->most ? a->most : b->most;
	p->out = out;
	do {
		rc = compare_entry(p, e);
	} while (rc == 0);
	return rc < 0 ? -1 : 0;
}
