#include "progress/status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "progress/status_fields.h"

#define AT(member) offsetof(struct status, member)

/* The rows of a struct sched_counts. */
#define COUNTS(json, m, metric, what)                                          \
	{json ".added", AT(m.added), metric "_added_total", NULL, false,       \
	    what " that were asked for."},                                     \
	    {json ".queued", AT(m.queued), metric "_queued", NULL, true,       \
		what " that wait to be sent to a worker."},                    \
	    {json ".running", AT(m.running), metric "_running", NULL, true,    \
		what " that a worker has."},                                   \
	    {json ".done", AT(m.done), metric "_done_total", NULL, false,      \
		what " that are done."},                                       \
	    {json ".failed", AT(m.failed), metric "_failed_total", NULL,       \
		false, what " that failed for good."},                         \
	    {json ".left", AT(m.left), metric "_left_total", NULL, false,      \
		what " that nobody wants any more."},                          \
	    {json ".started", AT(m.started), metric "_attempts_started_total", \
		NULL, false, what ", attempts: sent to a worker."},            \
	    END(json, m, metric, what, RESULT, "result"),                      \
	    END(json, m, metric, what, FAILED, "failed"),                      \
	    END(json, m, metric, what, POSTPONED, "postponed"),                \
	    END(json, m, metric, what, EXPIRED, "expired"),                    \
	    END(json, m, metric, what, LOST, "lost"),                          \
	    END(json, m, metric, what, MOVED, "moved"),                        \
	    END(json, m, metric, what, CANCELLED, "cancelled"),                \
	    RETRY(json, m, metric, what, FAILED, "failed"),                    \
	    RETRY(json, m, metric, what, POSTPONED, "postponed"),              \
	    RETRY(json, m, metric, what, EXPIRED, "expired"),                  \
	    RETRY(json, m, metric, what, LOST, "lost"),                        \
	    {json ".copies", AT(m.copies), metric "_copies_total", NULL,       \
		false, what ", attempts: second copies for stragglers."},      \
	    {json ".duplicates", AT(m.duplicates),                             \
		metric "_duplicate_results_total", NULL, false,                \
		what ", results: the same once more."},                        \
	    {json ".differs", AT(m.differs),                                   \
		metric "_differing_results_total", NULL, false,                \
		what ", results: not what was made before."},                  \
	    {json ".agreed", AT(m.agreed), metric "_audits_agreed_total",      \
		NULL, false, what ", audits: two workers agree."},             \
	{                                                                      \
		json ".skipped", AT(m.skipped),                                \
		    metric "_audits_skipped_total", NULL, false,               \
		    what ", audits: there was nobody to do them."              \
	}

