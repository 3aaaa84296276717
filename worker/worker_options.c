#include "worker_options.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "err.h"
#include "protocol.h"

static const char usage[] =
    "Usage: quarry-worker --connect ENDPOINT [OPTION...]\n"
    "\n"
    "Makes image layers for a quarry coordinator.  `quarry build` starts its\n"
    "own workers; there is seldom a need to start one by hand.\n"
    "\n"
    "  --connect ENDPOINT  the coordinator's socket, ipc://PATH\n"
    "  --slots N           layers made at a time (default: CPUs)\n"
    "  --spool DIR         where layers wait until quarry has them, if this\n"
    "                      worker does not reach the output's folder\n"
    "                      (default: $TMPDIR or /var/tmp)\n"
    "  --parent PID        end when this parent process does\n"
    "  --help, --version   say this, or the version, and exit\n"
    "\n"
    "Exit status: 0 done, 1 a failure, 2 wrong use.\n";

static int
parse_number(
    const char *name, const char *s, long max, long *out, struct err *e)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(s, &end, 10);
	if (*s < '0' || *s > '9' || *end != '\0' || errno != 0 || v < 1 ||
	    v > max)
		return err_set(e, ERR_USAGE, 0,
		    "--%s %.40s: a number from 1 to %ld is wanted", name, s,
		    max);
	*out = v;
	return 0;
}

static long
default_slots(void)
{
	cpu_set_t set;
	long n;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		n = CPU_COUNT(&set);
	else
		n = sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > MSG_SLOTS_MAX ? MSG_SLOTS_MAX : n;
}

int
worker_options_parse(
    int argc, char **argv, struct worker_options *o, struct err *e)
{
	static const struct option known[] = {
	    {"connect", required_argument, NULL, 'c'},
	    {"slots", required_argument, NULL, 's'},
	    {"spool", required_argument, NULL, 'd'},
	    {"parent", required_argument, NULL, 'p'},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'v'},
	    {0},
	};
	long slots = default_slots();
	int c, rc = 0;

	opterr = 0;
	while (rc == 0 && (c = getopt_long(argc, argv, ":", known, NULL)) != -1)
		switch (c) {
		case 'c':
			o->agent.endpoint = optarg;
			break;
		case 's':
			rc = parse_number(
			    "slots", optarg, MSG_SLOTS_MAX, &slots, e);
			break;
		case 'd':
			if (*optarg == '\0')
				return err_set(e, ERR_USAGE, 0,
				    "--spool: a folder is wanted");
			o->agent.spool = optarg;
			break;
		case 'p':
			rc = parse_number(
			    "parent", optarg, INT32_MAX, &o->parent, e);
			break;
		case 'h':
			o->print = usage;
			return 0;
		case 'v':
			o->print = "quarry-worker " QUARRY_VERSION "\n";
			return 0;
		case ':':
			return err_set(e, ERR_USAGE, 0,
			    "%.80s needs a value; see quarry-worker --help",
			    argv[optind - 1]);
		default:
			return err_set(e, ERR_USAGE, 0,
			    "%.80s is no option; see quarry-worker --help",
			    argv[optind - 1]);
		}
	o->agent.slots = (size_t)slots;
	if (rc == 0 && optind < argc)
		return err_set(e, ERR_USAGE, 0,
		    "%.80s is no option; see quarry-worker --help",
		    argv[optind]);
	if (rc == 0 && o->agent.endpoint == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "--connect ENDPOINT is needed; see quarry-worker --help");
	return rc;
}
