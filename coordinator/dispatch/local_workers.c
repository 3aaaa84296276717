#include "dispatch/local_workers.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache_list.h"
#include "err.h"
#include "process/interrupt.h"
#include "monotime.h"
#include "own.h"
#include "process/spawn_attr.h"

#define WORKER_PROGRAM "quarry-worker"
/* Its name, three options of two words, the caches' and the NULL. */
#define ARGS_MAX (7 + 2 * (CACHE_URLS_MAX + TRUSTED_KEYS_MAX) + 2)

struct process {
	pid_t pid;
	size_t slots;
	bool ready;    /* said HELLO */
	bool mute;     /* did not, and was killed */
	int64_t start; /* ms */
};

struct local_workers {
	char *program;
	const char *endpoint;
	const struct cache_list *caches;
	struct process process[INTERRUPT_CHILDREN_MAX];
	size_t n;
	int64_t heard; /* when one was last ready, ms */
};

/* The worker that lies beside this program, if one does. */
static char *
beside(void)
{
	char self[4096], *slash, *path = NULL;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n <= 0)
		return NULL;
	self[n] = '\0';
	if ((slash = strrchr(self, '/')) == NULL)
		return NULL;
	*slash = '\0';
	if (asprintf(&path, "%s/" WORKER_PROGRAM, self) < 0)
		return NULL;
	if (access(path, X_OK) < 0)
		own_freep(&path);
	return path;
}

int
local_workers_new(const char *program, const char *endpoint,
    const struct cache_list *caches, struct local_workers **out, struct err *e)
{
	struct local_workers *w;

	if ((w = calloc(1, sizeof(*w))) == NULL)
		return err_set(e, ERR_FATAL, errno, "workers");
	w->endpoint = endpoint;
	w->caches = caches;
	w->program = program != NULL ? strdup(program) : beside();
	if (w->program == NULL && program == NULL)
		w->program = strdup(WORKER_PROGRAM);
	if (w->program == NULL) {
		free(w);
		return err_set(e, ERR_FATAL, errno, "workers");
	}
	*out = w;
	return 0;
}

/*
 * No standard input (the closure may come from there), and standard output is
 * where errors go: ours may be an image.
 */
static int
spawn(const struct local_workers *w, char *const argv[], pid_t *pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int rc;

	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(
	    &files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
	spawn_attr_init(&attr, 0);
	rc = posix_spawnp(pid, w->program, &files, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return rc;
}

/* The options that were given, as they were given; and the NULL at the end. */
static void
add_caches(const struct cache_list *l, const char **argv)
{
	for (size_t i = 0; i < l->n_urls; i++) {
		*argv++ = "--substituter";
		*argv++ = l->url[i].text;
	}
	for (size_t i = 0; i < l->n_keys; i++) {
		*argv++ = "--trusted-key";
		*argv++ = l->key[i].name;
	}
	if (l->no_require_sigs)
		*argv++ = "--no-require-sigs";
	*argv = NULL;
}

int
local_workers_start(struct local_workers *w, size_t slots, struct err *e)
{
	char n_slots[24], parent[24];
	const char *argv[ARGS_MAX] = {w->program, "--connect", w->endpoint,
	    "--slots", n_slots, "--parent", parent};
	pid_t pid;
	int rc;

	if (w->n == INTERRUPT_CHILDREN_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "more than %d local workers are too many",
		    INTERRUPT_CHILDREN_MAX);
	snprintf(n_slots, sizeof(n_slots), "%zu", slots);
	snprintf(parent, sizeof(parent), "%d", (int)getpid());
	add_caches(w->caches, argv + 7);
	if ((rc = spawn(w, (char *const *)argv, &pid)) != 0)
		return err_set(e, ERR_FATAL, rc,
		    "cannot start the worker %s (--worker-program names "
		    "another)",
		    w->program);
	interrupt_add(pid);
	w->process[w->n++] = (struct process){
	    .pid = pid, .slots = slots, .start = monotime_ms()};
	return 0;
}

bool
local_workers_ended(struct local_workers *w, struct local_exit *out)
{
	int status;

	for (size_t i = 0; i < w->n; i++) {
		struct process p = w->process[i];

		if (waitpid(p.pid, &status, WNOHANG) != p.pid)
			continue;
		interrupt_remove(p.pid);
		w->process[i] = w->process[--w->n];
		*out = (struct local_exit){
		    .pid = p.pid,
		    .slots = p.slots,
		    .at_start = !p.ready,
		};
		if (p.mute)
			snprintf(
			    out->why, sizeof(out->why), "silent, so killed");
		else if (WIFSIGNALED(status))
			snprintf(out->why, sizeof(out->why),
			    "killed by signal %d", WTERMSIG(status));
		else
			snprintf(out->why, sizeof(out->why), "exit status %d",
			    WEXITSTATUS(status));
		return true;
	}
	return false;
}

bool
local_workers_ready(struct local_workers *w, pid_t pid)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->process[i].pid == pid) {
			w->heard = monotime_ms();
			return w->process[i].ready = true;
		}
	return false;
}

void
local_workers_kill_mute(struct local_workers *w, int64_t now, int64_t ms)
{
	if (now - w->heard < ms)
		return;
	for (size_t i = 0; i < w->n; i++) {
		struct process *p = &w->process[i];

		if (!p->ready && !p->mute && now - p->start >= ms) {
			kill(p->pid, SIGKILL);
			p->mute = true;
		}
	}
}

void
local_workers_kill(struct local_workers *w, pid_t pid)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->process[i].pid == pid)
			kill(pid, SIGKILL);
}

void
local_workers_end(struct local_workers *w, int grace_ms)
{
	int64_t until = monotime_ms() + grace_ms;
	struct local_exit gone;

	for (size_t i = 0; i < w->n; i++)
		if (!w->process[i].ready)
			kill(w->process[i].pid, SIGKILL);
	while (w->n > 0) {
		while (local_workers_ended(w, &gone))
			;
		if (w->n > 0 && monotime_ms() >= until)
			for (size_t i = 0; i < w->n; i++)
				kill(w->process[i].pid, SIGKILL);
		if (w->n > 0)
			poll(NULL, 0, 1);
	}
}

void
local_workers_free(struct local_workers *w)
{
	if (w == NULL)
		return;
	local_workers_end(w, 0);
	free(w->program);
	free(w);
}
