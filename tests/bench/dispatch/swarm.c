#include "swarm.h"

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <zmq.h>

#include "err.h"
#include "link.h"
#include "protocol.h"

enum { EVENTS = 16, DUE_MAX = 8 };
enum { BEAT_US = 200000, HELLO_US = 20000, HELD_MAX = 64 };

struct held {
	uint64_t job, attempt;
	uint64_t missing;     /* store paths that are to come */
	uint64_t bytes;	      /* of those that came */
	int64_t began, takes; /* us; due */
	bool measure;
};

struct worker {
	struct link *link;
	bool ready, left;
	size_t number;
	uint8_t instance[MSG_INSTANCE_SIZE];
	struct held held[HELD_MAX]; /* oldest first */
	size_t n_held, n_due;	    /* the first n_due are worked on */
	int64_t answered;	    /* us; 0: the JOB that follows has come */
};

/* What a worker's job waits for. */
struct due {
	int64_t at;
	struct worker *worker;
};

struct swarm {
	const struct swarm_config *config;
	struct swarm_stats *stats;
	pthread_t thread;
	void *ctx;
	int epoll;
	struct worker *worker;
	size_t n, first, n_left;
	struct due *due; /* a heap of room for all slots, soonest first */
	size_t n_due;
	uint64_t random;
	size_t beats; /* whose is next, round and round */
	int64_t next_beat, next_hello;
};

int64_t
swarm_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

size_t
swarm_bucket(int64_t us)
{
	uint64_t v = us > 0 ? (uint64_t)us : 0;
	unsigned octave;

	if (v < 8)
		return (size_t)v;
	octave = 63u - (unsigned)__builtin_clzll(v);
	return 8 * (octave - 2) + (size_t)(v >> (octave - 3) & 7);
}

int64_t
swarm_bucket_us(size_t b)
{
	return b < 8 ? (int64_t)b : (int64_t)(8 + (b & 7)) << (b / 8 - 1);
}

static void
die(const char *what, const struct err *e)
{
	fprintf(stderr, "swarm: %s: %s\n", what, e->text);
	_exit(1);
}

static void
say(struct worker *w, const struct msg *m)
{
	struct err e = ERR_INIT;

	/* Not connected yet, or its queue is full: nothing that helps. */
	if (link_send(w->link, NULL, m, &e) < 0 && e.kind != ERR_PEER)
		die(msg_name(m->type), &e);
}

static void
hello(struct swarm *s, struct worker *w)
{
	struct msg m = {.type = MSG_HELLO,
	    .hello = {
		.protocol = PROTOCOL_VERSION,
		.program = QUARRY_VERSION,
		.host = "swarm",
		.pid = w->number + 1,
		.slots = s->config->slots,
		.gzip = "none",
		.zstd = "none",
		.fetches = true,
	    }};

	memcpy(m.hello.instance, w->instance, sizeof(m.hello.instance));
	say(w, &m);
}

static void
answer(struct swarm *s, struct worker *w)
{
	const struct held job = w->held[0];
	struct msg m = {.type = MSG_DONE};

	if (job.measure) {
		m = (struct msg){
		    .type = MSG_SIZED, .sized = {job.job, job.attempt, 512, 1}};
	} else {
		m.done.job = job.job;
		m.done.attempt = job.attempt;
		m.done.result.tar_size = m.done.result.size = 512;
		memcpy(m.done.result.digest.b, &job.job, sizeof(job.job));
		m.done.result.diff_id = m.done.result.digest;
	}
	memmove(w->held, w->held + 1, --w->n_held * sizeof(*w->held));
	w->n_due--;
	w->answered = swarm_now_us();
	say(w, &m);
	atomic_fetch_add_explicit(&s->stats->jobs, 1, memory_order_relaxed);
}

static void
due_put(struct swarm *s, struct due due)
{
	size_t i = s->n_due++;

	for (; i > 0 && s->due[(i - 1) / 2].at > due.at; i = (i - 1) / 2)
		s->due[i] = s->due[(i - 1) / 2];
	s->due[i] = due;
}

