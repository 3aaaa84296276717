/*
 * A stream socket between two ends of a connection, which ends every
 * connection after so many bytes one way.  One thread of its own; one
 * connection at a time.
 */
#ifndef CUT_PROXY_H
#define CUT_PROXY_H

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct cut_proxy {
	/* Set before cut_proxy_start(). */
	struct sockaddr_storage at, to; /* at: afterwards with its port */
	socklen_t at_len, to_len;
	bool up;	    /* whose bytes count: those of who connects */
	uint64_t cut_after; /* bytes */
	/* As long as it is set these wait there, and nothing is cut. */
	atomic_bool hold;

	atomic_int cuts; /* connections that ended */
	atomic_bool stop;
	int fd;
	pthread_t thread;
};

/* Carries bytes until one end closes, the limit is there, or it is over. */
static void
cut_proxy_carry(struct cut_proxy *p, const int end[2])
{
	static uint8_t buf[65536];
	const int counted = p->up ? 0 : 1;
	uint64_t bytes = 0;

	while (!atomic_load(&p->stop) &&
	    (bytes < p->cut_after || atomic_load(&p->hold))) {
		struct pollfd fds[] = {
		    {end[0], POLLIN, 0}, {end[1], POLLIN, 0}};

		if (bytes >= p->cut_after)
			fds[counted].fd = -1;
		poll(fds, 2, 50);
		for (int i = 0; i < 2; i++) {
			ssize_t n;

			if (fds[i].revents == 0)
				continue;
			n = read(end[i], buf, sizeof(buf));
			if (n <= 0 ||
			    send(end[1 - i], buf, (size_t)n, MSG_NOSIGNAL) != n)
				return;
			if (i == counted)
				bytes += (uint64_t)n;
		}
	}
}

static void *
cut_proxy_run(void *arg)
{
	struct cut_proxy *p = arg;

	while (!atomic_load(&p->stop)) {
		struct pollfd fd = {p->fd, POLLIN, 0};
		int end[2];

		if (poll(&fd, 1, 50) != 1)
			continue;
		end[0] = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC);
		end[1] = socket(p->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(end[1], (struct sockaddr *)&p->to, p->to_len) == 0)
			cut_proxy_carry(p, end);
		atomic_fetch_add(&p->cuts, 1);
		close(end[0]);
		close(end[1]);
	}
	return NULL;
}

static void
cut_proxy_start(struct cut_proxy *p)
{
	p->fd = socket(p->at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(p->fd, (struct sockaddr *)&p->at, p->at_len), 0);
	assert_int_equal(listen(p->fd, 8), 0);
	p->at_len = sizeof(p->at);
	getsockname(p->fd, (struct sockaddr *)&p->at, &p->at_len);
	assert_int_equal(pthread_create(&p->thread, NULL, cut_proxy_run, p), 0);
}

static void
cut_proxy_stop(struct cut_proxy *p)
{
	atomic_store(&p->stop, true);
	pthread_join(p->thread, NULL);
	close(p->fd);
}

#endif
