#include "process/machine.h"

#include <errno.h>
#include <sched.h>
#include <sys/resource.h>

#include "err.h"

size_t
machine_cores(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0
	    ? (size_t)CPU_COUNT(&set)
	    : 1;
}

int
machine_descriptors(size_t want, bool all, const char *hint, struct err *e)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	if (limit.rlim_max < want)
		return err_set(e, ERR_FATAL, 0,
		    "at most %llu files may be open, and this needs %zu: "
		    "raise the limit (ulimit -Hn)%s",
		    (unsigned long long)limit.rlim_max, want, hint);
	if (limit.rlim_cur >= (all ? limit.rlim_max : want))
		return 0;
	limit.rlim_cur = all ? limit.rlim_max : want;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		return err_set(e, ERR_FATAL, errno, "raise RLIMIT_NOFILE");
	return 0;
}
