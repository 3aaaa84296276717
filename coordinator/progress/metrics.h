/*
 * Metrics for Prometheus, by HTTP: /metrics is the last snapshot that was
 * handed in, /healthz says that the process is there, and, of one that always
 * comes round (serve), that it still does.  A thread of its own answers; all
 * calls below are the owner's, from one thread.
 */
#ifndef METRICS_H
#define METRICS_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct metrics;
struct status;

/* Snapshots are wanted no more often. */
#define METRICS_MS 1000
/* So old are they where the loop of one that stays up stands still. */
#define METRICS_STILL_MS 30000
/* Who asks: at once, and how long one may say nothing. */
#define METRICS_CONNECTIONS 16
#define METRICS_TIMEOUT_S 10
#define METRICS_REQUEST_MAX 8192 /* bytes of a request's head, about */
/* Descriptors that it takes. */
#define METRICS_DESCRIPTORS (METRICS_CONNECTIONS + 8)

/*
 * where: HOST:PORT, [IPV6]:PORT or PORT, which is this machine's alone; HOST *
 * is every address, PORT * one that is free.  ERR_USAGE says what is wrong.
 */
int metrics_check(const char *where, struct err *e);

/*
 * ERR_FATAL where the port is taken.  command: "build"; stays: snapshots come
 * until metrics_stop, or something is wrong.
 */
int metrics_start(const char *where, const char *command, bool stays,
    struct metrics **out, struct err *e);
void metrics_stop(struct metrics *m);

/* "http://HOST:PORT/metrics", with the port that was free; the metrics' own. */
const char *metrics_url(const struct metrics *m);

/* When another snapshot is wanted, ms; and it is handed in, and emptied. */
int64_t metrics_due(const struct metrics *m);
void metrics_update(struct metrics *m, int64_t now, struct status *s);

#endif
