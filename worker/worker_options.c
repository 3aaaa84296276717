#include "worker_options.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "curve_key.h"
#include "err.h"
#include "protocol.h"

/* Seconds: what systemd, Slurm and Kubernetes wait, and more. */
#define DRAIN 10
#define DRAIN_MAX 86400

/* The lines are as they look on the terminal. */
/* clang-format off */
static const char usage[] =
"Usage: quarry-worker [--connect ENDPOINT] [OPTION...]\n"
"\n"
"Makes image layers for quarry coordinators: joins the one at the endpoint,\n"
"now or when it starts, and the next one when a build is over.  (`quarry\n"
"build` starts the workers of its own machine itself.)\n"
"\n"
"  --connect ENDPOINT  where the coordinator listens: tcp://HOST:PORT,\n"
"                      ipc://PATH.  Without it: for the build that launched\n"
"                      this, by QUARRY_CONNECT, QUARRY_SERVER_KEY and\n"
"                      QUARRY_WORKER_KEY or QUARRY_KEY of the environment,\n"
"                      and with --once\n"
"  --server-key KEY    the coordinator's public key, or a file that holds it\n"
"  --key FILE          this worker's key pair, made by quarry keygen\n"
"  --connect-without-keys\n"
"                      plain TCP to another machine: whoever is on the way\n"
"                      can read and change everything\n"
"  --slots N           layers made at a time (default: CPUs)\n"
"  --spool DIR         where layers wait until quarry has them, if this\n"
"                      worker does not reach the output's folder\n"
"                      (default: $TMPDIR or /var/tmp)\n"
"  --drain SECONDS     how long layers may go on after SIGTERM before they\n"
"                      are handed back (default: 10)\n"
"  --once              end with the first build\n"
"  --parent PID        end when this parent process does\n"
"  --substituter URL   a Nix binary cache (http://, https://, file:///) for\n"
"                      store paths that are not on this machine; may be given\n"
"                      several times, and the first is asked first\n"
"  --trusted-key NAME:BASE64\n"
"                      what a cache says must be signed by such a key, as\n"
"                      nix.conf's trusted-public-keys have it; may be given\n"
"                      several times\n"
"  --no-require-sigs   take what is not signed\n"
"  --help, --version   say this, or the version, and exit\n"
"\n"
"Exit status: 0 done, 1 a failure, 2 wrong use.\n";
/* clang-format on */

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

/* What is only of use until all options are known. */
struct given {
	long slots;
	const char *key_file, *server_key;
	const char *pair; /* the key pair itself */
};

/* Set, and not to nothing. */
static const char *
variable(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && *value != '\0' ? value : NULL;
}

/* What quarry build --launch tells; an option wins. */
static void
take_environment(struct worker_options *o, struct given *given)
{
	if (o->agent.endpoint != NULL ||
	    (o->agent.endpoint = variable("QUARRY_CONNECT")) == NULL)
		return;
	o->once = true;
	if (o->keys.plain)
		return;
	if (given->server_key == NULL)
		given->server_key = variable("QUARRY_SERVER_KEY");
	/* The file may be on another machine. */
	if (given->key_file == NULL &&
	    (given->pair = variable("QUARRY_WORKER_KEY")) == NULL)
		given->key_file = variable("QUARRY_KEY");
}

/* The key pair, from where it was given. */
static int
read_pair(struct worker_options *o, const struct given *given, struct err *e)
{
	if (given->pair != NULL)
		return curve_key_parse_pair(given->pair, &o->key, e) < 0
		    ? err_ctx(e, "QUARRY_WORKER_KEY")
		    : 0;
	return curve_key_read(given->key_file, &o->key, e) < 0
	    ? err_ctx(e, "--key")
	    : 0;
}

/* Keys, and what goes together. */
static int
check_together(struct worker_options *o, struct given *given, struct err *e)
{
	bool own;

	take_environment(o, given);
	own = given->key_file != NULL || given->pair != NULL;
	if (o->agent.endpoint == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "--connect ENDPOINT is needed (or QUARRY_CONNECT in the "
		    "environment); see quarry-worker --help");
	if (cache_list_check(&o->inputs.caches, e) < 0)
		return -1;
	o->agent.inputs = o->inputs.caches.n_urls > 0 ? &o->inputs : NULL;
	o->agent.keys = &o->keys;
	o->agent.stays = !o->once && o->parent == 0;
	o->agent.drain_ms = o->parent == 0 ? (int)o->drain * 1000 : 0;
	if (own != (given->server_key != NULL))
		return err_set(e, ERR_USAGE, 0,
		    "--key and --server-key go together: each side proves who "
		    "it is");
	if (!own)
		return 0;
	if (o->keys.plain)
		return err_set(
		    e, ERR_USAGE, 0, "--connect-without-keys: there are keys");
	if (read_pair(o, given, e) < 0)
		return -1;
	if (curve_key_public(given->server_key, o->server_key, e) < 0)
		return err_ctx(e, "--server-key");
	o->keys.own = &o->key;
	o->keys.server = o->server_key;
	return 0;
}

/* One option of getopt_long's code c. */
static int
take(int c, char **argv, struct given *given, struct worker_options *o,
    struct err *e)
{
	switch (c) {
	case 'c':
		o->agent.endpoint = optarg;
		return 0;
	case 's':
		return parse_number(
		    "slots", optarg, MSG_SLOTS_MAX, &given->slots, e);
	case 'p':
		return parse_number("parent", optarg, INT32_MAX, &o->parent, e);
	case 'f':
		if (*optarg == '\0')
			return err_set(
			    e, ERR_USAGE, 0, "--spool: a folder is wanted");
		o->agent.spool = optarg;
		return 0;
	case 'S':
		given->server_key = optarg;
		return 0;
	case 'k':
		given->key_file = optarg;
		return 0;
	case 'P':
		o->keys.plain = true;
		return 0;
	case 'd':
		return parse_number("drain", optarg, DRAIN_MAX, &o->drain, e);
	case 'o':
		o->once = true;
		return 0;
	case 'u':
		return cache_list_add_url(&o->inputs.caches, optarg, e);
	case 'T':
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
	default:
		return err_set(e, ERR_USAGE, 0,
		    "%.80s %s; see quarry-worker --help", argv[optind - 1],
		    c == ':' ? "needs a value" : "is no option");
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
	    {"spool", required_argument, NULL, 'f'},
	    {"server-key", required_argument, NULL, 'S'},
	    {"key", required_argument, NULL, 'k'},
	    {"connect-without-keys", no_argument, NULL, 'P'},
	    {"drain", required_argument, NULL, 'd'},
	    {"once", no_argument, NULL, 'o'},
	    {"substituter", required_argument, NULL, 'u'},
	    {"trusted-key", required_argument, NULL, 'T'},
	    {"no-require-sigs", no_argument, NULL, 'n'},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'v'},
	    {0},
	};
	struct given given = {.slots = default_slots()};
	int c;

	o->drain = DRAIN;
	opterr = 0;
	while (o->print == NULL &&
	    (c = getopt_long(argc, argv, ":", known, NULL)) != -1)
		if (take(c, argv, &given, o, e) < 0)
			return -1;
	if (o->print != NULL)
		return 0;
	o->agent.slots = (size_t)given.slots;
	if (optind < argc)
		return err_set(e, ERR_USAGE, 0,
		    "%.80s is no option; see quarry-worker --help",
		    argv[optind]);
	return check_together(o, &given, e);
}
