/* quarry-worker: reads its command line and runs the agent. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "encoder_version.h"
#include "err.h"
#include "log.h"
#include "memory_room.h"
#include "supervisor.h"
#include "worker_options.h"

/*
 * The kernel kills this process when the thread that started it ends, which
 * must therefore be one that lives as long as its process (the main thread).
 * A parent that ended before the call is found by asking who the parent is.
 */
static int
die_with(long parent, struct err *e)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return err_set(e, ERR_FATAL, errno, "--parent");
	if (getppid() != parent)
		return err_set(e, ERR_FATAL, 0,
		    "--parent %ld: the parent is another process, or gone",
		    parent);
	return 0;
}

/* Each slot opens up to 256 files ahead; fewer where few may be open. */
static void
raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Most jobs take far less, so that is no reason not to start. */
static void
check_memory(size_t slots)
{
	uint64_t room = memory_room("");

	if (slots > room / MEMORY_SLOT_MAX)
		log_line(LOG_WARNING,
		    "%zu slots may need up to %llu MiB of memory, %llu MiB "
		    "are there: see --slots",
		    slots, (unsigned long long)(slots * MEMORY_SLOT_MAX >> 20),
		    (unsigned long long)(room >> 20));
}

int
main(int argc, char **argv)
{
	struct worker_options o = {
	    .agent = {.gzip = encoder_version(ENCODING_GZIP),
		.zstd = encoder_version(ENCODING_ZSTD),
		.welcome_ms = AGENT_WELCOME_MS,
		.lost_ms = AGENT_LOST_MS}};
	struct err e = ERR_INIT;
	int rc;

	log_start("quarry-worker", LOG_INFO);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* the write then says EFBIG */
	raise_file_limit();
	rc = worker_options_parse(argc, argv, &o, &e);
	if (rc == 0 && o.print != NULL)
		return fputs(o.print, stdout) < 0 || fflush(stdout) != 0;
	if (rc == 0 && o.parent != 0)
		rc = die_with(o.parent, &e);
	/* Of a local worker quarry decides how many slots it has. */
	if (rc == 0 && o.parent == 0) {
		o.agent.tells_speed = true;
		supervisor_start();
		check_memory(o.agent.slots);
	}
	if (rc == 0)
		rc = agent_run(&o.agent, &e);
	if (rc < 0)
		log_line(LOG_ERROR, "%s", e.text);
	/* Not exit: a job's thread may be left, see agent_run. */
	_exit(rc == 0 ? 0 : e.kind == ERR_USAGE ? 2 : 1);
}
