/* Layers on their way into registries, with a registry of the test's. */
#include "uploads.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "digest.h"
#include "err.h"
#include "protocol.h"
#include "registry.h"
#include "registry_state.h"

#define PATIENCE_MS 60000

/* What a blob's upload does is its first byte. */
enum { GO_WELL, BE_THERE, FAIL, END_TOKEN, HANG };

static atomic_int running, most, calls;
static atomic_bool may_go;
static atomic_int elsewhere; /* uploads to another repository than a/b */

static void
nap(void)
{
	usleep(1000);
}

int
registry_push_blob(struct registry *r, const struct registry_blob *b,
    enum registry_way *way, struct err *e)
{
	char what = 0;
	int now = atomic_fetch_add(&running, 1) + 1, rc = 0;
	char *token = NULL;
	enum registry_lend how;

	if (now > atomic_load(&most))
		atomic_store(&most, now);
	atomic_fetch_add(&calls, 1);
	atomic_fetch_add(&elsewhere, strcmp(r->repo, "a/b") != 0);
	*way = REGISTRY_UPLOADED;
	if (pread(b->fd, &what, 1, 0) != 1)
		rc = err_set(e, ERR_FATAL, errno, "read");
	else if (what == BE_THERE)
		*way = REGISTRY_THERE;
	else if (what == FAIL)
		rc = err_set(e, ERR_FATAL, 0, "registry: 403");
	else if (what == END_TOKEN && atomic_load(&calls) < 3)
		rc = err_set(e, ERR_RETRY, EACCES, "the token has ended");
	while (what == HANG && !atomic_load(&may_go))
		nap();
	/* What was given us is lent to nobody. */
	if (rc == 0 && registry_lend(r, &how, &token, e) == 0)
		assert_null(token);
	atomic_fetch_sub(&running, 1);
	return rc;
}

struct fixture {
	struct uploads *u;
	struct err e;
	char file[5][40];
};

static int
set_up(void **state)
{
	static struct fixture f;

	f = (struct fixture){.e = ERR_INIT};
	atomic_store(&running, 0);
	atomic_store(&most, 0);
	atomic_store(&calls, 0);
	atomic_store(&elsewhere, 0);
	atomic_store(&may_go, false);
	for (char what = GO_WELL; what <= HANG; what++) {
		int fd;

		strcpy(f.file[(int)what], "/tmp/test_uploads-XXXXXX");
		fd = mkstemp(f.file[(int)what]);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, &what, 1), 1);
		close(fd);
	}
	assert_int_equal(uploads_new(&f.u, &f.e), 0);
	*state = &f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	atomic_store(&may_go, true);
	assert_true(uploads_stop(f->u, PATIENCE_MS));
	for (int i = GO_WELL; i <= HANG; i++)
		unlink(f->file[i]);
	return 0;
}

static void
place_at(struct fixture *f, uint64_t id, uint64_t serial, const char *repo)
{
	const struct msg_token m = {
	    .place = id,
	    .serial = serial,
	    .base = "http://127.0.0.1:1",
	    .repo = repo,
	    .token = "secret",
	    .authorities = "",
	};

	assert_int_equal(uploads_place(f->u, &m, &f->e), 0);
}

static void
place(struct fixture *f, uint64_t id, uint64_t serial)
{
	place_at(f, id, serial, "a/b");
}

static int
try_put(struct fixture *f, uint64_t push, uint64_t to, int what)
{
	const struct msg_push m = {
	    .push = push, .place = to, .file = f->file[what], .size = 1};
	int fd = -1;

	return uploads_put(f->u, &m, &fd, &f->e);
}

static void
put(struct fixture *f, uint64_t push, int what)
{
	assert_int_equal(try_put(f, push, 1, what), 0);
}

/* The next thing that it says. */
static struct msg
next(struct fixture *f, enum msg_type type)
{
	struct pollfd fd = {.fd = uploads_fd(f->u), .events = POLLIN};
	struct msg m;

	while (!uploads_next(f->u, &m))
		assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
	assert_int_equal(m.type, type);
	return m;
}

static void
test_goes_well(void **state)
{
	struct fixture *f = *state;
	struct msg m;

	place(f, 1, 1);
	put(f, 7, GO_WELL);
	assert_true(uploads_busy(f->u));
	m = next(f, MSG_PUSHED);
	assert_true(m.pushed.push == 7 && m.pushed.uploaded);
	assert_string_equal(m.pushed.text, "");
	/* Once more, until it was said. */
	m = next(f, MSG_PUSHED);
	assert_int_equal(m.pushed.push, 7);
	uploads_said(f->u);
	assert_false(uploads_busy(f->u));
	assert_false(uploads_next(f->u, &m));
	put(f, 8, BE_THERE);
	m = next(f, MSG_PUSHED);
	assert_true(m.pushed.push == 8 && !m.pushed.uploaded);
	assert_string_equal(m.pushed.text, "");
	uploads_said(f->u);
}

static void
test_fails(void **state)
{
	struct fixture *f = *state;
	struct msg m;

	assert_int_equal(try_put(f, 1, 1, GO_WELL), -1);
	err_clear(&f->e);
	place(f, 1, 1);
	put(f, 7, FAIL);
	m = next(f, MSG_PUSHED);
	assert_string_equal(m.pushed.text, "registry: 403");
	uploads_said(f->u);
	unlink(f->file[GO_WELL]);
	put(f, 8, GO_WELL);
	m = next(f, MSG_PUSHED);
	assert_non_null(strstr(m.pushed.text, "No such file"));
	uploads_said(f->u);
	assert_int_equal(atomic_load(&calls), 1);
}

