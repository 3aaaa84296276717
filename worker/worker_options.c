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
    "  --parent PID        end when this parent process does\n"
    "  --substituter URL   a Nix binary cache (http://, https://, file:///)\n"
    "                      for store paths that are not on this machine; may\n"
    "                      be given several times, and the first is asked "
    "first\n"
    "  --trusted-key NAME:BASE64\n"
    "                      what a cache says must be signed by such a key, "
    "as\n"
    "                      nix.conf's trusted-public-keys have it; may be "
    "given\n"
    "                      several times\n"
    "  --no-require-sigs   take what is not signed\n"
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

/* One option of getopt_long's code c. */
static int
take(int c, char **argv, long *slots, struct worker_options *o, struct err *e)
{
	switch (c) {
	case 'c':
		o->agent.endpoint = optarg;
		return 0;
	case 's':
		return parse_number("slots", optarg, MSG_SLOTS_MAX, slots, e);
	case 'p':
		return parse_number("parent", optarg, INT32_MAX, &o->parent, e);
	case 'u':
		return cache_list_add_url(&o->inputs.caches, optarg, e);
	case 'k':
		return cache_list_add_key(&o->inputs.caches, optarg, e);
	case 'n':
		o->inputs.caches.no_require_sigs = true;
		return 0;
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
}

int
worker_options_parse(
    int argc, char **argv, struct worker_options *o, struct err *e)
{
	static const struct option known[] = {
	    {"connect", required_argument, NULL, 'c'},
	    {"slots", required_argument, NULL, 's'},
	    {"parent", required_argument, NULL, 'p'},
	    {"substituter", required_argument, NULL, 'u'},
	    {"trusted-key", required_argument, NULL, 'k'},
	    {"no-require-sigs", no_argument, NULL, 'n'},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'v'},
	    {0},
	};
	long slots = default_slots();
	int c;

	opterr = 0;
	while (o->print == NULL &&
	    (c = getopt_long(argc, argv, ":", known, NULL)) != -1)
		if (take(c, argv, &slots, o, e) < 0)
			return -1;
	if (o->print != NULL)
		return 0;
	o->agent.slots = (size_t)slots;
	if (optind < argc)
		return err_set(e, ERR_USAGE, 0,
		    "%.80s is no option; see quarry-worker --help",
		    argv[optind]);
	if (o->agent.endpoint == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "--connect ENDPOINT is needed; see quarry-worker --help");
	if (cache_list_check(&o->inputs.caches, e) < 0)
		return -1;
	o->agent.inputs = o->inputs.caches.n_urls > 0 ? &o->inputs : NULL;
	return 0;
}
