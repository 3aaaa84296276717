#include "options/options_number.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

int
options_count(
    const char *arg, size_t max, const char *option, size_t *out, struct err *e)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(arg, &end, 10);
	if (*arg < '0' || *arg > '9' || *end != '\0' || errno != 0 || v < 1 ||
	    v > max)
		return err_set(e, ERR_USAGE, 0,
		    "--%s: '%.40s' is not in 1 to %zu", option, arg, max);
	*out = (size_t)v;
	return 0;
}

int
options_size(const char *arg, const char *option, uint64_t *out, struct err *e)
{
	static const char letters[] = "KMGT";
	unsigned long long v;
	const char *letter;
	unsigned shift = 0;
	char *end;

	errno = 0;
	v = strtoull(arg, &end, 10);
	if (*end != '\0' && (letter = strchr(letters, *end)) != NULL &&
	    end[1] == '\0') {
		shift = 10 * (unsigned)(letter - letters + 1);
		end++;
	}
	if (*arg < '0' || *arg > '9' || *end != '\0' || errno != 0 ||
	    v > UINT64_MAX >> shift)
		return err_set(e, ERR_USAGE, 0,
		    "--%s: '%.40s' is no size: bytes, or with K, M, G or T",
		    option, arg);
	*out = (uint64_t)v << shift;
	return 0;
}
