/*
 * The command of --launch, which starts workers on other machines: with keys
 * made for this one build, and with all that a worker needs to know in its
 * environment:
 *
 *	QUARRY_CONNECT     tcp://HOST:PORT, as other machines see it
 *	QUARRY_SERVER_KEY  the coordinator's public key
 *	QUARRY_KEY         a file with the workers' key pair
 *	QUARRY_WORKER_KEY  that pair itself, see curve_key_pair
 *
 * It runs in a session, so a process group, of its own, which is ended with
 * the build, however that ends (see interrupt.h and scratch.h).  Owned and
 * used by the main thread.
 */
#ifndef LAUNCH_H
#define LAUNCH_H

#include <stdbool.h>
#include <stddef.h>

struct err;
struct launch;
struct scratch;

struct launch_config {
	const char *command;
	const char *advertise; /* how others call this machine, or NULL */
	const char *server;    /* our public key */
};

/*
 * Makes the workers' keys and writes them, and ours, into a scratch folder.
 * Strings are borrowed.
 */
int launch_new(const struct launch_config *config, struct scratch *scratch,
    struct launch **out, struct err *e);

/* The workers' public key, which must be listed. */
const char *launch_public_key(const struct launch *l);

/*
 * Where other machines find the socket that listens at the endpoint (as
 * link_endpoint says it); advertise may be NULL.  The caller frees *out.
 * ERR_USAGE: advertise is no host.
 */
int launch_address(
    const char *endpoint, const char *advertise, char **out, struct err *e);

/* Starts the command, once the socket listens at the endpoint. */
int launch_start(struct launch *l, const char *endpoint, struct err *e);

enum launch_state { LAUNCH_RUNS, LAUNCH_DONE, LAUNCH_FAILED };

/* How the command is; why (of LAUNCH_FAILED) is "exit status 3" and such. */
enum launch_state launch_state(struct launch *l, const char **why);
const char *launch_command(const struct launch *l);

/*
 * The build is over, and workers were told so: gives the command a moment to
 * end by itself, then ends it.
 */
void launch_end(struct launch *l);

/* Ends it, and removes the keys. */
void launch_free(struct launch *l);

#endif
