/*
 * What the tests of layer_run share: a scratch root with a store in it, shell
 * commands there, a job over one store path.
 */
#ifndef LAYER_CASE_H
#define LAYER_CASE_H

#include <dirent.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "layer_run.h"
#include "look_ahead.h"

#define BASE "00000000000000000000000000000000-x"
#define PATH "/nix/store/" BASE

static char root[64];
static struct layer_progress progress;

static int
case_setup(void **state)
{
	char command[200];

	(void)state;
	snprintf(root, sizeof(root), "/tmp/layer.XXXXXX");
	if (mkdtemp(root) == NULL)
		return -1;
	snprintf(command, sizeof(command),
	    "cd %s && umask 022 && mkdir -p blobs nix/store/" BASE, root);
	return system(command);
}

static int
case_teardown(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

/* Runs a command in the root; into out, if any, goes its first line. */
static void __attribute__((format(printf, 3, 4)))
sh(char *out, size_t size, const char *fmt, ...)
{
	static char command[65536];
	char rest[256];
	int n = snprintf(command, sizeof(command), "cd %s && ", root);
	va_list ap;
	FILE *f;

	va_start(ap, fmt);
	n += vsnprintf(command + n, sizeof(command) - (size_t)n, fmt, ap);
	va_end(ap);
	assert_true((size_t)n < sizeof(command));
	assert_non_null(f = popen(command, "r"));
	if (out != NULL && fgets(out, (int)size, f) != NULL)
		out[strcspn(out, "\n")] = '\0';
	while (fgets(rest, sizeof(rest), f) != NULL)
		;
	if (pclose(f) != 0)
		fail_msg("failed: %s", command);
}

#define SH(...) sh(NULL, 0, __VA_ARGS__)

static size_t
count_in(const char *folder)
{
	DIR *dir = opendir(folder);
	size_t n = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n - 2;
}

static size_t
count_blobs(void)
{
	char folder[100];

	snprintf(folder, sizeof(folder), "%s/blobs", root);
	return count_in(folder);
}

static struct layer_job
case_job(const struct layer_item *items, size_t n)
{
	return (struct layer_job){.spec = {.source = LAYER_FROM_STORE,
				      .store_dir = "/nix/store",
				      .store_root = root,
				      .mtime = 1,
				      .uname = "root",
				      .gname = "root",
				      .file = ""},
	    .item = items,
	    .n = n,
	    .files_ahead = LOOK_AHEAD_FILES};
}

/* Runs it; no file stays open, whatever happens. */
static int
case_run(
    const struct layer_job *job, struct layer_result *result, struct err *e)
{
	size_t fds = count_in("/proc/self/fd");
	int rc;

	memset(result, 0, sizeof(*result));
	*e = (struct err)ERR_INIT;
	progress.read = 0;
	rc = layer_run(job, &progress, result, e);
	assert_int_equal(count_in("/proc/self/fd"), fds);
	assert_true((rc == 0) == (e->kind == ERR_NONE));
	return rc;
}

#endif