/* Not the file that was meant. */
static void
test_other_size(void **state)
{
	struct fixture *f = *state;
	struct msg m;

	assert_int_equal(truncate(f->file[GO_WELL], 2), 0);
	place(f, 1, 1);
	put(f, 7, GO_WELL);
	m = next(f, MSG_PUSHED);
	assert_non_null(strstr(m.pushed.text, "2 bytes, not 1"));
	uploads_said(f->u);
	assert_int_equal(atomic_load(&calls), 0);
}

static void
test_token_ends(void **state)
{
	struct fixture *f = *state;
	struct msg m;

	place(f, 1, 5);
	put(f, 7, END_TOKEN);
	for (uint64_t serial = 5; serial < 7; serial++) {
		m = next(f, MSG_EXPIRED);
		assert_true(m.expired.place == 1 && m.expired.serial == serial);
		uploads_said(f->u);
		assert_false(uploads_next(f->u, &m));
		/* An older one is none. */
		place(f, 1, serial);
		assert_false(uploads_next(f->u, &m));
		place(f, 1, serial + 1);
	}
	m = next(f, MSG_PUSHED);
	assert_string_equal(m.pushed.text, "");
	uploads_said(f->u);
	assert_int_equal(atomic_load(&calls), 3);
}

static void
test_some_at_a_time(void **state)
{
	struct fixture *f = *state;
	bool seen[3 * UPLOADS_MAX] = {false};
	struct msg m;

	place(f, 1, 1);
	for (uint64_t i = 0; i < 3 * UPLOADS_MAX; i++)
		put(f, i, HANG);
	while (atomic_load(&running) < UPLOADS_MAX)
		nap();
	assert_false(uploads_next(f->u, &m));
	atomic_store(&may_go, true);
	for (size_t i = 0; i < 3 * UPLOADS_MAX; i++) {
		m = next(f, MSG_PUSHED);
		assert_true(m.pushed.push < 3 * UPLOADS_MAX);
		assert_false(seen[m.pushed.push]);
		seen[m.pushed.push] = true;
		uploads_said(f->u);
	}
	assert_int_equal(atomic_load(&most), UPLOADS_MAX);
	assert_false(uploads_busy(f->u));
}

static void
test_forgotten(void **state)
{
	struct fixture *f = *state;
	struct msg m;

	place(f, 1, 1);
	for (uint64_t i = 0; i < UPLOADS_MAX + 2; i++)
		put(f, i, HANG);
	while (atomic_load(&running) < UPLOADS_MAX)
		nap();
	uploads_forget(f->u);
	assert_false(uploads_busy(f->u));
	/* Nor is the place known any more; the same number may be another. */
	assert_int_equal(try_put(f, 9, 1, GO_WELL), -1);
	err_clear(&f->e);
	place(f, 1, 1);
	put(f, 9, GO_WELL);
	atomic_store(&may_go, true);
	m = next(f, MSG_PUSHED);
	assert_int_equal(m.pushed.push, 9);
	uploads_said(f->u);
	assert_int_equal(atomic_load(&calls), UPLOADS_MAX + 1);
}

/* One that is stuck holds up nobody's end. */
static void
test_stuck(void **state)
{
	struct fixture *f = *state;

	place(f, 1, 1);
	put(f, 1, HANG);
	while (atomic_load(&running) < 1)
		nap();
	assert_false(uploads_stop(f->u, 10));
}

static void
test_places(void **state)
{
	struct fixture *f = *state;
	struct msg_token m = {.base = "http://h",
	    .repo = "r",
	    .token = "",
	    .authorities = "",
	    .serial = 1};

	for (m.place = 0; m.place < UPLOADS_PLACES_MAX; m.place++)
		assert_int_equal(uploads_place(f->u, &m, &f->e), 0);
	assert_int_equal(uploads_place(f->u, &m, &f->e), -1);
	err_clear(&f->e);
	m.place = 0;
	assert_int_equal(uploads_place(f->u, &m, &f->e), 0);
}

/*
 * A number comes to mean another place; what is on its way goes to the first.
 */
static void
test_another_place(void **state)
{
	struct fixture *f = *state;

	place(f, 1, 7);
	put(f, 1, HANG);
	while (atomic_load(&running) == 0)
		nap();
	place_at(f, 1, 1, "c/d");
	for (uint64_t push = 2; push < 5; push++) {
		put(f, push, GO_WELL);
		assert_int_equal(next(f, MSG_PUSHED).pushed.push, push);
		uploads_said(f->u);
	}
	assert_int_equal(atomic_load(&elsewhere), 3);
	atomic_store(&may_go, true);
	assert_int_equal(next(f, MSG_PUSHED).pushed.push, 1);
	uploads_said(f->u);
	assert_int_equal(atomic_load(&elsewhere), 3);
}

static void
test_none(void **state)
{
	struct msg m;

	(void)state;
	assert_int_equal(uploads_fd(NULL), -1);
	assert_false(uploads_next(NULL, &m));
	assert_false(uploads_busy(NULL));
	uploads_forget(NULL);
	assert_true(uploads_stop(NULL, 0));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_goes_well),
	    TEST(test_fails),
	    TEST(test_other_size),
	    TEST(test_token_ends),
	    TEST(test_some_at_a_time),
	    TEST(test_forgotten),
	    TEST(test_stuck),
	    TEST(test_places),
	    TEST(test_another_place),
	    cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
