/*
 * quarry serve: a coordinator that stays up for many clients.  It takes their
 * jobs, has workers make them, each layer once, and keeps what was made.
 */
#ifndef SERVE_H
#define SERVE_H

struct err;
struct options;

/* Until SIGTERM or SIGINT. */
int serve_run(const struct options *options, struct err *e);

#endif
