/*
 * An upload in parts, step by step: what is asked, and what follows from each
 * answer.  The registry is a script.
 */
#include "registry_stream.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "digest.h"
#include "err.h"
#include "http.h"
#include "registry.h"
#include "registry_retry.h"
#include "registry_state.h"

#define MIB ((size_t)1 << 20)
#define PART (8 * MIB)

/* What is expected, and what is answered; the last one has no method. */
struct step {
	const char *method;
	const char *range; /* of PATCH; NULL: any */
	long status;	   /* 0: none: */
	enum http_fault fault;
	const char *said; /* Range */
	const char *least;
	const char *code;
	int sys; /* the error's */
};

static const struct step *script;
static unsigned pauses;
static bool there;
static unsigned char data[4 * PART];

static char *
copy(const char *text)
{
	char *s = text != NULL ? strdup(text) : NULL;

	assert_true(text == NULL || s != NULL);
	return s;
}

/* In place of registry.c's. */

int
registry_call(struct registry *r, const struct registry_call *c,
    struct http_answer *out, struct err *e)
{
	const struct step *s = script++;
	char range[100];

	assert_non_null(s->method);
	assert_string_equal(c->method, s->method);
	*out = (struct http_answer){
	    .size = -1, .fault = s->fault, .status = s->status};
	if (s->range != NULL) {
		snprintf(range, sizeof(range), "Content-Range: %s", s->range);
		assert_string_equal(c->header[1], range);
		/* The bytes are those of that place. */
		assert_true(c->body == data + strtoull(s->range, NULL, 10));
	}
	if (s->status == 0)
		return err_set(e, ERR_RETRY, s->sys, "no answer");
	out->header[HTTP_RANGE] = copy(s->said);
	out->header[HTTP_CHUNK_MIN] = copy(s->least);
	out->body = copy(s->code != NULL ? s->code : "");
	out->len = strlen(out->body);
	out->header[HTTP_LOCATION] =
	    strcmp(c->method, "POST") == 0 ? copy("/next") : NULL;
	(void)r;
	return 0;
}

int
registry_url(
    const struct registry *r, const char *rest, char **out, struct err *e)
{
	(void)r, (void)rest, (void)e;
	*out = copy("http://h/v2/a/blobs/uploads/");
	return 0;
}

int
registry_follow(struct registry *r, const char *base,
    const struct http_answer *a, char **session, struct err *e)
{
	(void)r, (void)base, (void)a, (void)e;
	free(*session);
	*session = copy("http://h/next");
	return 0;
}

int
registry_refusal(const struct registry *r, const char *what,
    const struct http_answer *a, struct err *e)
{
	(void)r;
	return err_set(e, ERR_FATAL, 0, "%s: %ld", what, a->status);
}

bool
registry_says(const struct http_answer *a, const char *code)
{
	return a->body != NULL && strcmp(a->body, code) == 0;
}

int
registry_pause(struct registry *r, unsigned tried, const struct http_answer *a,
    struct err *e)
{
	(void)r, (void)tried, (void)a, (void)e;
	pauses++;
	return 0;
}

int
registry_check_digest(const struct registry *r, const char *what,
    const struct http_answer *a, const struct digest *digest, struct err *e)
{
	(void)r, (void)digest;
	if (a->body == NULL || strcmp(a->body, "other") != 0)
		return 0;
	return err_set(e, ERR_FATAL, 0, "%s: another digest", what);
}

int
registry_has_blob(struct registry *r, const struct digest *digest,
    uint64_t size, bool *out, struct err *e)
{
	(void)r, (void)digest, (void)size, (void)e;
	*out = there;
	return 0;
}

/* The test's. */

struct fixture {
	struct registry r;
	struct registry_stream s;
	struct err e;
};

static int
set_up(void **state)
{
	static const struct step nothing[] = {{NULL}};
	static struct fixture f;

	script = nothing;
	f = (struct fixture){
	    .r = {.tries = REGISTRY_TRIES, .host = "h"}, .e = ERR_INIT};
	pauses = 0;
	there = false;
	*state = &f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	registry_stream_clear(&f->s);
	/* All that was expected was asked. */
	assert_null(script->method);
	return 0;
}

static void
begin(struct fixture *f, const struct step *steps)
{
	script = steps;
	assert_int_equal(registry_stream_begin(&f->r, &f->s, &f->e), 0);
}

static int
put(struct fixture *f, size_t at, size_t len)
{
	return registry_stream_put(&f->r, &f->s, data + at, len, at, &f->e);
}

static int
end(struct fixture *f, uint64_t size)
{
	static const struct digest digest = {{1}};

	return registry_stream_end(&f->r, &f->s, &digest, size, &f->e);
}

#define OPEN                                                                   \
	{                                                                      \
		"POST", .status = 202                                          \
	}
#define DONE                                                                   \
	{                                                                      \
		NULL                                                           \
	}

