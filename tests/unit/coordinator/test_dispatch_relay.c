/*
 * Dispatch that has workers put blobs into registries for others: what ends
 * with whoever wanted it, and what workers hear.  A scripted worker, which
 * answers when it is told to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dispatch_script.h"
#include "dispatch/push_queue.h"
#include "monotime.h"
#include "progress/status.h"

enum { BLOBS = 20, TOKENS = 50 };

struct fixture {
	struct dispatch_script s;
	struct link *worker;
	size_t place;
	size_t over, expired; /* that were told of */
	/* What the worker has heard, the last ones. */
	size_t pushes, tokens;
	uint64_t push[BLOBS];
	struct msg_expired known; /* of the last token */
};

static int
on_relayed(void *arg, const struct dispatch_relayed *what, struct err *err)
{
	struct fixture *f = arg;

	(void)what;
	(void)err;
	f->over++;
	return 0;
}

static int
on_expired(void *arg, void *whose, size_t place, struct err *err)
{
	struct fixture *f = arg;

	(void)err;
	assert_ptr_equal(whose, f);
	assert_int_equal(place, f->place);
	f->expired++;
	return 0;
}

static void
hear(struct fixture *f, const struct msg *m)
{
	if (m->type == MSG_PUSH)
		f->push[f->pushes++] = m->push.push;
	if (m->type != MSG_TOKEN)
		return;
	f->tokens++;
	f->known = (struct msg_expired){m->token.place, m->token.serial};
}

static void
turn(struct fixture *f)
{
	static const struct msg beat = {.type = MSG_BEAT};
	struct msg m;

	assert_int_equal(
	    dispatch_turn(f->s.d, NULL, 0, monotime_ms() + 1, &e), 0);
	while (link_recv(f->worker, NULL, &m, &e) > 0) {
		hear(f, &m);
		msg_clear(&m);
	}
	assert_int_equal(link_send(f->worker, NULL, &beat, &e), 0);
}

static void
wait_until(struct fixture *f, const size_t *count, size_t n)
{
	int64_t until = monotime_ms() + 60000;

	while (*count < n && monotime_ms() < until)
		turn(f);
	assert_int_equal(*count, n);
}

static void
say(struct fixture *f, const struct msg *m)
{
	assert_int_equal(link_send(f->worker, NULL, m, &e), 0);
}

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const struct dispatch_relay_to to = {
	    .base = "https://registry", .repo = "a/b", .token = "", .whose = f};
	const struct dispatch_config config = {
	    .relays = true,
	    .authorities = "",
	    .hooks = {.arg = f, .relayed = on_relayed, .expired = on_expired},
	};
	const struct msg_hello hello = {
	    .host = "scripted", .pid = 1, .slots = 1};
	struct push_worker w = {.near = true, .files = true};
	struct dispatch *d;

	script_open(&f->s);
	script_begin(&f->s, config);
	d = f->s.d;
	f->worker = script_join(&f->s, hello);
	while (d->n_peers == 0)
		turn(f);
	/* As one that has shown that it sees the files here. */
	w.id = d->peer[0].worker;
	assert_int_equal(push_queue_worker(dispatch_relay_queue(d), &w, &e), 0);
	assert_int_equal(dispatch_relay_open(d, &to, &f->place, &e), 0);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	link_close(f->worker, 0);
	script_close(&f->s);
	free(f);
	return 0;
}

static void
put(struct fixture *f, size_t n)
{
	struct dispatch_relay_blob blob = {
	    .place = f->place, .file = "/blob", .size = 1};

	for (size_t i = 0; i < n; i++)
		assert_int_equal(dispatch_relay_put(f->s.d, &blob, &e), 0);
}

/* Else who comes again and again has more and more of them on their way. */
static void
what_waits_ends_with_its_place(void **state)
{
	struct fixture *f = *state;
	struct msg m = {.type = MSG_PUSHED, .pushed = {.text = ""}};

	put(f, BLOBS);
	wait_until(f, &f->pushes, PUSH_GIVEN_MAX);
	dispatch_relay_close(f->s.d, f->place);
	wait_until(f, &f->over, BLOBS - PUSH_GIVEN_MAX);
	/* What the worker has goes on. */
	for (size_t i = 0; i < PUSH_GIVEN_MAX; i++) {
		m.pushed.push = f->push[i];
		say(f, &m);
	}
	wait_until(f, &f->over, BLOBS);
	assert_int_equal(f->pushes, PUSH_GIVEN_MAX);
}

/* Its number is another place's then, which nothing of that one bars. */
static void
numbers_are_used_again(void **state)
{
	struct fixture *f = *state;
	const struct dispatch_relay_to to = {
	    .base = "https://other", .repo = "c", .token = "", .whose = f};
	struct msg m = {.type = MSG_PUSHED, .pushed = {.text = ""}};
	size_t before = f->place;

	for (size_t i = 0; i < 3; i++) {
		put(f, 1);
		wait_until(f, &f->pushes, i + 1);
		dispatch_relay_close(f->s.d, f->place);
		m.pushed.push = f->push[i];
		say(f, &m);
		wait_until(f, &f->over, i + 1);
		assert_int_equal(
		    dispatch_relay_open(f->s.d, &to, &f->place, &e), 0);
		assert_int_equal(f->place, before);
	}
}

/* A client that has more and more tokens must not fill workers' queues. */
static void
tokens_are_told_who_needs_them(void **state)
{
	struct fixture *f = *state;
	struct msg m = {.type = MSG_EXPIRED};

	put(f, 1);
	wait_until(f, &f->pushes, 1);
	for (size_t i = 0; i < TOKENS; i++)
		assert_int_equal(
		    dispatch_relay_token(f->s.d, f->place, "", &e), 0);
	put(f, 1);
	wait_until(f, &f->pushes, 2);
	/* One with each push at most. */
	assert_int_equal(f->tokens, 2);

	/* Who asks has the newest, if it is another one. */
	assert_int_equal(dispatch_relay_token(f->s.d, f->place, "", &e), 0);
	m.expired = f->known;
	say(f, &m);
	wait_until(f, &f->tokens, 3);
	assert_int_equal(f->expired, 0);

	/* Else its owner is asked, and the answer told at once. */
	m.expired = f->known;
	say(f, &m);
	wait_until(f, &f->expired, 1);
	assert_int_equal(dispatch_relay_token(f->s.d, f->place, "", &e), 0);
	wait_until(f, &f->tokens, 4);
	assert_int_equal(f->expired, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		what_waits_ends_with_its_place, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		numbers_are_used_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		tokens_are_told_who_needs_them, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
