#include "text/iso_time.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "err.h"

#define DAY 86400
#define MICRO INT64_C(1000000)

static bool
is_leap(int year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int
days_in(int year, int month)
{
	static const int days[] = {
	    31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* Days from 1970-01-01, years counted from March so that leap days end one. */
static int64_t
days_of(int year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t m = month <= 2 ? month + 9 : month - 3;

	return y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day -
	    719469;
}

/* n decimal digits; -1 and *s unmoved if there are fewer. */
static int
digits(const char **s, int n)
{
	int v = 0;

	for (int i = 0; i < n; i++) {
		if ((*s)[i] < '0' || (*s)[i] > '9')
			return -1;
		v = v * 10 + ((*s)[i] - '0');
	}
	*s += n;
	return v;
}

static bool
parse_date(const char **s, struct iso_time *t)
{
	bool dashes;

	if ((t->year = digits(s, 4)) < 1)
		return false;
	if ((dashes = **s == '-'))
		(*s)++;
	if ((t->month = digits(s, 2)) < 1 || t->month > 12)
		return false;
	if (dashes && *(*s)++ != '-')
		return false;
	return (t->day = digits(s, 2)) >= 1 &&
	    t->day <= days_in(t->year, t->month);
}

/* HH, HH:MM or HH:MM:SS, or the same without colons. */
static bool
parse_clock(const char **s, int v[static 3], int *n)
{
	static const int limit[3] = {24, 60, 60};
	bool colons;

	v[0] = v[1] = v[2] = 0;
	if ((v[0] = digits(s, 2)) < 0 || v[0] >= limit[0])
		return false;
	*n = 1;
	colons = **s == ':';
	while (*n < 3 && (colons ? **s == ':' : **s >= '0' && **s <= '9')) {
		if (colons)
			(*s)++;
		if ((v[*n] = digits(s, 2)) < 0 || v[*n] >= limit[*n])
			return false;
		(*n)++;
	}
	return true;
}

/* Digits past the sixth are dropped, not rounded. */
static bool
parse_fraction(const char **s, int *microsecond)
{
	int scale = (int)MICRO / 10;

	(*s)++;
	if (**s < '0' || **s > '9')
		return false;
	for (; **s >= '0' && **s <= '9'; (*s)++, scale /= 10)
		*microsecond += (**s - '0') * scale;
	return true;
}

static bool
parse_offset(const char **s, int *offset)
{
	int v[3], n, sign = **s == '-' ? -1 : 1;

	if (**s == 'Z') {
		(*s)++;
		return true;
	}
	if (**s != '+' && **s != '-')
		return true;
	(*s)++;
	if (!parse_clock(s, v, &n))
		return false;
	*offset = sign * (v[0] * 3600 + v[1] * 60 + v[2]);
	return true;
}

static bool
parse_time(const char **s, struct iso_time *t)
{
	int v[3], n;

	if (**s == '\0')
		return true;
	if (**s != 'T' && **s != ' ')
		return false;
	(*s)++;
	if (!parse_clock(s, v, &n))
		return false;
	t->hour = v[0];
	t->minute = v[1];
	t->second = v[2];
	if (n == 3 && (**s == '.' || **s == ',') &&
	    !parse_fraction(s, &t->microsecond))
		return false;
	return parse_offset(s, &t->offset);
}

int
iso_time_parse(const char *s, struct iso_time *out, struct err *e)
{
	struct iso_time t = {0};
	const char *p = s;

	if (!parse_date(&p, &t) || !parse_time(&p, &t) || *p != '\0')
		return err_set(e, ERR_USAGE, 0,
		    "'%.80s' is no time: 1970-01-01T00:00:01Z or the like is "
		    "wanted",
		    s);
	*out = t;
	return 0;
}

void
iso_time_format(const struct iso_time *t, char out[static ISO_TIME_SIZE])
{
	int off = t->offset < 0 ? -t->offset : t->offset;
	char fraction[12] = "", seconds[8] = "";

	if (t->microsecond != 0)
		snprintf(fraction, sizeof(fraction), ".%06d", t->microsecond);
	if (off % 60 != 0)
		snprintf(seconds, sizeof(seconds), ":%02d", off % 60);
	snprintf(out, ISO_TIME_SIZE,
	    "%04d-%02d-%02dT%02d:%02d:%02d%s%c%02d:%02d%s", t->year, t->month,
	    t->day, t->hour, t->minute, t->second, fraction,
	    t->offset < 0 ? '-' : '+', off / 3600, off / 60 % 60, seconds);
}

int64_t
iso_time_seconds(const struct iso_time *t)
{
	int64_t micro = days_of(t->year, t->month, t->day) * DAY +
	    t->hour * 3600 + t->minute * 60 + t->second - t->offset;
	int64_t sign, whole, rest;
	int exponent;

	micro = micro * MICRO + t->microsecond;
	sign = micro < 0 ? -1 : 1;
	whole = micro * sign / MICRO;
	rest = micro * sign % MICRO;
	/*
	 * timestamp() is a double: a fraction within half a unit of the last
	 * place below the next second becomes that second.
	 */
	if (whole > 0) {
		exponent = 63 - __builtin_clzll((unsigned long long)whole);
		if (MICRO - rest <= MICRO >> (53 - exponent))
			whole++;
	}
	return sign * whole;
}

void
iso_time_from_seconds(int64_t seconds, int microsecond, struct iso_time *out)
{
	time_t when = (time_t)seconds;
	struct tm tm;

	gmtime_r(&when, &tm);
	*out = (struct iso_time){
	    .year = tm.tm_year + 1900,
	    .month = tm.tm_mon + 1,
	    .day = tm.tm_mday,
	    .hour = tm.tm_hour,
	    .minute = tm.tm_min,
	    .second = tm.tm_sec,
	    .microsecond = microsecond,
	};
}

void
iso_time_now(struct iso_time *out)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	iso_time_from_seconds(
	    (int64_t)now.tv_sec, (int)(now.tv_nsec / 1000), out);
}
