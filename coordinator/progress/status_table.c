#include "progress/status.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "err.h"
#include "text/human.h"
#include "text/stream_end.h"

static void
put_jobs(FILE *f, const char *title, const struct sched_counts *c)
{
	fprintf(f,
	    "%-9s %" PRIu64 " queued, %" PRIu64 " running, %" PRIu64
	    " done, %" PRIu64 " failed, %" PRIu64 " left\n",
	    title, c->queued, c->running, c->done, c->failed, c->left);
}

static void
put_attempts(FILE *f, const struct sched_counts *c)
{
	const uint64_t *r = c->retried;

	fprintf(f,
	    "retries   %" PRIu64 " failed, %" PRIu64 " lost, %" PRIu64
	    " expired, %" PRIu64 " postponed; %" PRIu64 " second copies\n",
	    r[SCHED_END_FAILED], r[SCHED_END_LOST], r[SCHED_END_EXPIRED],
	    r[SCHED_END_POSTPONED], c->copies);
	fprintf(f, "audits    %" PRIu64 " agreed, %" PRIu64 " skipped\n",
	    c->agreed, c->skipped);
	if (c->duplicates > 0 || c->differs > 0)
		fprintf(f, "results   %" PRIu64 " twice, %" PRIu64 " differ\n",
		    c->duplicates, c->differs);
}

static void
put_pushes(FILE *f, const struct status_pushes *p)
{
	char workers[HUMAN_MAX], own[HUMAN_MAX];

	if (p->open + p->there + p->mounted + p->uploaded + p->left + p->own ==
	    0)
		return;
	human_bytes(p->uploaded_bytes, workers);
	human_bytes(p->own_bytes, own);
	fprintf(f,
	    "pushes    %" PRIu64 " open, %" PRIu64 " uploaded (%s), %" PRIu64
	    " mounted, %" PRIu64 " were there, %" PRIu64 " left (%" PRIu64
	    " failed); %" PRIu64 " blobs from here (%s)\n",
	    p->open, p->uploaded, workers, p->mounted, p->there, p->left,
	    p->failed, p->own, own);
}

static void
put_totals(FILE *f, const struct status *s)
{
	char made[HUMAN_MAX], fetched[HUMAN_MAX], pulled[HUMAN_MAX];
	char read[HUMAN_MAX], up[HUMAN_MAX];

	human_seconds((double)s->uptime_ms / 1000, up);
	fprintf(f, "quarry    %s, %s, up %s\n", s->version, s->command, up);
	put_jobs(f, "layers", &s->jobs);
	if (s->measures.added > 0)
		put_jobs(f, "sizes", &s->measures);
	put_attempts(f, &s->jobs);
	human_bytes(s->bytes_read, read);
	human_bytes(s->bytes_made, made);
	human_bytes(s->bytes_fetched, fetched);
	human_bytes(s->bytes_pulled, pulled);
	fprintf(f, "bytes     %s read, %s fetched, %s made, %s pulled\n", read,
	    fetched, made, pulled);
	put_pushes(f, &s->pushes);
	fprintf(f, "known     %" PRIu64 " layers from before\n", s->cached);
	fprintf(f,
	    "workers   %" PRIu64 " here; %" PRIu64 " joined, %" PRIu64
	    " lost, %" PRIu64 " left\n",
	    s->n_workers + s->workers_omitted, s->joins, s->losses, s->leaves);
}

static void
put_worker(FILE *f, int width, const struct status_worker *w)
{
	char rate[HUMAN_MAX + 2] = "-", bytes[HUMAN_MAX];

	if (w->rate > 0) {
		human_bytes(w->rate, bytes);
		snprintf(rate, sizeof(rate), "%s/s", bytes);
	}
	fprintf(f,
	    "%-*s  %-6s %5" PRIu64 " %7" PRIu64 " %7" PRIu64 "  %10s %8" PRIu64
	    " %8" PRIu64 "%s%s\n",
	    width, w->name, w->remote ? "remote" : "local", w->slots,
	    w->running, w->waiting, rate, w->done, w->failures,
	    w->draining ? "  draining" : "", w->aside ? "  aside" : "");
}

static void
put_workers(FILE *f, const struct status *s)
{
	int width = 6;

	for (size_t i = 0; i < s->n_workers; i++) {
		int n = snprintf(NULL, 0, "%s", s->worker[i].name);

		width = n > width ? n : width;
	}
	if (s->n_workers > 0)
		fprintf(f, "\n%-*s  %-6s %5s %7s %7s  %10s %8s %8s\n", width,
		    "WORKER", "WHERE", "SLOTS", "RUNNING", "WAITING", "RATE",
		    "DONE", "FAILURES");
	for (size_t i = 0; i < s->n_workers; i++)
		put_worker(f, width, &s->worker[i]);
	if (s->workers_omitted > 0)
		fprintf(f, "and %" PRIu64 " more\n", s->workers_omitted);
}

static void
put_clients(FILE *f, const struct status *s)
{
	int width = 6;

	for (size_t i = 0; i < s->n_clients; i++) {
		int n = snprintf(NULL, 0, "%s", s->client[i].name);

		width = n > width ? n : width;
	}
	if (s->n_clients > 0)
		fprintf(f, "\n%-*s  %8s %8s  %s\n", width, "CLIENT", "WANTED",
		    "DONE", "IMAGE");
	for (size_t i = 0; i < s->n_clients; i++) {
		const struct status_client *c = &s->client[i];

		fprintf(f, "%-*s  %8" PRIu64 " %8" PRIu64 "  %s\n", width,
		    c->name, c->wanted, c->done, c->image);
	}
	if (s->clients_omitted > 0)
		fprintf(f, "and %" PRIu64 " more\n", s->clients_omitted);
}

int
status_table(const struct status *s, char **out, struct err *e)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (f == NULL)
		return err_set(e, ERR_FATAL, errno, "status");
	put_totals(f, s);
	put_workers(f, s);
	put_clients(f, s);
	if (stream_close(f) < 0) {
		free(text);
		return err_set(e, ERR_FATAL, ENOMEM, "status");
	}
	*out = text;
	return 0;
}