#define END(json, m, metric, what, end, word)                                  \
	{                                                                      \
		json ".ended." word, AT(m.ended[SCHED_END_##end]),             \
		    metric "_attempts_ended_total", "end=\"" word "\"", false, \
		    what ", attempts: ended, and how."                         \
	}

#define RETRY(json, m, metric, what, end, word)                                \
	{                                                                      \
		json ".retried." word, AT(m.retried[SCHED_END_##end]),         \
		    metric "_retries_total", "reason=\"" word "\"", false,     \
		    what ", queued again: how the attempt before ended."       \
	}

#define PUSHES(end)                                                            \
	{                                                                      \
		"pushes." #end, AT(pushes.end), "quarry_pushes_total",         \
		    "end=\"" #end "\"", false,                                 \
		    "Layers that workers were to push, and how that ended."    \
	}

/* clang-format off */
const struct status_field status_field[] = {
	{"uptime_ms", AT(uptime_ms), NULL, NULL, true, NULL},
	COUNTS("jobs", jobs, "quarry_jobs", "Layers"),
	COUNTS("measures", measures, "quarry_measures", "Layers' sizes"),
	{"cached", AT(cached), "quarry_layers_cached_total", NULL, false,
	    "Layers that were known from before and not made."},
	{"bytes.made", AT(bytes_made), "quarry_made_bytes_total", NULL, false,
	    "Bytes of tar in layers that are done."},
	{"bytes.read", AT(bytes_read), "quarry_read_bytes_total", NULL, false,
	    "Bytes of files that workers have read for layers."},
	{"bytes.fetched", AT(bytes_fetched), "quarry_fetched_bytes_total",
	    NULL, false, "Bytes that workers got from binary caches."},
	{"bytes.pulled", AT(bytes_pulled), "quarry_pulled_bytes_total", NULL,
	    false, "Bytes of layers that were pulled from other machines."},
	{"pushes.open", AT(pushes.open), "quarry_pushes_open", NULL, true,
	    "Layers on their way into registries."},
	PUSHES(there), PUSHES(mounted), PUSHES(uploaded), PUSHES(left),
	{"pushes.failed", AT(pushes.failed), "quarry_push_failures_total",
	    NULL, false, "Uploads of workers that failed."},
	{"pushes.own", AT(pushes.own), "quarry_coordinator_uploads_total",
	    NULL, false, "Blobs that the coordinator uploaded."},
	{"bytes.uploaded", AT(pushes.uploaded_bytes),
	    "quarry_uploaded_bytes_total", "by=\"workers\"", false,
	    "Bytes of blobs that were uploaded to registries."},
	{"bytes.uploaded_own", AT(pushes.own_bytes),
	    "quarry_uploaded_bytes_total", "by=\"coordinator\"", false,
	    "Bytes of blobs that were uploaded to registries."},
	{"workers.joined", AT(joins), "quarry_workers_joined_total", NULL,
	    false, "Workers that joined."},
	{"workers.lost", AT(losses), "quarry_workers_lost_total", NULL, false,
	    "Workers that were lost or dropped."},
	{"workers.left", AT(leaves), "quarry_workers_left_total", NULL, false,
	    "Workers that said goodbye."},
	{"workers.omitted", AT(workers_omitted), NULL, NULL, true, NULL},
	{"clients.omitted", AT(clients_omitted), NULL, NULL, true, NULL},
};
/* clang-format on */
const size_t status_fields = sizeof(status_field) / sizeof(status_field[0]);

uint64_t
status_get(const struct status *s, const struct status_field *f)
{
	uint64_t v;

	memcpy(&v, (const char *)s + f->at, sizeof(v));
	return v;
}

void
status_set(struct status *s, const struct status_field *f, uint64_t v)
{
	memcpy((char *)s + f->at, &v, sizeof(v));
}

void
status_name(char *out, size_t size, const char *name)
{
	size_t i;

	for (i = 0; i + 1 < size && name[i] != '\0'; i++)
		out[i] = name[i] < 0x20 || name[i] > 0x7e ? '?' : name[i];
	out[i] = '\0';
}

static int
worker_order(const void *a, const void *b)
{
	const struct status_worker *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static int
client_order(const void *a, const void *b)
{
	const struct status_client *x = a, *y = b;
	int by_name = strcmp(x->name, y->name);

	return by_name != 0 ? by_name : strcmp(x->image, y->image);
}

void
status_sort(struct status *s)
{
	if (s->n_workers > 1)
		qsort(
		    s->worker, s->n_workers, sizeof(*s->worker), worker_order);
	if (s->n_clients > 1)
		qsort(
		    s->client, s->n_clients, sizeof(*s->client), client_order);
}

int
status_copy(const struct status *s, struct status *out, struct err *e)
{
	struct status copy = *s;

	copy.worker = reallocarray(NULL, s->n_workers + 1, sizeof(*s->worker));
	copy.client = reallocarray(NULL, s->n_clients + 1, sizeof(*s->client));
	if (copy.worker == NULL || copy.client == NULL) {
		status_clear(&copy);
		return err_set(e, ERR_FATAL, ENOMEM, "status");
	}
	if (s->n_workers > 0)
		memcpy(
		    copy.worker, s->worker, s->n_workers * sizeof(*s->worker));
	if (s->n_clients > 0)
		memcpy(
		    copy.client, s->client, s->n_clients * sizeof(*s->client));
	*out = copy;
	return 0;
}

void
status_clear(struct status *s)
{
	free(s->worker);
	free(s->client);
	*s = (struct status){0};
}
