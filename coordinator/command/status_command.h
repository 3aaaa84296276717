/*
 * quarry status: asks a coordinator that stays up how it is doing, and prints
 * what it says.
 */
#ifndef STATUS_COMMAND_H
#define STATUS_COMMAND_H

struct err;
struct options;

/* How long it may take to answer, ms. */
#define STATUS_ANSWER_MS 10000

int status_command_run(const struct options *options, struct err *e);

#endif
