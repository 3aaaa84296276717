/*
 * Points in time as Python's datetime reads and writes them in ISO 8601: what
 * fromisoformat() of Python 3.11 takes (but for week dates and separators
 * other than 'T' and space) and what isoformat() gives.  Plain values; pure,
 * but for iso_time_now.
 */
#ifndef ISO_TIME_H
#define ISO_TIME_H

#include <stdint.h>

struct err;

/* 9999-12-31T23:59:59.999999+23:59:59 and its NUL. */
#define ISO_TIME_SIZE 36
/* Seconds since 1970 of the first and last second that can be written. */
#define ISO_TIME_FIRST INT64_C(-62135596800)
#define ISO_TIME_LAST INT64_C(253402300799)

struct iso_time {
	int year, month, day; /* 1 to 9999, 1 to 12, 1 to 31 */
	int hour, minute, second, microsecond;
	int offset; /* seconds east of UTC, less than a day */
};

/*
 * Reads a date (YYYY-MM-DD or YYYYMMDD) and what may follow: 'T' or a space,
 * HH[:MM[:SS[.FRACTION]]] or without the colons, and Z or +HH[:MM[:SS]].
 * Without an offset UTC is meant: runtimes cannot read a time that has none.
 * ERR_USAGE.
 */
int iso_time_parse(const char *s, struct iso_time *out, struct err *e);

/* With offset, the microseconds only if there are any. */
void iso_time_format(const struct iso_time *t, char out[static ISO_TIME_SIZE]);

/* Whole seconds since 1970, exactly Python's int(t.timestamp()). */
int64_t iso_time_seconds(const struct iso_time *t);

/* In UTC.  seconds from ISO_TIME_FIRST to ISO_TIME_LAST. */
void iso_time_from_seconds(
    int64_t seconds, int microsecond, struct iso_time *out);

void iso_time_now(struct iso_time *out);

#endif
