/* `quarry index`: images of several architectures under one name. */
#ifndef INDEX_COMMAND_H
#define INDEX_COMMAND_H

struct err;
struct options;

int index_command_run(const struct options *options, struct err *e);

#endif
