/*
 * When a request to a registry is made again, and how long after.  Pure, but
 * for the random part of a pause.
 */
#ifndef REGISTRY_RETRY_H
#define REGISTRY_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "http.h"

#define REGISTRY_TRIES 6
#define REGISTRY_BACKOFF_MS 500 /* doubled each time, +-25 % */
#define REGISTRY_BACKOFF_MAX_MS 30000
#define REGISTRY_RETRY_AFTER_MAX_MS 600000

/* Whether the same request may have another answer soon. */
bool registry_retry_may(const struct http_answer *a);

/*
 * ms until try number `tried` + 1; the registry's own wish (Retry-After:
 * seconds or a date, now in seconds since the epoch) counts if it is longer.
 */
int64_t registry_retry_pause(unsigned tried, const struct http_answer *a,
    int64_t now, int64_t backoff_ms, uint32_t random);

#endif
