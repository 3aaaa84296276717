/* quarry keygen: makes a key pair's files and prints the public one's line. */
#ifndef KEYGEN_H
#define KEYGEN_H

struct err;
struct options;

int keygen_run(const struct options *options, struct err *e);

#endif
