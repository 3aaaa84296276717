#include "dispatch/dispatch_state.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <zmq.h>

#include "dispatch/dispatch.h"
#include "err.h"
#include "process/interrupt.h"
#include "link.h"
#include "dispatch/local_workers.h"
#include "log.h"
#include "process/scratch.h"

/* Local workers that die before they say HELLO, in a row. */
#define START_FAILURES_MAX 3

int
dispatch_local_signals(bool hangup, struct err *e)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	if (hangup) {
		interrupt_leave_hangup();
		sigaddset(&set, SIGHUP);
	}
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 ||
	    (fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
		return err_set(e, ERR_FATAL, errno, "signalfd");
	return fd;
}

/* Sockets have short names (107 bytes), so not every TMPDIR will do. */
static const char *
socket_parent(void)
{
	const char *names[] = {"XDG_RUNTIME_DIR", "TMPDIR"};

	for (size_t i = 0; i < 2; i++) {
		const char *dir = getenv(names[i]);

		if (dir != NULL && dir[0] == '/' && strlen(dir) < 80 &&
		    access(dir, W_OK | X_OK) == 0)
			return dir;
	}
	return "/tmp";
}

int
dispatch_local_listen(struct dispatch *d, struct err *e)
{
	if (scratch_folder(d->scratch, socket_parent(), &d->folder, e) < 0)
		return err_ctx(e, "socket folder");
	if (asprintf(&d->endpoint, "ipc://%s/c", d->folder) < 0) {
		d->endpoint = NULL;
		return err_set(e, ERR_FATAL, errno, "endpoint");
	}
	if ((d->ctx = link_context(e)) == NULL)
		return -1;
	return link_listen(d->ctx, d->endpoint, NULL, &d->link, e);
}

int
dispatch_local_start(
    struct dispatch *d, const struct dispatch_config *c, struct err *e)
{
	size_t slots = c->slots;

	if (local_workers_new(
		c->worker_program, d->endpoint, c->caches, &d->local, e) < 0)
		return -1;
	for (size_t left = c->workers; left > 0; left--) {
		size_t share = (slots + left - 1) / left;

		if (local_workers_start(d->local, share, e) < 0)
			return -1;
		slots -= share;
	}
	return 0;
}

/*
 * Local workers that ended: their jobs go elsewhere, others take their place.
 */
int
dispatch_local_replace(struct dispatch *d, struct err *e)
{
	struct signalfd_siginfo info;
	struct local_exit gone;

	while (read(d->child_fd, &info, sizeof(info)) > 0)
		if (info.ssi_signo == SIGHUP) {
			dispatch_remote_reload(d);
			if (d->hooks.hangup != NULL)
				d->hooks.hangup(d->hooks.arg);
		}
	while (local_workers_ended(d->local, &gone)) {
		for (size_t i = 0; i < d->n_peers; i++)
			if (d->peer[i].local == gone.pid) {
				log_line(LOG_INFO,
				    "worker %s: %s; another "
				    "one takes its place",
				    d->peer[i].name, gone.why);
				peer_gone(d, &d->peer[i], gone.why);
				break;
			}
		if (gone.at_start && ++d->start_failures == START_FAILURES_MAX)
			return err_set(e, ERR_FATAL, 0,
			    "workers end before they say a word: %s "
			    "(--worker-program names another program)",
			    gone.why);
		if (local_workers_start(d->local, gone.slots, e) < 0)
			return -1;
	}
	return 0;
}
