#include "progress/status.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "progress/status_fields.h"
#include "text/stream_end.h"

static void
put_head(FILE *f, const char *metric, bool gauge, const char *help)
{
	fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", metric, help, metric,
	    gauge ? "gauge" : "counter");
}

/* Between quotes: what could end the label or the line is escaped. */
static void
put_label(FILE *f, const char *value)
{
	for (; *value != '\0'; value++)
		if (*value == '\n')
			fputs("\\n", f);
		else if (*value == '"' || *value == '\\')
			fprintf(f, "\\%c", *value);
		else
			fputc(*value, f);
}

static void
put_fields(FILE *f, const struct status *s)
{
	const char *before = "";

	for (size_t i = 0; i < status_fields; i++) {
		const struct status_field *field = &status_field[i];

		if (field->metric == NULL)
			continue;
		if (strcmp(field->metric, before) != 0)
			put_head(f, field->metric, field->gauge, field->help);
		before = field->metric;
		fprintf(f, "%s%s%s%s %" PRIu64 "\n", field->metric,
		    field->label != NULL ? "{" : "",
		    field->label != NULL ? field->label : "",
		    field->label != NULL ? "}" : "", status_get(s, field));
	}
}

static void
put_gauge(FILE *f, const char *metric, uint64_t value, const char *help)
{
	put_head(f, metric, true, help);
	fprintf(f, "%s %" PRIu64 "\n", metric, value);
}

static void
put_all(FILE *f, const struct status *s)
{
	uint64_t slots = 0, wanted = 0;

	for (size_t i = 0; i < s->n_workers; i++)
		slots += s->worker[i].slots;
	for (size_t i = 0; i < s->n_clients; i++)
		if (s->client[i].wanted > s->client[i].done)
			wanted += s->client[i].wanted - s->client[i].done;
	put_head(f, "quarry_build_info", true, "Which program this is.");
	fputs("quarry_build_info{version=\"", f);
	put_label(f, s->version);
	fputs("\",command=\"", f);
	put_label(f, s->command);
	fputs("\"} 1\n", f);
	put_head(f, "quarry_uptime_seconds", true,
	    "How long this coordinator has been at work.");
	fprintf(f, "quarry_uptime_seconds %" PRIu64 ".%03" PRIu64 "\n",
	    s->uptime_ms / 1000, s->uptime_ms % 1000);
	put_gauge(f, "quarry_workers", s->n_workers + s->workers_omitted,
	    "Workers that are here.");
	put_gauge(f, "quarry_slots", slots, "Slots of all workers.");
	put_gauge(f, "quarry_clients", s->n_clients + s->clients_omitted,
	    "Clients that are here.");
	put_gauge(f, "quarry_client_jobs_open", wanted,
	    "Layers that clients that are here still wait for.");
}

/* Of each worker; in the order of the fields below. */
static const struct {
	const char *metric;
	bool gauge;
	const char *help;
} of_worker[] = {
    {"quarry_worker_slots", true, "Slots of a worker."},
    {"quarry_worker_jobs_running", true, "Layers that a worker works on."},
    {"quarry_worker_jobs_waiting", true,
	"Layers that wait at a worker for a slot."},
    {"quarry_worker_speed_bytes_per_second", true,
	"What a worker made a second, lately; 0: nobody knows."},
    {"quarry_worker_jobs_done_total", false, "Layers that a worker made."},
    {"quarry_worker_failures_total", false,
	"Attempts that failed at a worker."},
    {"quarry_worker_draining", true, "1: the worker wants to leave."},
    {"quarry_worker_aside", true,
	"1: the worker failed too often and gets nothing more."},
};
#define OF_WORKER (sizeof(of_worker) / sizeof(of_worker[0]))

static uint64_t
worker_number(const struct status_worker *w, size_t i)
{
	const uint64_t numbers[OF_WORKER] = {w->slots, w->running, w->waiting,
	    w->rate, w->done, w->failures, w->draining, w->aside};

	return numbers[i];
}

static void
put_workers(FILE *f, const struct status *s)
{
	size_t n =
	    s->n_workers < STATUS_SERIES_MAX ? s->n_workers : STATUS_SERIES_MAX;

	for (size_t m = 0; m < OF_WORKER && n > 0; m++) {
		put_head(f, of_worker[m].metric, of_worker[m].gauge,
		    of_worker[m].help);
		for (size_t i = 0; i < n; i++) {
			const struct status_worker *w = &s->worker[i];

			fprintf(f, "%s{worker=\"", of_worker[m].metric);
			put_label(f, w->name);
			fprintf(f, "\",where=\"%s\"} %" PRIu64 "\n",
			    w->remote ? "remote" : "local",
			    worker_number(w, m));
		}
	}
	put_gauge(f, "quarry_workers_unlisted",
	    s->n_workers - n + s->workers_omitted,
	    "Workers that have no series of their own: there are too many.");
}

int
status_prometheus(const struct status *s, char **out, struct err *e)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (f == NULL)
		return err_set(e, ERR_FATAL, errno, "metrics");
	put_all(f, s);
	put_fields(f, s);
	put_workers(f, s);
	if (stream_close(f) < 0) {
		free(text);
		return err_set(e, ERR_FATAL, ENOMEM, "metrics");
	}
	*out = text;
	return 0;
}
