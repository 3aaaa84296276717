#include "text/nearest.h"

#include <ctype.h>
#include <string.h>

/* Longer words are compared by their start. */
#define NEAREST_LEN_MAX 64

/* Twice the distance, so that another case costs less than another letter. */
static unsigned
change(char a, char b)
{
	if (a == b)
		return 0;
	return tolower((unsigned char)a) == tolower((unsigned char)b) ? 1 : 2;
}

static unsigned
min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

static unsigned
distance(const char *a, const char *b)
{
	unsigned row[3][NEAREST_LEN_MAX + 1];
	unsigned *old = row[0], *last = row[1], *now = row[2], *spare;
	size_t n = strnlen(a, NEAREST_LEN_MAX), m = strnlen(b, NEAREST_LEN_MAX);

	for (size_t j = 0; j <= m; j++)
		last[j] = 2 * (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		now[0] = 2 * (unsigned)i;
		for (size_t j = 1; j <= m; j++) {
			now[j] = min3(last[j] + 2, now[j - 1] + 2,
			    last[j - 1] + change(a[i - 1], b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
			    a[i - 2] == b[j - 1] && old[j - 2] + 2 < now[j])
				now[j] = old[j - 2] + 2;
		}
		spare = old;
		old = last;
		last = now;
		now = spare;
	}
	return last[m];
}

const char *
nearest_of(const char *word, const char *const *known, size_t n)
{
	const char *best = known[0];
	unsigned least = distance(word, best), d;

	for (size_t i = 1; i < n; i++) {
		if ((d = distance(word, known[i])) >= least)
			continue;
		least = d;
		best = known[i];
	}
	return best;
}
