/*
 * Errors: a small value, the last parameter of whatever can fail.
 *
 * A function that can fail returns 0, or -1 with *e set; e is never NULL and
 * is set exactly once.  Callers add context while returning.  Nothing
 * allocates.  Only main, dispatch, client, build, root_scan, zap, progress and
 * the worker's agent print.  The kind decides what happens next (it crosses the
 * wire in FAIL); no code looks at the text.  Usable in any thread; a struct
 * err belongs to one.
 */
#ifndef ERR_H
#define ERR_H

enum err_kind {
	ERR_NONE,
	ERR_USAGE, /* wrong use or input: say so, exit status 2 */
	ERR_RETRY, /* this attempt failed; another worker may succeed */
	ERR_JOB,   /* this layer can never be built: fail the image */
	ERR_PEER,  /* the peer broke the protocol: drop it, requeue its jobs */
	ERR_FATAL  /* this process cannot go on */
};

#define ERR_TEXT_MAX 1024

struct err {
	enum err_kind kind;
	int sys; /* errno, or 0 */
	char text[ERR_TEXT_MAX];
};

#define ERR_INIT                                                               \
	{                                                                      \
		.kind = ERR_NONE                                               \
	}

/*
 * Sets the error; appends ": " and strerror(sys) unless sys is 0.  Asserts
 * that no error was set.  Returns -1.
 */
int err_set(struct err *e, enum err_kind kind, int sys, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Prepends "context: "; keeps the kind.  Returns -1. */
int err_ctx(struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Forgets the error, so that e can be used again. */
void err_clear(struct err *e);

#endif
