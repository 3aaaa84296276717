#include "progress/progress_state.h"

#include <jansson.h>

#include "digest.h"
#include "image/image.h"
#include "output/output.h"
#include "progress/json_lines.h"
#include "progress/progress.h"
#include "text/json_text.h"

/* Of a list in a line. */
#define LIST_MAX 64

static json_t *
count(uint64_t n)
{
	return json_integer(n < INT64_MAX ? (json_int_t)n : INT64_MAX);
}

void
progress_json_phase(const struct progress *p)
{
	json_line(json_pack("{s:s,s:s}", "event", "phase", "phase", p->phase));
}

void
progress_json_worker(const struct progress *p, size_t worker)
{
	const struct seen_worker *w = &p->worker[worker];

	json_line(json_pack("{s:s,s:s,s:s}", "event", "worker", "name", w->name,
	    "host", p->host[w->host].name));
}

void
progress_json_worker_gone(const struct progress *p, size_t worker, bool lost)
{
	json_line(json_pack("{s:s,s:s,s:b}", "event", "worker_gone", "name",
	    p->worker[worker].name, "lost", lost));
}

void
progress_json_done(const struct progress *p, size_t worker, const char *label,
    uint64_t bytes, double seconds)
{
	json_line(json_pack("{s:s,s:s,s:s,s:o,s:f,s:o,s:o}", "event", "done",
	    "layer", label, "worker", progress_worker_name(p, worker), "bytes",
	    count(bytes), "seconds", seconds, "jobs_done", count(p->jobs_done),
	    "jobs", count(p->jobs)));
}

void
progress_json_again(const struct progress *p, size_t worker, const char *label,
    uint64_t attempt, const char *why)
{
	json_line(json_pack("{s:s,s:s,s:s,s:o,s:o}", "event", "again", "layer",
	    label, "worker", progress_worker_name(p, worker), "attempt",
	    count(attempt), "reason", json_text(why)));
}

void
progress_json_audit(const char *label, bool agreed)
{
	json_line(json_pack("{s:s,s:s,s:b}", "event", "audit", "layer", label,
	    "agreed", agreed));
}

/* Hosts with workers; what is too much is left out, "hosts" counts it. */
static json_t *
hosts_list(const struct progress *p)
{
	json_t *list = json_array();

	for (size_t i = 0; i < p->n_hosts; i++) {
		const struct seen_host *h = &p->host[i];

		if (h->workers == 0 || json_array_size(list) == LIST_MAX)
			continue;
		json_array_append_new(list,
		    json_pack("{s:s,s:o,s:o}", "host", h->name, "workers",
			count(h->workers), "running", count(h->running)));
	}
	return list;
}

static json_t *
running_list(const struct progress *p)
{
	json_t *list = json_array();

	for (size_t i = 0; i < p->n_running && i < LIST_MAX; i++) {
		const struct running *r = &p->running[i];

		json_array_append_new(list,
		    json_pack("{s:s,s:s,s:o,s:o}", "layer", r->label, "worker",
			progress_worker_name(p, r->worker), "bytes",
			count(r->bytes), "bytes_total", count(r->total)));
	}
	return list;
}

/* What happened to workers and jobs since the beginning. */
static json_t *
events_value(const struct progress *p)
{
	const struct progress_events *n = &p->events;

	return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,"
			 "s:o,s:o,s:o,s:o,s:o,"
			 "s:o}",
	    "joined", count(n->joins), "lost", count(n->losses), "left",
	    count(n->leaves), "again_lost", count(n->again[SCHED_END_LOST]),
	    "again_failed", count(n->again[SCHED_END_FAILED]), "again_expired",
	    count(n->again[SCHED_END_EXPIRED]), "again_postponed",
	    count(n->again[SCHED_END_POSTPONED]), "copies", count(n->copies),
	    "audits_agreed", count(n->agreed), "audits_skipped",
	    count(n->skipped), "bytes_read", count(n->read), "bytes_fetched",
	    count(n->fetched), "pushes", count(n->pushes.layers),
	    "layers_pushed", count(n->pushes.done), "layers_uploaded",
	    count(n->pushes.uploaded), "layers_mounted",
	    count(n->pushes.mounted), "pushes_left", count(n->pushes.left),
	    "uploads_failed", count(n->pushes.failed), "bytes_uploaded",
	    count(n->pushes.uploaded_bytes));
}

void
progress_json_tell(struct progress *p)
{
	progress_count_hosts(p);
	json_line(json_pack("{s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}",
	    "event", "progress", "phase", p->phase, "bytes",
	    count(progress_bytes_now(p)), "bytes_total", count(p->bytes),
	    "jobs_done", count(p->jobs_done), "jobs", count(p->jobs), "hosts",
	    count(p->hosts_up), "workers", count(p->workers_up), "jobs_running",
	    count(p->n_running), "by_host", hosts_list(p), "running",
	    running_list(p), "totals", events_value(p)));
}

void
progress_json_summary(
    const struct progress *p, const struct progress_summary *s)
{
	char id[DIGEST_TEXT_SIZE], text[PROGRESS_TARGET_MAX];
	struct progress_sums n;
	json_t *to = json_array();

	progress_text_sums(s->image, &n);
	digest_text(&s->image->id, id);
	for (size_t i = 0; i < s->n_targets; i++) {
		progress_text_target(&s->targets[i], text, sizeof(text));
		json_array_append_new(to, json_text(text));
	}
	json_line(json_pack("{s:s,s:s,s:s,s:s,s:I,s:o,s:o,s:f,s:o,s:o}",
	    "event", "summary", "image_id", id, "name", s->image->name, "tag",
	    s->image->tag, "layers", (json_int_t)s->image->n_layers, "tar_size",
	    count(n.tar_size), "size", count(n.size), "seconds", s->seconds,
	    "to", to, "totals", events_value(p)));
}
