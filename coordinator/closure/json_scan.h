/*
 * Strings, numbers and words of JSON at the place where an input stands, for
 * json_pull.  Texts lie in the input's window and are valid until it is next
 * read.  One thread.
 */
#ifndef JSON_SCAN_H
#define JSON_SCAN_H

#include <stdint.h>

struct closure_input;
struct closure_text;
struct err;

/* The string at pos, where its quote is; out may be NULL. */
int json_scan_string(
    struct closure_input *in, struct closure_text *out, struct err *e);

/* The number at pos, where a digit or '-' is. */
int json_scan_number(
    struct closure_input *in, struct closure_text *out, struct err *e);

/* Exactly this word. */
int json_scan_word(struct closure_input *in, const char *word, struct err *e);

/* Errors at an offset, at pos, and at the end of the file. */
int json_fail(struct err *e, uint64_t at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int json_fail_here(
    const struct closure_input *in, struct err *e, const char *why);
int json_fail_end(const struct closure_input *in, struct err *e);

#endif