static void
test_goes_well(void **state)
{
	static const struct step steps[] = {
	    OPEN,
	    {"PATCH", "0-8388607", 202},
	    {"PATCH", "8388608-16777215", 201, .said = "0-9"}, /* a lie */
	    {"PATCH", "16777216-16777225", 204},
	    {"PUT", .status = 201},
	    DONE,
	};
	struct fixture *f = *state;

	begin(f, steps);
	assert_int_equal(put(f, 0, PART), 0);
	assert_int_equal(put(f, PART, PART), 0);
	assert_int_equal(put(f, 2 * PART, 10), 0);
	assert_int_equal(end(f, 2 * PART + 10), 0);
	assert_int_equal(pauses, 0);
}

/* It says how much it has, and gets the rest. */
static void
test_gone_on_with(void **state)
{
	static const struct step steps[] = {
	    OPEN,
	    {"PATCH", "0-8388607", 500},
	    {"GET", .status = 204, .said = "0-0"},
	    {"PATCH", "0-8388607", 0, HTTP_BROKEN},
	    {"GET", .status = 204, .said = "bytes=0-1048575"},
	    {"PATCH", "1048576-8388607", 0, HTTP_BROKEN},
	    {"GET", .status = 200, .said = "0-8388607"},
	    {"PATCH", "8388608-16777215", 202},
	    DONE,
	};
	struct fixture *f = *state;

	begin(f, steps);
	assert_int_equal(put(f, 0, PART), 0);
	assert_int_equal(put(f, PART, PART), 0);
	assert_int_equal(pauses, 3);
	assert_false(f->s.refused);
}

static void
test_lost(void **state)
{
	static const struct step unknown[] = {
	    OPEN,
	    {"PATCH", "0-8388607", 202},
	    {"PATCH", NULL, 404},
	    {"GET", .status = 404},
	    DONE,
	};
	static const struct step less[] = {
	    OPEN,
	    {"PATCH", "0-8388607", 202},
	    {"PATCH", NULL, 502},
	    {"GET", .status = 204, .said = "0-4194303"},
	    DONE,
	};
	static const struct step silent[] = {
	    OPEN,
	    {"PATCH", NULL, 0, HTTP_BROKEN},
	    {"GET", .status = 204},
	    DONE,
	};
	struct fixture *f = *state;

	begin(f, unknown);
	assert_int_equal(put(f, 0, PART), 0);
	assert_int_equal(put(f, PART, PART), -1);
	assert_false(f->s.refused);
	tear_down(state);
	set_up(state);
	begin(f, less);
	assert_int_equal(put(f, 0, PART), 0);
	assert_int_equal(put(f, PART, PART), -1);
	assert_string_equal(
	    f->e.text, "h: it has 4194304 bytes of an upload, not 8388608");
	tear_down(state);
	set_up(state);
	begin(f, silent);
	assert_int_equal(put(f, 0, PART), -1);
	assert_non_null(strstr(f->e.text, "it does not say where"));
}

static void
test_no_parts(void **state)
{
	static const long statuses[] = {400, 404, 405, 411, 415, 501};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		const struct step steps[] = {
		    OPEN,
		    {"PATCH", "0-8388607", statuses[i]},
		    DONE,
		};

		begin(f, steps);
		assert_int_equal(put(f, 0, PART), -1);
		assert_true(f->s.refused);
		tear_down(state);
		set_up(state);
	}
}

/* Nor what else it says at first, or later. */
static void
test_no_refusal(void **state)
{
	static const struct step gone[] = {
	    OPEN,
	    {"PATCH", NULL, 404, .code = "BLOB_UPLOAD_UNKNOWN"},
	    {"GET", .status = 404},
	    DONE,
	};
	static const struct step later[] = {
	    OPEN,
	    {"PATCH", NULL, 202},
	    {"PATCH", NULL, 405},
	    DONE,
	};
	static const struct step forbidden[] = {
	    OPEN,
	    {"PATCH", NULL, 403},
	    DONE,
	};
	static const struct step *const all[] = {gone, later, forbidden};
	struct fixture *f = *state;

	for (size_t i = 0; i < 3; i++) {
		begin(f, all[i]);
		if (all[i] == later)
			assert_int_equal(put(f, 0, PART), 0);
		assert_int_equal(put(f, all[i] == later ? PART : 0, PART), -1);
		assert_false(f->s.refused);
		tear_down(state);
		set_up(state);
	}
}

/* Half as much, as often as it takes, but no less than it wants. */
static void
test_too_much(void **state)
{
	static const struct step steps[] = {
	    {"POST", .status = 202, .least = "1500000"},
	    {"PATCH", "0-8388607", 413},
	    {"GET", .status = 204, .said = "0-0"},
	    {"PATCH", "0-4194303", 416},
	    {"GET", .status = 204, .said = "0-0"},
	    {"PATCH", "0-2097151", 202},
	    {"PATCH", "2097152-4194303", 202},
	    {"PATCH", "4194304-6291455", 202},
	    {"PATCH", "6291456-8388607", 202},
	    {"PATCH", "8388608-10485759", 202},
	    /* What is left is less than its least: with this one. */
	    {"PATCH", "10485760-13582911", 202},
	    DONE,
	};
	static const struct step never[] = {
	    {"POST", .status = 202, .least = "5000000"},
	    {"PATCH", "0-8388607", 413},
	    {"GET", .status = 204, .said = "0-0"},
	    DONE,
	};
	struct fixture *f = *state;

	begin(f, steps);
	assert_int_equal(put(f, 0, PART), 0);
	assert_int_equal(put(f, PART, 5 * MIB - 48576), 0);
	tear_down(state);
	set_up(state);
	begin(f, never);
	assert_int_equal(put(f, 0, PART), -1);
	assert_true(f->s.refused);
}

