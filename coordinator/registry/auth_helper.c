#include "registry/auth_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/crypto.h>

#include "registry/auth_file.h"
#include "err.h"
#include "text/json_file.h"
#include "log.h"
#include "monotime.h"
#include "own.h"
#include "process/spawn_attr.h"

extern char **environ;

/* A part of a program's name, from a file. */
static bool
is_name(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > 64)
		return false;
	return strspn(name,
		   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		   "0123456789.-_") == len;
}

/* One socket is its standard input and output: it cannot wait for us. */
static int
start(const char *program, int fd, pid_t *pid)
{
	char *argv[] = {(char *)program, (char *)"get", NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int rc;

	spawn_attr_init(&attributes, 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, fd, STDOUT_FILENO);
	rc = posix_spawnp(pid, program, &actions, &attributes, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return rc;
}

/* It may have said all, and ended, without a look at the question. */
static bool
ask(int fd, const char *server)
{
	size_t len = strlen(server);

	if (send(fd, server, len, MSG_NOSIGNAL) == (ssize_t)len)
		return shutdown(fd, SHUT_WR) == 0;
	return errno == EPIPE || errno == ECONNRESET;
}

/* All that it says, up to its end; the length, or -1: errno. */
static ssize_t
converse(int fd, const char *server, int64_t until, char *answer)
{
	size_t len = 0;

	if (!ask(fd, server))
		return -1;
	for (;;) {
		int64_t left = until - monotime_ms();
		ssize_t n;

		if (left <= 0 || !monotime_wait(fd, (int)left)) {
			errno = ETIMEDOUT;
			return -1;
		}
		n = read(fd, answer + len, AUTH_HELPER_ANSWER_MAX - len);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0 && errno != ECONNRESET)
			return -1;
		if (n <= 0)
			return (ssize_t)len;
		len += (size_t)n;
		if (len == AUTH_HELPER_ANSWER_MAX) {
			errno = EMSGSIZE;
			return -1;
		}
	}
}

static int
take_answer(const char *program, const char *answer, size_t len,
    struct auth *out, struct err *e)
{
	AUTO(json_file_decrefp) json_t *root = json_loadb(answer, len, 0, NULL);
	const char *user = json_string_value(json_object_get(root, "Username"));
	const char *secret = json_string_value(json_object_get(root, "Secret"));
	bool token = user != NULL && strcmp(user, "<token>") == 0;
	char **place = token ? &out->identity : &out->password;

	if (user == NULL || secret == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "%s: no \"Username\" and \"Secret\" in its answer",
		    program);
	if ((*place = strdup(secret)) == NULL ||
	    (!token && (out->user = strdup(user)) == NULL))
		return err_set(e, ERR_FATAL, errno, "%s", program);
	return 0;
}

/* It has until then to end, though it has said all. */
static bool
ended_well(pid_t pid, int64_t until)
{
	AUTO(own_closep) int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	int64_t left = until - monotime_ms();
	int status = 0;

	if (left <= 0 || (fd >= 0 && !monotime_wait(fd, (int)left)))
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/*
 * A helper that fails says "credentials not found ..." where it does not know
 * the server.  Else it may well know it: who is turned away should know why.
 */
static void
warn(const char *program, const char *server, const char *answer, size_t len)
{
	static const char unknown[] = "not found";

	if (memmem(answer, len, unknown, strlen(unknown)) == NULL)
		log_line(LOG_WARNING,
		    "%s failed: no password for %.200s is taken from it",
		    program, server);
}

int
auth_helper_ask(
    const char *name, const char *server, struct auth *out, struct err *e)
{
	AUTO(own_closep) int ours = -1;
	AUTO(own_closep) int theirs = -1;
	AUTO(own_freep) char *answer = malloc(AUTH_HELPER_ANSWER_MAX + 1);
	char program[100];
	int64_t until = monotime_ms() + AUTH_HELPER_MS;
	int pair[2], rc, sys;
	ssize_t len;
	pid_t pid;

	if (!is_name(name))
		return err_set(e, ERR_USAGE, 0,
		    "'%.80s' is no name of a credential helper", name);
	snprintf(program, sizeof(program), "docker-credential-%s", name);
	if (answer == NULL ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(e, ERR_FATAL, errno, "%s", program);
	ours = pair[0];
	theirs = pair[1];
	if ((rc = start(program, theirs, &pid)) != 0)
		return err_set(e, ERR_USAGE, rc, "%s", program);
	own_closep(&theirs);
	len = converse(ours, server, until, answer);
	sys = errno;
	if (!ended_well(pid, len < 0 ? 0 : until)) {
		if (len >= 0) {
			warn(program, server, answer, (size_t)len);
			return 0;
		}
		return err_set(e, ERR_USAGE, sys, "%s", program);
	}
	rc = len < 0 ? err_set(e, ERR_USAGE, sys, "%s", program)
		     : take_answer(program, answer, (size_t)len, out, e);
	OPENSSL_cleanse(answer, AUTH_HELPER_ANSWER_MAX);
	return rc;
}
