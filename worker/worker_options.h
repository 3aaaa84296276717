/*
 * The command line of quarry-worker, as data; strings are argv's own.  Main
 * thread only.
 */
#ifndef WORKER_OPTIONS_H
#define WORKER_OPTIONS_H

#include "agent.h"
#include "layer_inputs.h"
#include "link.h"

struct err;

struct worker_options {
	struct agent_options agent; /* endpoint and slots are set */
	struct layer_inputs inputs; /* the agent's, if a cache was given */
	long parent;		    /* 0: none was given */
	bool once;		    /* end with the first build */
	long drain;		    /* seconds */
	/* What agent.keys points to: this struct must stay where it is. */
	struct link_keys keys;
	struct curve_key key;
	char server_key[CURVE_KEY_LEN + 1];
	const char *print; /* help or version instead of work, or NULL */
};

/* Fills what the command line says, leaves the rest of *o.  ERR_USAGE. */
int worker_options_parse(
    int argc, char **argv, struct worker_options *o, struct err *e);

#endif
