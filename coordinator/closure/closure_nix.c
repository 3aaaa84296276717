#include "closure/closure_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "closure/closure.h"
#include "closure/closure_input.h"
#include "closure/closure_json.h"
#include "closure/closure_text.h"
#include "err.h"
#include "process/interrupt.h"
#include "own.h"
#include "store_path.h"

/* The most bytes of arguments for one child, if the system takes as many. */
#define ARGS_MAX ((size_t)1 << 20)
#define NIX_WORDS_MAX 16

/* Who is asked, and for what. */
struct query {
	const char *const
	    *words; /* before the paths; words[0] is the program */
	const char *store_dir;
	const char *store; /* what --store gets, or NULL */
	int (*take)(struct closure_input *in, const struct query *q, void *arg,
	    struct err *e);
	void *arg;
	bool other_may_know; /* set when the program is missing or fails */
};

/* A child that runs Nix: what it prints, and where its complaints go. */
struct child {
	pid_t pid;
	int out, log;
};

/* A list of strings, each owned. */
struct strings {
	char **s;
	size_t n, cap;
};

static void
strings_close(struct strings *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->s[i]);
	free(l->s);
}

static int
no_memory(struct err *e)
{
	return err_set(e, ERR_FATAL, 0, "closure: out of memory");
}

static void
child_gone(struct child *child)
{
	if (child->pid > 0)
		interrupt_remove(child->pid);
	child->pid = 0;
}

/* Never leaves a process behind; one that still prints gets SIGPIPE. */
static void
child_close(struct child *child)
{
	own_closep(&child->out);
	if (child->pid > 0)
		while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
			;
	child_gone(child);
	own_closep(&child->log);
}

/*
 * The child: default signals, nothing blocked, no descriptors but 0, 1 and 2,
 * and dead when its parent is.  What keeps it from starting goes to tell.
 */
