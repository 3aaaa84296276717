#include "registry_retry.h"

#include <ctype.h>
#include <stdlib.h>

#include <curl/curl.h>

bool
registry_retry_may(const struct http_answer *a)
{
	static const int statuses[] = {408, 429, 499, 500, 502, 503, 504, 522};

	/* Who spoke TLS before has only been cut off now. */
	if (a->fault == HTTP_NO_CONNECTION || a->fault == HTTP_NO_TLS ||
	    a->fault == HTTP_BROKEN)
		return true;
	if (a->fault != HTTP_ANSWERED)
		return false;
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (a->status == statuses[i])
			return true;
	return false;
}

static int64_t
asked_ms(const char *text, int64_t now)
{
	int64_t s = 0, when;

	if (!isdigit((unsigned char)*text)) {
		when = (int64_t)curl_getdate(text, NULL);
		s = when > now ? when - now : 0;
	}
	while (
	    isdigit((unsigned char)*text) && s <= REGISTRY_RETRY_AFTER_MAX_MS)
		s = s * 10 + (*text++ - '0');
	return s > REGISTRY_RETRY_AFTER_MAX_MS / 1000
	    ? REGISTRY_RETRY_AFTER_MAX_MS
	    : s * 1000;
}

int64_t
registry_retry_pause(unsigned tried, const struct http_answer *a, int64_t now,
    int64_t backoff_ms, uint32_t random)
{
	const char *wish = a->header[HTTP_RETRY_AFTER];
	int64_t ms = backoff_ms << (tried < 16 ? tried : 16);
	int64_t asked = wish != NULL ? asked_ms(wish, now) : 0;

	if (ms > REGISTRY_BACKOFF_MAX_MS)
		ms = REGISTRY_BACKOFF_MAX_MS;
	ms = ms * 3 / 4 + (int64_t)(random % (uint64_t)(ms / 2 + 1));
	return ms < asked ? asked : ms;
}
