#include "dispatch/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "curve_key.h"
#include "endpoint.h"
#include "err.h"
#include "process/interrupt.h"
#include "own.h"
#include "process/process_group.h"
#include "process/scratch.h"
#include "process/spawn_attr.h"

#define SHELL "/bin/sh"
/*
 * The command begins when the reaper knows its process group: should quarry be
 * killed before, the line does not come, and it never begins.
 */
#define GATE "read -r go && exec " SHELL " -c \"$0\" </dev/null"
/* From BYE to the end of a command that only waits for its workers. */
#define LEAVE_MS 2000
#define HOST_MAX 256

enum { VAR_CONNECT, VAR_SERVER_KEY, VAR_KEY, VAR_WORKER_KEY, VARS };

static const char *const var_names[VARS] = {
    [VAR_CONNECT] = "QUARRY_CONNECT=",
    [VAR_SERVER_KEY] = "QUARRY_SERVER_KEY=",
    [VAR_KEY] = "QUARRY_KEY=",
    [VAR_WORKER_KEY] = "QUARRY_WORKER_KEY=",
};

struct launch {
	struct launch_config config;
	struct scratch *scratch;
	struct curve_key worker;
	char *folder, *key_file;
	pid_t pid; /* and process group; 0: not started, or ended */
	enum launch_state state;
	char why[64];
};

static int
write_keys(struct launch *l, struct err *e)
{
	AUTO(own_freep) char *server = NULL;

	if (asprintf(&l->key_file, "%s/worker", l->folder) < 0)
		l->key_file = NULL;
	if (asprintf(&server, "%s/coordinator.pub", l->folder) < 0)
		server = NULL;
	if (l->key_file == NULL || server == NULL)
		return err_set(e, ERR_FATAL, ENOMEM, "keys");
	if (curve_key_write(&l->worker, l->key_file, "launch", e) < 0)
		return -1;
	return curve_key_write_public(
	    l->config.server, server, "coordinator", e);
}

int
launch_new(const struct launch_config *config, struct scratch *scratch,
    struct launch **out, struct err *e)
{
	struct launch *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return err_set(e, ERR_FATAL, errno, "launch");
	l->config = *config;
	l->scratch = scratch;
	if (curve_key_make(&l->worker, e) < 0 ||
	    scratch_folder(scratch, scratch_temp(), &l->folder, e) < 0 ||
	    write_keys(l, e) < 0) {
		launch_free(l);
		return err_ctx(e, "--launch");
	}
	*out = l;
	return 0;
}

const char *
launch_public_key(const struct launch *l)
{
	return l->worker.public;
}

const char *
launch_command(const struct launch *l)
{
	return l->config.command;
}

/* A bound address that is all of this machine's says nothing to others. */
static bool
is_any(const char *host, size_t len)
{
	static const char *const any[] = {"0.0.0.0", "[::]", "*"};

	for (size_t i = 0; i < sizeof(any) / sizeof(any[0]); i++)
		if (strlen(any[i]) == len && memcmp(any[i], host, len) == 0)
			return true;
	return false;
}

int
launch_address(
    const char *endpoint, const char *advertise, char **out, struct err *e)
{
	const char *host = endpoint + strlen("tcp://");
	const char *port = strrchr(endpoint, ':');
	AUTO(own_freep) char *address = NULL;
	char name[HOST_MAX] = "";
	size_t len = (size_t)(port - host);
	struct endpoint unused;
	bool six;

	if (advertise == NULL && is_any(host, len)) {
		if (gethostname(name, sizeof(name) - 1) < 0)
			return err_set(e, ERR_FATAL, errno, "host name");
		advertise = name;
	}
	if (advertise != NULL) {
		host = advertise;
		len = strlen(host);
	}
	six = host[0] != '[' && memchr(host, ':', len) != NULL;
	if (asprintf(&address, "tcp://%s%.*s%s%s", six ? "[" : "", (int)len,
		host, six ? "]" : "", port) < 0) {
		address = NULL;
		return err_set(e, ERR_FATAL, ENOMEM, "address");
	}
	if (endpoint_check(address, false, &unused, e) < 0)
		return err_ctx(e, "--advertise");
	*out = STEAL(&address);
	return 0;
}

static bool
is_ours(const char *variable)
{
	for (size_t i = 0; i < VARS; i++)
		if (strncmp(variable, var_names[i], strlen(var_names[i])) == 0)
			return true;
	return false;
}

static void
free_vars(char *var[static VARS])
{
	for (size_t i = 0; i < VARS; i++) {
		if (var[i] != NULL)
			explicit_bzero(var[i], strlen(var[i]));
		own_freep(&var[i]);
	}
}

