/*
 * Registries that a server's workers push to for its clients: a list,
 * "HOST[:PORT][,...]".  Pure.
 */
#ifndef PUSH_TO_H
#define PUSH_TO_H

#include <stdbool.h>

struct err;

#define PUSH_TO_MAX 64 /* registries */

/* ERR_USAGE says what is wrong with which. */
int push_to_check(const char *list, struct err *e);
/*
 * Whether base ("https://HOST[:PORT]") is in the list.  Plain HTTP is so only
 * to this machine.
 */
bool push_to_has(const char *list, const char *base);

#endif
