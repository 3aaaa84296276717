/*
 * The request's `directories`: folders that the root layer shall have, with
 * their own modes and owners.  Used by request.c alone; one thread.
 */
#ifndef REQUEST_DIRECTORY_H
#define REQUEST_DIRECTORY_H

#include <jansson.h>

struct err;
struct request;

#define REQUEST_DIRECTORIES_MAX 65536

/* Appends to request->directory; the request has its owner and storeDir. */
int request_directory_read(
    struct request *request, const json_t *list, struct err *e);

#endif