static int
make_vars(const struct launch *l, const char *address, char *var[static VARS])
{
	char pair[CURVE_KEY_PAIR_LEN + 1];
	const char *value[VARS] = {
	    [VAR_CONNECT] = address,
	    [VAR_SERVER_KEY] = l->config.server,
	    [VAR_KEY] = l->key_file,
	    [VAR_WORKER_KEY] = pair,
	};
	int rc = 0;

	curve_key_pair(&l->worker, pair);
	for (size_t i = 0; i < VARS; i++)
		if (asprintf(&var[i], "%s%s", var_names[i], value[i]) < 0) {
			var[i] = NULL;
			rc = -1;
		}
	explicit_bzero(pair, sizeof(pair));
	return rc;
}

/* Our environment with var in it; the array is the caller's. */
static char **
environment(char *const var[static VARS])
{
	size_t n = 0, kept = 0;
	char **env;

	while (environ[n] != NULL)
		n++;
	if ((env = calloc(n + VARS + 1, sizeof(*env))) == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (!is_ours(environ[i]))
			env[kept++] = environ[i];
	memcpy(env + kept, var, VARS * sizeof(*var));
	return env;
}

/*
 * As a local worker is started, but in a session of its own, so that no ^C
 * comes to it and nothing in it waits at our terminal.
 */
static int
spawn(const struct launch *l, int gate, char **env, pid_t *pid)
{
	char *const argv[] = {(char *)(uintptr_t)SHELL,
	    (char *)(uintptr_t) "-c", (char *)(uintptr_t)GATE,
	    (char *)(uintptr_t)l->config.command, NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int rc;

	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, gate, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
	spawn_attr_init(&attr, POSIX_SPAWN_SETSID);
	rc = posix_spawn(pid, SHELL, &files, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return rc;
}

/* The shell at the gate, its group known to all who would have to end it. */
static int
begin(struct launch *l, char *var[static VARS], struct err *e)
{
	AUTO(own_freep) char **env = environment(var);
	AUTO(own_closep) int out = -1, in = -1;
	int fd[2], rc;

	if (env == NULL || pipe2(fd, O_CLOEXEC) < 0)
		return err_set(e, ERR_FATAL, errno, "--launch");
	out = fd[0];
	in = fd[1];
	/* What its shell leaves behind is ours to wait for, not init's. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if ((rc = spawn(l, out, env, &l->pid)) != 0) {
		l->pid = 0;
		return err_set(e, ERR_FATAL, rc, "--launch: start " SHELL);
	}
	interrupt_group(l->pid);
	scratch_group(l->scratch, l->pid);
	l->state = LAUNCH_RUNS;
	if (write(in, "\n", 1) != 1)
		return err_set(e, ERR_FATAL, errno, "--launch");
	return 0;
}

int
launch_start(struct launch *l, const char *endpoint, struct err *e)
{
	AUTO(own_freep) char *address = NULL;
	char *var[VARS] = {NULL};
	int rc;

	if (launch_address(endpoint, l->config.advertise, &address, e) < 0)
		return -1;
	if (make_vars(l, address, var) < 0)
		rc = err_set(e, ERR_FATAL, ENOMEM, "--launch");
	else
		rc = begin(l, var, e);
	free_vars(var);
	curve_key_clear(&l->worker);
	return rc;
}

enum launch_state
launch_state(struct launch *l, const char **why)
{
	siginfo_t info = {.si_pid = 0};

	*why = l->why;
	/*
	 * It stays a zombie, so that its number is not another's: others of
	 * its group may live on.
	 */
	if (l->pid == 0 || l->state != LAUNCH_RUNS ||
	    waitid(P_PID, (id_t)l->pid, &info, WEXITED | WNOHANG | WNOWAIT) <
		0 ||
	    info.si_pid == 0)
		return l->state;
	l->state = LAUNCH_FAILED;
	if (info.si_code != CLD_EXITED)
		snprintf(l->why, sizeof(l->why), "killed by signal %d",
		    info.si_status);
	else if (info.si_status != 0)
		snprintf(
		    l->why, sizeof(l->why), "exit status %d", info.si_status);
	else
		l->state = LAUNCH_DONE;
	return l->state;
}

static void
end(struct launch *l, int patience_ms)
{
	if (l->pid == 0)
		return;
	if (!process_group_wait(l->pid, patience_ms))
		process_group_end(l->pid);
	interrupt_group(0);
	scratch_group(l->scratch, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	l->pid = 0;
}

void
launch_end(struct launch *l)
{
	end(l, LEAVE_MS);
}

void
launch_free(struct launch *l)
{
	if (l == NULL)
		return;
	end(l, 0);
	curve_key_clear(&l->worker);
	if (l->folder != NULL)
		scratch_remove(l->scratch, l->folder);
	free(l->folder);
	free(l->key_file);
	free(l);
}
