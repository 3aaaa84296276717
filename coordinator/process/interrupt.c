#include "process/interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/process_group.h"

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
static size_t n_signals = 3; /* that are ours: 2 without SIGHUP, or 0 */

static volatile pid_t children[INTERRUPT_CHILDREN_MAX];
static volatile pid_t group;
static volatile pid_t reaper_pid = -1;
static volatile int reaper_fd = -1;
static const char *volatile terminal;

static void
on_signal(int signo)
{
	pid_t pid;

	for (size_t i = 0; i < INTERRUPT_CHILDREN_MAX; i++)
		if (children[i] > 0)
			kill(children[i], SIGKILL);
	for (size_t i = 0; i < INTERRUPT_CHILDREN_MAX; i++)
		if (children[i] > 0)
			waitpid(children[i], NULL, 0);
	if ((pid = group) > 0)
		process_group_end(pid);
	if ((pid = reaper_pid) > 0) {
		close(reaper_fd);
		waitpid(pid, NULL, 0);
	}
	if (terminal != NULL &&
	    write(STDERR_FILENO, terminal, strlen(terminal)) < 0) {
		/* Nothing is left to tell it to. */
	}
	_exit(128 + signo);
}

/* Keeps the signals away while the table changes. */
static void
hold(bool on)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < n_signals; i++)
		sigaddset(&set, signals[i]);
	sigprocmask(on ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

void
interrupt_start(void)
{
	struct sigaction act = {.sa_handler = on_signal};

	for (size_t i = 0; i < n_signals; i++)
		sigaddset(&act.sa_mask, signals[i]);
	for (size_t i = 0; i < n_signals; i++) {
		struct sigaction old;

		/* Under nohup SIGHUP stays ignored. */
		if (sigaction(signals[i], NULL, &old) == 0 &&
		    old.sa_handler == SIG_IGN && signals[i] == SIGHUP)
			continue;
		sigaction(signals[i], &act, NULL);
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	hold(false);
}

void
interrupt_leave_hangup(void)
{
	sigset_t set;

	if (n_signals > 2)
		n_signals = 2;
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	/* An ignored signal would never get to a signalfd. */
	signal(SIGHUP, SIG_DFL);
}

void
interrupt_leave_all(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < n_signals; i++)
		sigaddset(&set, signals[i]);
	n_signals = 0;
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGHUP, SIG_DFL);
}

bool
interrupt_add(pid_t child)
{
	bool added = false;

	hold(true);
	for (size_t i = 0; i < INTERRUPT_CHILDREN_MAX && !added; i++)
		if (children[i] <= 0) {
			children[i] = child;
			added = true;
		}
	hold(false);
	return added;
}

void
interrupt_remove(pid_t child)
{
	hold(true);
	for (size_t i = 0; i < INTERRUPT_CHILDREN_MAX; i++)
		if (children[i] == child)
			children[i] = 0;
	hold(false);
}

void
interrupt_group(pid_t new_group)
{
	hold(true);
	group = new_group;
	hold(false);
}

void
interrupt_reaper(pid_t reaper, int fd)
{
	hold(true);
	reaper_pid = reaper;
	reaper_fd = fd;
	hold(false);
}

void
interrupt_terminal(const char *restore)
{
	terminal = restore;
}
