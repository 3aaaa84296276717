/*
 * HTTP GETs one after the other, each body read as a stream with a small
 * buffer; connections are kept in between.  Redirects are followed, but never
 * from https to http; certificates are verified.  One thread each.
 */
#ifndef HTTP_GET_H
#define HTTP_GET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct http_get;

/* A server that cannot be reached or is busy is asked so often. */
#define HTTP_GET_TRIES 4
/* A body that breaks off is gone on with so often. */
#define HTTP_GET_RESUMES 8
#define HTTP_GET_CONNECT_MS 10000
/* While we wait, so many bytes must come in so long, or the end. */
#define HTTP_GET_STALL_MS 20000
#define HTTP_GET_STALL_BYTES 32768

/* cancel is borrowed: once true, calls fail soon with ERR_RETRY, ECANCELED. */
int http_get_new(
    const atomic_bool *cancel, struct http_get **out, struct err *e);
void http_get_free(struct http_get *h);
void http_get_freep(struct http_get **h);

/*
 * Starts a GET, and waits for its first bytes; unpack: the body may come
 * compressed on the way (and is not resumed).  url is borrowed until the end.
 * *found false: the server has no such thing.
 * ERR_RETRY says what went wrong, without the URL.
 */
int http_get_open(struct http_get *h, const char *url, bool unpack, bool *found,
    struct err *e);

/*
 * The body's next bytes, which hold until the next call; *len 0 at its end.
 * Where the connection breaks the rest is asked for, if the server can do that.
 */
int http_get_read(
    struct http_get *h, const uint8_t **data, size_t *len, struct err *e);

/* Ends a GET; nothing happens if there is none. */
void http_get_close(struct http_get *h);

#endif