static struct worker *
due_take(struct swarm *s)
{
	struct worker *w = s->due[0].worker;
	const struct due last = s->due[--s->n_due];
	size_t i = 0, k;

	for (; (k = 2 * i + 1) < s->n_due; i = k) {
		k += k + 1 < s->n_due && s->due[k + 1].at < s->due[k].at;
		if (s->due[k].at >= last.at)
			break;
		s->due[i] = s->due[k];
	}
	s->due[i] = last;
	return w;
}

/* From half of it to one and a half: workers do not answer all at once. */
static int64_t
some_time(struct swarm *s)
{
	int64_t us = s->config->work_us;

	s->random = s->random * UINT64_C(6364136223846793005) + 1;
	return us / 2 + (int64_t)((s->random >> 33) % (uint64_t)us);
}

/* As many as there are slots are worked on, or all are answered at once. */
static void
work(struct swarm *s, struct worker *w)
{
	while (w->n_due < w->n_held && w->n_due < s->config->slots &&
	    w->held[w->n_due].missing == 0) {
		struct held *job = &w->held[w->n_due++];

		if (s->config->work_us == 0) {
			answer(s, w);
			continue;
		}
		job->began = swarm_now_us();
		job->takes = some_time(s);
		due_put(s, (struct due){job->began + job->takes, w});
	}
}

static void
take_job(struct swarm *s, struct worker *w, const struct msg_job *job)
{
	int64_t now = swarm_now_us();

	if (w->answered > atomic_load(&s->stats->since))
		atomic_fetch_add_explicit(
		    &s->stats->turn[swarm_bucket(now - w->answered)], 1,
		    memory_order_relaxed);
	w->answered = 0;
	atomic_store_explicit(&s->stats->received, now, memory_order_relaxed);
	if (w->n_held == HELD_MAX)
		return;
	w->held[w->n_held++] = (struct held){
	    .job = job->job,
	    .attempt = job->attempt,
	    .missing = job->n_items,
	    .measure = job->spec.measure,
	};
	work(s, w);
}

/* All of the list, or half of it: which one is the worker's own. */
static void
have(struct swarm *s, struct worker *w, const struct msg_ask *ask)
{
	size_t left = (size_t)(ask->n + 7) / 8;
	uint64_t seed = w->number * UINT64_C(0x9e3779b97f4a7c15) + 1;
	struct msg m = {.type = MSG_HAVE, .have = {.ask = ask->ask}};
	uint8_t bits[MSG_BITS_MAX];

	for (; left > 0; left -= m.have.n) {
		m.have.n = left < sizeof(bits) ? left : sizeof(bits);
		m.have.bits = bits;
		for (size_t i = 0; i < m.have.n; i++) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			bits[i] = s->config->differ ? (uint8_t)seed : 0xff;
		}
		if (m.have.n == left && ask->n % 8 != 0)
			bits[left - 1] &= (uint8_t)((1u << ask->n % 8) - 1);
		say(w, &m);
		m.have.first += 8 * m.have.n;
	}
}

static void
take(struct swarm *s, struct worker *w, const struct msg *m)
{
	const struct err refused = {.text = "refused"};

	if (m->type == MSG_JOB)
		take_job(s, w, &m->job);
	if (m->type == MSG_ITEMS || m->type == MSG_ENTRIES) {
		/* Parts come right behind their JOB. */
		struct held *job = &w->held[w->n_held - 1];
		bool items = m->type == MSG_ITEMS;

		job->missing -= items ? m->items.n : m->entries.n;
		for (size_t i = 0; items && i < m->items.n; i++)
			job->bytes += m->items.item[i].nar_size;
		work(s, w);
	}
	if (m->type == MSG_REFUSE)
		die(m->refuse.text, &refused);
	if (m->type == MSG_ASK)
		have(s, w, &m->ask);
	if (m->type == MSG_WELCOME)
		w->ready = true;
	if (m->type == MSG_WHO) {
		w->ready = false;
		hello(s, w);
	}
	if (m->type == MSG_BYE && !w->left) {
		const struct msg bye = {.type = MSG_BYE};

		say(w, &bye);
		w->left = true;
		s->n_left++;
	}
}

static void
receive(struct swarm *s, struct worker *w)
{
	struct err e = ERR_INIT;
	struct msg m;
	int rc;

	while ((rc = link_recv(w->link, NULL, &m, &e)) != 0) {
		if (rc < 0)
			die("receive", &e);
		take(s, w, &m);
		msg_clear(&m);
	}
}

