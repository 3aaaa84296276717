/*
 * Gets one blob into a repository, wherever it is: in a file, in memory, in
 * another repository of the registry (it is mounted), or in another registry;
 * what is not here and cannot be mounted goes by way of this machine.  In any
 * thread.
 */
#ifndef PUSH_SEND_H
#define PUSH_SEND_H

#include <stdatomic.h>

#include "registry.h"

struct err;
struct push_blob;
struct registry_place;

struct push_send {
	struct registry_place *place; /* all is borrowed */
	const char *repo;
	struct registry *session; /* with it, for that */
	const atomic_bool *cancel;
};

int push_send(const struct push_send *to, const struct push_blob *blob,
    enum registry_way *way, struct err *e);

#endif
