/* The table of workers, against a plain array; and what a look-up costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dispatch/dispatch_state.h"
#include "err.h"

enum { WORKERS = 300 };

struct fixture {
	struct dispatch d;
	bool there[WORKERS];
	struct peer peer[WORKERS];
};

static uint64_t
random_below(uint64_t *seed, uint64_t n)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed % n;
}

/* Two sockets; both give the same ids to their peers. */
static struct link *
via(const struct fixture *f, size_t i)
{
	return i % 2 == 0 ? f->d.link : f->d.remote;
}

static struct link_peer
link_id(size_t i, unsigned connection)
{
	struct link_peer p = {.len = 5};
	uint16_t n = (uint16_t)(i / 2 + connection * WORKERS);

	memcpy(p.id + 1, &n, sizeof(n));
	return p;
}

static struct peer
worker(const struct fixture *f, size_t i)
{
	struct peer p = {
	    .via = via(f, i),
	    .link = link_id(i, 0),
	    .worker = {1000 + i},
	};

	memcpy(p.instance, &i, sizeof(i));
	if (p.via == f->d.remote)
		memset(p.token, (int)(i % 251), sizeof(p.token));
	memcpy(p.token, &i, p.via == f->d.remote ? sizeof(i) : 0);
	return p;
}

static void
check(struct fixture *f, size_t i)
{
	const struct peer *want = &f->peer[i];
	struct dispatch_from from = {want->via, want->link};
	struct peer *p = peer_by_worker(&f->d, want->worker);

	if (!f->there[i]) {
		assert_null(p);
		assert_null(peer_by_link(&f->d, &from));
		assert_null(peer_by_instance(&f->d, want->via, want->instance));
		assert_null(peer_by_token(&f->d, want->token));
		return;
	}
	assert_non_null(p);
	assert_int_equal(p->worker.v, want->worker.v);
	assert_ptr_equal(peer_by_link(&f->d, &from), p);
	assert_ptr_equal(peer_by_instance(&f->d, want->via, want->instance), p);
	if (want->via == f->d.remote)
		assert_ptr_equal(peer_by_token(&f->d, want->token), p);
	else
		assert_null(peer_by_token(&f->d, want->token));
}

static void
start(struct fixture *f)
{
	/* Sockets are only compared. */
	*f = (struct fixture){
	    .d = {
		.hash_seed = 5, .link = (void *)f, .remote = (void *)f->peer}};
	for (size_t i = 0; i < WORKERS; i++)
		f->peer[i] = worker(f, i);
}

static void
same_as_an_array(void **state)
{
	struct err e = ERR_INIT;
	struct fixture f;
	uint64_t r = 3;
	size_t n = 0;

	(void)state;
	start(&f);
	for (int step = 0; step < 20000; step++) {
		size_t i = random_below(&r, WORKERS);
		struct dispatch_from from = {via(&f, i), link_id(i, 1)};

		if (!f.there[i]) {
			assert_int_equal(peer_reserve(&f.d, &e), 0);
			peer_add(&f.d, &f.peer[i]);
			n++;
			f.there[i] = true;
		} else if (random_below(&r, 4) == 0) {
			peer_relink(&f.d,
			    peer_by_worker(&f.d, f.peer[i].worker), &from);
			f.peer[i].link = from.link;
		} else {
			peer_remove(
			    &f.d, peer_by_worker(&f.d, f.peer[i].worker));
			n--;
			f.there[i] = false;
			f.peer[i] = worker(&f, i);
		}
		assert_int_equal(f.d.n_peers, n);
		check(&f, i);
		check(&f, random_below(&r, WORKERS));
	}
	peers_free(&f.d);
}

/* A message costs the same, however many workers are there. */
static void
looks_at_few(void **state)
{
	const size_t n = 20000, messages = 100000;
	struct err e = ERR_INIT;
	struct fixture f;
	uint64_t r = 9;

	(void)state;
	start(&f);
	for (size_t i = 0; i < n; i++) {
		struct peer p = worker(&f, i);

		assert_int_equal(peer_reserve(&f.d, &e), 0);
		peer_add(&f.d, &p);
	}
	for (size_t k = 0; k < messages; k++) {
		size_t i = random_below(&r, n);
		struct dispatch_from from = {via(&f, i), link_id(i, 0)};

		assert_non_null(peer_by_link(&f.d, &from));
		assert_non_null(
		    peer_by_worker(&f.d, (struct worker_id){1000 + i}));
	}
	assert_in_range(f.d.by_link.looks, messages, 4 * messages);
	assert_in_range(f.d.by_worker.looks, messages, 4 * messages);
	peers_free(&f.d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(same_as_an_array),
	    cmocka_unit_test(looks_at_few),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