/* The oldest job goes on evenly: what it would have been so far. */
static void
beat(struct worker *w, int64_t now)
{
	const struct held *job = &w->held[0];
	struct msg_progress p = {job->job, job->attempt, 0};
	struct msg m = {.type = MSG_BEAT, .beat = {&p, w->n_due > 0}};
	int64_t us = now - job->began;

	if (w->n_due > 0 && us > 0)
		p.bytes = us < job->takes
		    ? job->bytes * (uint64_t)us / (uint64_t)job->takes
		    : job->bytes;
	say(w, &m);
}

/* What is due: answers, beats, HELLOs; then us until the next is. */
static int64_t
tick(struct swarm *s)
{
	int64_t now = swarm_now_us(), next;

	/* Not so many that others' jobs, which have come, wait to be seen. */
	for (int i = 0; i < DUE_MAX && s->n_due > 0 && s->due[0].at <= now;
	     i++) {
		struct worker *w = due_take(s);

		answer(s, w);
		work(s, w);
		receive(s, w); /* sending swallows the fd's edge */
	}
	for (; s->next_beat <= now; s->next_beat += BEAT_US / (int64_t)s->n) {
		struct worker *w = &s->worker[s->beats % s->n];
		size_t round = s->beats++ / s->n + w->number;

		if (!w->ready || w->left ||
		    (w->n_held == 0 && round % MSG_IDLE_BEATS != 0))
			continue;
		beat(w, now);
		receive(s, w);
	}
	if (s->next_hello <= now) {
		s->next_hello = now + HELLO_US;
		for (size_t i = 0; i < s->n; i++)
			if (!s->worker[i].ready) {
				hello(s, &s->worker[i]);
				receive(s, &s->worker[i]);
				s->next_hello = now + HELLO_US * 10;
			}
	}
	next = s->next_beat < s->next_hello ? s->next_beat : s->next_hello;
	if (s->n_due > 0 && s->due[0].at < next)
		next = s->due[0].at;
	return next > now ? next - now : 0;
}

static void
open_worker(struct swarm *s, size_t i)
{
	const struct link_keys keys = {
	    .own = s->config->key, .server = s->config->server};
	struct worker *w = &s->worker[i];
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = w};
	struct err e = ERR_INIT;

	w->number = s->first + i;
	if (getrandom(w->instance, sizeof(w->instance), 0) < 0 ||
	    link_connect(s->ctx, s->config->endpoint, &keys, &w->link, &e) < 0)
		die("connect", &e);
	epoll_ctl(s->epoll, EPOLL_CTL_ADD, link_fd(w->link), &ev);
}

static void *
run(void *arg)
{
	struct swarm *s = arg;
	struct err e = ERR_INIT;

	if ((s->ctx = link_context(&e)) == NULL)
		die("start", &e);
	zmq_ctx_set(s->ctx, ZMQ_MAX_SOCKETS, (int)s->n + 16);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->due = calloc(s->n * s->config->slots + 1, sizeof(*s->due));
	for (size_t i = 0; i < s->n; i++)
		open_worker(s, i);
	s->next_beat = swarm_now_us();
	while (s->n_left < s->n) {
		struct epoll_event ev[EVENTS];
		int64_t us = tick(s);
		struct timespec t = {us / 1000000, us % 1000000 * 1000};
		int n = epoll_pwait2(s->epoll, ev, EVENTS, &t, NULL);

		for (int i = 0; i < n; i++)
			receive(s, ev[i].data.ptr);
	}
	poll(NULL, 0, 200); /* for the last BYEs to get there */
	return NULL;
}

void
swarm_run(const struct swarm_config *config, struct swarm_stats *stats)
{
	struct swarm *s = calloc(config->threads, sizeof(*s));
	struct worker *w = calloc(config->workers, sizeof(*w));
	size_t first = 0;

	for (size_t i = 0; i < config->threads; i++) {
		s[i].config = config;
		s[i].stats = stats;
		s[i].first = first;
		s[i].worker = w + first;
		s[i].n = (config->workers - first) / (config->threads - i);
		first += s[i].n;
		pthread_create(&s[i].thread, NULL, run, &s[i]);
	}
	for (size_t i = 0; i < config->threads; i++)
		pthread_join(s[i].thread, NULL);
	_exit(0);
}
