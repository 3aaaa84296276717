/* quarry: the coordinator's program.  See quarry(1). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "batch/batch.h"
#include "build/build.h"
#include "command/cache_command.h"
#include "err.h"
#include "command/index_command.h"
#include "process/interrupt.h"
#include "command/keygen.h"
#include "log.h"
#include "options/options.h"
#include "progress/json_lines.h"
#include "progress/progress.h"
#include "command/plan.h"
#include "serve/serve.h"
#include "command/status_command.h"
#include "text/stream_end.h"

static int
fail(const struct err *e)
{
	log_line(LOG_ERROR, "%s", e->text);
	/* ERR_JOB: what was to be packed cannot be: that is input, too. */
	return e->kind == ERR_USAGE || e->kind == ERR_JOB ? 2 : 1;
}

static int
run(const struct options *options, struct err *e)
{
	switch (options->command) {
	case COMMAND_BUILD:
		return build_run(options, e);
	case COMMAND_BATCH:
		return batch_run(options, e);
	case COMMAND_PLAN:
		return plan_run(options, e);
	case COMMAND_SERVE:
		return serve_run(options, e);
	case COMMAND_KEYGEN:
		return keygen_run(options, e);
	case COMMAND_CACHE:
		return cache_command_run(options, e);
	case COMMAND_INDEX:
		return index_command_run(options, e);
	case COMMAND_STATUS:
		return status_command_run(options, e);
	case COMMAND_HELP:
		fputs(options_help(options->help_for), stdout);
		break;
	case COMMAND_VERSION:
		puts("quarry " QUARRY_VERSION);
		break;
	}
	return stream_end(stdout, "standard output", e);
}

/*
 * A standard stream that is closed must not become the first file that is
 * opened: its place is taken by one on which reads or writes fail.
 */
static void
hold_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			(void)!open("/dev/null",
			    fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int
main(int argc, char **argv)
{
	struct options options = {0};
	struct err e = ERR_INIT, lines = ERR_INIT;
	int rc, status;

	hold_streams();
	interrupt_start();
	log_start("quarry", LOG_INFO);
	rc = options_parse(argc, argv, &options, &e);
	if (options.progress == PROGRESS_JSON && json_lines_start(&lines) < 0)
		log_line(LOG_WARNING, "%s", lines.text);
	if (rc == 0 && options.verbose)
		log_start("quarry", LOG_DEBUG);
	if (rc == 0)
		rc = run(&options, &e);
	options_free(&options);
	status = rc < 0 ? fail(&e) : EXIT_SUCCESS;
	json_lines_end();
	return status;
}