static void
become(const char *const *argv, int out, int log, int tell, pid_t parent)
{
	sigset_t none;
	int null, sys;

	for (int s = 1; s < NSIG; s++)
		if (s != SIGHUP) /* under nohup it stays ignored */
			signal(s, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	if ((null = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0 &&
	    dup2(null, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0 &&
	    dup2(log, STDERR_FILENO) >= 0)
		execvp(argv[0], (char *const *)argv);
	sys = errno;
	(void)!write(tell, &sys, sizeof(sys));
	_exit(127);
}

/* Returns 0 or an errno.  posix_spawn cannot tie the child's life to ours. */
static int
spawn(const char *const *argv, int out, int log, pid_t *pid)
{
	pid_t parent = getpid();
	int tell[2], sys = 0;

	if (pipe2(tell, O_CLOEXEC) < 0)
		return errno;
	if ((*pid = fork()) == 0)
		become(argv, out, log, tell[1], parent);
	if (*pid < 0)
		sys = errno;
	close(tell[1]);
	if (*pid > 0 && read(tell[0], &sys, sizeof(sys)) == sizeof(sys))
		waitpid(*pid, NULL, 0);
	close(tell[0]);
	return sys;
}

/*
 * A copy of fd above 2, where a dup2 in the child cannot hit it.  Closes fd.
 */
static int
move_up(int fd)
{
	int up = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	close(fd);
	return up;
}

static int
child_start(struct child *child, const char *const *argv, struct query *q,
    struct err *e)
{
	AUTO(own_closep) int out = -1;
	int fds[2], rc;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_set(e, ERR_FATAL, errno, "pipe");
	child->out = move_up(fds[0]);
	out = move_up(fds[1]);
	if ((rc = memfd_create("nix stderr", MFD_CLOEXEC)) >= 0)
		child->log = move_up(rc);
	if (child->out < 0 || out < 0 || child->log < 0)
		return err_set(e, ERR_FATAL, errno, "%s", argv[0]);
	if ((rc = spawn(argv, out, child->log, &child->pid)) != 0) {
		child->pid = 0;
		q->other_may_know = true;
		return err_set(e, ERR_USAGE, rc, "cannot start %s", argv[0]);
	}
	interrupt_add(child->pid);
	return 0;
}

/*
 * Cuts one line out of what Nix said: the last with "error:", or the last of
 * all.  Control characters (colours, too) are shown as '*'.
 */
static void
last_line(int log, char shown[static CLOSURE_SHOWN_MAX])
{
	char buf[4096], *line, *next, *best = NULL;
	struct stat st;
	ssize_t n;
	off_t at = 0;

	if (fstat(log, &st) == 0 && st.st_size > (off_t)sizeof(buf) - 1)
		at = st.st_size - (off_t)sizeof(buf) + 1;
	if ((n = pread(log, buf, sizeof(buf) - 1, at)) < 0)
		n = 0;
	for (ssize_t i = 0; i < n; i++)
		if (buf[i] == '\0')
			buf[i] = '*';
	buf[n] = '\0';
	for (line = strtok_r(buf, "\n", &next); line != NULL;
	     line = strtok_r(NULL, "\n", &next)) {
		const char *error = strstr(line, "error:");

		line += strspn(line, " \t");
		if (*line == '\0')
			continue;
		if (best == NULL || error != NULL ||
		    strstr(best, "error:") == NULL)
			best = line;
	}
	if (best == NULL)
		best = strcpy(buf, "(it said nothing)");
	closure_text_show(&(struct closure_text){best, strlen(best)}, shown);
}

/*
 * How the child ended.  Its failure replaces an error of reading, if any; so
 * that closing the pipe does not make it fail, it is read to the end.
 */
static int
child_finish(struct child *child, const char *const *argv, struct query *q,
    struct err *e)
{
	char shown[CLOSURE_SHOWN_MAX], rest[4096];
	int status;
	ssize_t n;

	do
		n = read(child->out, rest, sizeof(rest));
	while (n > 0 || (n < 0 && errno == EINTR));
	own_closep(&child->out);
	while (waitpid(child->pid, &status, 0) < 0)
		if (errno != EINTR) {
			child_gone(child);
			if (e->kind == ERR_NONE)
				return err_set(
				    e, ERR_FATAL, errno, "%s", argv[0]);
			return -1;
		}
	child_gone(child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return e->kind == ERR_NONE ? 0 : -1;
	err_clear(e);
	q->other_may_know = true;
	if (WIFSIGNALED(status))
		return err_set(e, ERR_FATAL, 0, "%s was killed by signal %d",
		    argv[0], WTERMSIG(status));
	last_line(child->log, shown);
	return err_set(e, ERR_USAGE, 0, "%s: %s", argv[0], shown);
}

/* Runs argv and takes what it prints. */
static int
ask(struct query *q, const char *const *argv, struct err *e)
{
	AUTO(child_close) struct child child = {.out = -1, .log = -1};
	AUTO(closure_input_close) struct closure_input in = {.fd = -1};

	if (child_start(&child, argv, q, e) < 0 ||
	    closure_input_open(&in, child.out, e) < 0)
		return -1;
	if (q->take(&in, q, q->arg, e) < 0)
		err_ctx(e, "what %s printed", argv[0]);
	return child_finish(&child, argv, q, e);
}

/* Asks for n paths, in as many calls as their length takes. */
static int
ask_all(struct query *q, const char *const *paths, size_t n, struct err *e)
{
	AUTO(own_freep) const char **argv = NULL;
	long system_max = sysconf(_SC_ARG_MAX);
	size_t max = ARGS_MAX, n_words = 0, at = 0;

	/* Half is left for the environment. */
	if (system_max > 0 && (size_t)system_max / 2 < max)
		max = (size_t)system_max / 2;
	if ((argv = calloc(n + NIX_WORDS_MAX + 3, sizeof(*argv))) == NULL)
		return no_memory(e);
	while (q->words[n_words] != NULL) {
		argv[n_words] = q->words[n_words];
		n_words++;
	}
	if (q->store != NULL) {
		argv[n_words++] = "--store";
		argv[n_words++] = q->store;
	}
	while (at < n) {
		size_t n_args = n_words, bytes = 0;

		while (at < n &&
		    (n_args == n_words || bytes + strlen(paths[at]) < max)) {
			bytes += strlen(paths[at]) + 1 + sizeof(char *);
			argv[n_args++] = paths[at++];
		}
		argv[n_args] = NULL;
		if (ask(q, argv, e) < 0)
			return -1;
	}
	return 0;
}

static int
take_json(
    struct closure_input *in, const struct query *q, void *arg, struct err *e)
{
	struct closure_builder *b = arg;

	closure_builder_next_graph(b);
	return closure_json_read(in, q->store_dir, b, e);
}

static int
take_registration(
    struct closure_input *in, const struct query *q, void *arg, struct err *e)
{
	(void)q;
	return closure_text_read(in, arg, e);
}

static int
take_lines(
    struct closure_input *in, const struct query *q, void *arg, struct err *e)
{
	struct strings *l = arg;
	struct closure_text line;
	int rc;

	(void)q;
	while ((rc = closure_input_line(in, &line, e)) > 0) {
		if (l->n == l->cap) {
			size_t cap = l->cap * 2 + 64;
			char **s = reallocarray(l->s, cap, sizeof(*s));

			if (s == NULL)
				return no_memory(e);
			l->s = s;
			l->cap = cap;
		}
		if (l->n == CLOSURE_PATHS_MAX)
			return err_set(e, ERR_USAGE, 0,
			    "more than %zu store paths", CLOSURE_PATHS_MAX);
		if ((l->s[l->n] = strndup(line.s, line.len)) == NULL)
			return no_memory(e);
		l->n++;
	}
	return rc;
}

static int
compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
sort_unique(struct strings *l)
{
	size_t kept = 0;

	if (l->n > 0)
		qsort(l->s, l->n, sizeof(*l->s), compare_strings);
	for (size_t i = 0; i < l->n; i++) {
		if (kept > 0 && strcmp(l->s[kept - 1], l->s[i]) == 0)
			free(l->s[i]);
		else
			l->s[kept++] = l->s[i];
	}
	l->n = kept;
}

/*
 * nix path-info.  Offline: what is not in the store is told at once, not
 * after looking for it in every binary cache.
 */
static int
ask_nix(struct query *q, const char *const *paths, size_t n,
    struct closure **out, struct err *e)
{
	static const char *const words[] = {"nix",
	    "--extra-experimental-features", "nix-command", "--offline",
	    "path-info", "--json", "--recursive", NULL};
	AUTO(closure_builder_freep) struct closure_builder *b = NULL;

	if (closure_builder_new(q->store_dir, &b, e) < 0)
		return -1;
	q->words = words;
	q->take = take_json;
	q->arg = b;
	if (ask_all(q, paths, n, e) < 0)
		return -1;
	return closure_finish(&b, out, e);
}

/* nix-store, where the command above is off, missing or other. */
static int
ask_nix_store(struct query *q, const char *const *paths, size_t n,
    struct closure **out, struct err *e)
{
	static const char *const closure_words[] = {
	    "nix-store", "--query", "--requisites", NULL};
	static const char *const dump_words[] = {
	    "nix-store", "--dump-db", NULL};
	AUTO(closure_builder_freep) struct closure_builder *b = NULL;
	AUTO(strings_close) struct strings all = {NULL, 0, 0};

	if (closure_builder_new(q->store_dir, &b, e) < 0)
		return -1;
	q->words = closure_words;
	q->take = take_lines;
	q->arg = &all;
	if (ask_all(q, paths, n, e) < 0)
		return -1;
	sort_unique(&all);
	q->words = dump_words;
	q->take = take_registration;
	q->arg = b;
	if (ask_all(q, (const char *const *)all.s, all.n, e) < 0)
		return -1;
	return closure_finish(&b, out, e);
}

/* local?root=ROOT, with what means something in a URL as %XX. */
static int
store_url(const char *store_root, char **out, struct err *e)
{
	static const char plain[] = "0123456789abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ-._/";
	static const char hex[] = "0123456789ABCDEF";
	AUTO(own_freep) char *root = NULL;
	char *p;

	if ((root = realpath(store_root, NULL)) == NULL)
		return err_set(
		    e, ERR_USAGE, errno, "store root %s", store_root);
	if ((*out = malloc(3 * strlen(root) + 32)) == NULL)
		return no_memory(e);
	p = stpcpy(*out, "local?root=");
	for (const char *s = root; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;

		if (strchr(plain, *s) != NULL) {
			*p++ = *s;
			continue;
		}
		*p++ = '%';
		*p++ = hex[c >> 4];
		*p++ = hex[c & 15];
	}
	*p = '\0';
	return 0;
}

/* The error of both: what nix said, unless nix-store knew better. */
static int
ask_both(struct query *q, const char *const *paths, size_t n,
    struct closure **out, struct err *e)
{
	struct err first = ERR_INIT;

	if (ask_nix(q, paths, n, out, &first) == 0)
		return 0;
	if (!q->other_may_know) {
		*e = first;
		return -1;
	}
	q->other_may_know = false;
	if (ask_nix_store(q, paths, n, out, e) == 0)
		return 0;
	if (e->sys != ENOENT)
		return -1;
	if (first.sys != ENOENT) {
		*e = first;
		return -1;
	}
	err_clear(e);
	return err_set(e, ERR_USAGE, 0,
	    "neither nix nor nix-store is in PATH; give the closure as a file "
	    "with --closure");
}

int
closure_nix_query(const char *const *paths, size_t n, const char *store_dir,
    const char *store_root, struct closure **out, struct err *e)
{
	AUTO(closure_freep) struct closure *c = NULL;
	AUTO(own_freep) char *store = NULL;
	struct query q = {.store_dir = store_dir};

	for (size_t i = 0; i < n; i++)
		if (store_path_check(paths[i], store_dir, e) < 0)
			return -1;
	if (store_root[0] != '\0' && store_url(store_root, &store, e) < 0)
		return -1;
	q.store = store;
	if (ask_both(&q, paths, n, &c, e) < 0)
		return err_ctx(e, "closure from Nix");
	for (size_t i = 0; i < n; i++)
		if (closure_find(c, paths[i]) == SIZE_MAX)
			return err_set(e, ERR_USAGE, 0,
			    "closure from Nix: it left out %s", paths[i]);
	*out = STEAL(&c);
	return 0;
}