static void
test_least(void **state)
{
	static const struct step steps[] = {
	    {"POST", .status = 202, .least = "16777216"},
	    {"PATCH", "0-16777215", 202},
	    DONE,
	};
	static const struct step too_large[] = {
	    {"POST", .status = 202, .least = "33554433"},
	    DONE,
	};
	struct fixture *f = *state;

	begin(f, steps);
	assert_int_equal(f->s.least, 2 * PART);
	assert_int_equal(put(f, 0, 2 * PART), 0);
	tear_down(state);
	set_up(state);
	script = too_large;
	assert_int_equal(registry_stream_begin(&f->r, &f->s, &f->e), -1);
	assert_true(f->s.refused);
}

/* Not for ever. */
static void
test_tries(void **state)
{
	/* The fixture looks at it when this is over. */
	static struct step steps[2 * REGISTRY_TRIES + 1] = {OPEN};
	struct fixture *f = *state;

	for (size_t i = 0; i < REGISTRY_TRIES; i++) {
		steps[1 + 2 * i] = (struct step){"PATCH", NULL, 503};
		steps[2 + 2 * i] =
		    (struct step){"GET", .status = 204, .said = "0-0"};
	}
	steps[2 * REGISTRY_TRIES] = (struct step)DONE;
	f->s.most = MIB; /* it gets no smaller */
	begin(f, steps);
	assert_int_equal(put(f, 0, MIB), -1);
	assert_int_equal(pauses, REGISTRY_TRIES - 1);
	assert_false(f->s.refused);
}

/* The token has ended: nothing is lost, the same call goes on. */
static void
test_called_again(void **state)
{
	static const struct step steps[] = {
	    OPEN,
	    {"PATCH", "0-1048575", 202},
	    {"PATCH", NULL, 0, HTTP_ANSWERED, .sys = EACCES},
	    {"PATCH", "1048576-2097151", 202},
	    DONE,
	};
	struct fixture *f = *state;

	f->s.most = MIB;
	begin(f, steps);
	assert_int_equal(put(f, 0, 2 * MIB), -1);
	assert_int_equal(f->e.sys, EACCES);
	err_clear(&f->e);
	assert_int_equal(put(f, 0, 2 * MIB), 0);
}

static void
test_last_answer_is_lost(void **state)
{
	static const struct step there_is[] = {
	    OPEN,
	    {"PATCH", NULL, 202},
	    {"PUT", .status = 0, .fault = HTTP_BROKEN},
	    DONE,
	};
	static const struct step open_still[] = {
	    OPEN,
	    {"PATCH", NULL, 202},
	    {"PUT", .status = 500},
	    {"GET", .status = 204, .said = "0-8388607"},
	    {"PUT", .status = 201},
	    DONE,
	};
	static const struct step lost[] = {
	    OPEN,
	    {"PATCH", NULL, 202},
	    {"PUT", .status = 404},
	    {"GET", .status = 404},
	    DONE,
	};
	static const struct step other[] = {
	    OPEN,
	    {"PATCH", NULL, 202},
	    {"PUT", .status = 201, .code = "other"},
	    DONE,
	};
	static const struct step wrong[] = {
	    OPEN,
	    {"PATCH", NULL, 202},
	    {"PUT", .status = 400},
	    DONE,
	};
	static const struct {
		const struct step *steps;
		bool there;
		int rc;
	} cases[] = {
	    {there_is, true, 0},
	    {open_still, false, 0},
	    {lost, false, -1},
	    {other, true, -1},
	    {wrong, true, -1},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin(f, cases[i].steps);
		there = cases[i].there;
		assert_int_equal(put(f, 0, PART), 0);
		assert_int_equal(end(f, PART), cases[i].rc);
		tear_down(state);
		set_up(state);
	}
}

static void
test_ranges(void **state)
{
	static const char *const bad[] = {
	    "", "1-5", "0-", "0-x", "0-5x", "0--1", "0-99999999999999999999"};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const struct step steps[] = {
		    OPEN,
		    {"PATCH", NULL, 500},
		    {"GET", .status = 204, .said = bad[i]},
		    DONE,
		};

		begin(f, steps);
		assert_int_equal(put(f, 0, PART), -1);
		tear_down(state);
		set_up(state);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_goes_well),
	    TEST(test_gone_on_with),
	    TEST(test_lost),
	    TEST(test_no_parts),
	    TEST(test_no_refusal),
	    TEST(test_too_much),
	    TEST(test_least),
	    TEST(test_tries),
	    TEST(test_called_again),
	    TEST(test_last_answer_is_lost),
	    TEST(test_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
