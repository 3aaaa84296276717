#include "process/process_group.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "monotime.h"

#define STEP_MS 5
/* From SIGKILL to the end. */
#define KILLED_MS 2000

bool
process_group_wait(pid_t group, int ms)
{
	const struct timespec pause = {.tv_nsec = STEP_MS * 1000000L};
	int64_t until = monotime_ms() + ms;

	for (;;) {
		/* Who is not waited for would still be counted. */
		while (waitpid(-group, NULL, WNOHANG) > 0)
			;
		if (kill(-group, 0) < 0 && errno == ESRCH)
			return true;
		if (monotime_ms() >= until)
			return false;
		nanosleep(&pause, NULL);
	}
}

void
process_group_end(pid_t group)
{
	if (process_group_wait(group, 0))
		return;
	kill(-group, SIGTERM);
	kill(-group, SIGCONT); /* who is stopped would not hear it */
	if (process_group_wait(group, PROCESS_GROUP_GRACE_MS))
		return;
	kill(-group, SIGKILL);
	process_group_wait(group, KILLED_MS);
}
