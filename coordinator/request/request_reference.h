/*
 * The request file that streamLayeredImage hands its script: the keys that
 * ours does not have, and what such a request may not be asked.  Used by
 * request*.c alone; one thread.
 */
#ifndef REQUEST_REFERENCE_H
#define REQUEST_REFERENCE_H

#include <stdbool.h>

#include <jansson.h>

struct err;
struct options;
struct request;
struct request_in;

bool request_reference_is(const json_t *doc);

/* Setters, as request_settings' table has them. */
int request_reference_layers(
    struct request_in *in, const json_t *value, struct err *e);
int request_reference_repo_tag(
    struct request_in *in, const json_t *value, struct err *e);

/* That nothing is missing, and all its layers' paths are good. */
int request_reference_check(const struct request *request, struct err *e);

/* That the options do not ask to plan what is planned. */
int request_reference_options(const struct options *options, struct err *e);

#endif
