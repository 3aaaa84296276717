#include "progress/progress_state.h"

#include <stdio.h>
#include <string.h>

#include "digest.h"
#include "text/human.h"
#include "image/image.h"
#include "output/output.h"
#include "log.h"
#include "progress/progress.h"

/* Hosts that a line names. */
#define HOSTS_MAX 8

void
progress_plain_done(const struct progress *p, size_t worker, const char *label,
    uint64_t bytes, double seconds)
{
	char size[HUMAN_MAX], time[HUMAN_MAX];

	human_bytes(bytes, size);
	human_seconds(seconds, time);
	log_line(LOG_INFO, "%zu/%zu: %s: %s in %s by %s", p->jobs_done, p->jobs,
	    label, size, time, progress_worker_name(p, worker));
}

void
progress_plain_again(const struct progress *p, size_t worker, const char *label,
    uint64_t attempt, const char *why)
{
	log_line(LOG_INFO, "again (%s): %s, attempt %llu, by %s", why, label,
	    (unsigned long long)attempt, progress_worker_name(p, worker));
}

/* "; builder-1: 2 workers, 3 layers; builder-2: ..." */
static void
tell_hosts(const struct progress *p, char *out, size_t size)
{
	size_t told = 0, left = 0, len = 0;
	char text[64];

	*out = '\0';
	for (size_t i = 0; i < p->n_hosts; i++) {
		const struct seen_host *h = &p->host[i];

		if (h->workers == 0)
			continue;
		if (told == HOSTS_MAX || len + sizeof(h->name) + 64 > size) {
			left++;
			continue;
		}
		progress_text_host(h, text, sizeof(text));
		len += (size_t)snprintf(
		    out + len, size - len, "; %s: %s", h->name, text);
		told++;
	}
	if (left > 0)
		snprintf(out + len, size - len, "; and %zu hosts more", left);
}

void
progress_plain_tell(struct progress *p)
{
	char done[HUMAN_MAX], total[HUMAN_MAX], events[256], hosts[1400];

	progress_count_hosts(p);
	human_bytes(progress_bytes_now(p), done);
	human_bytes(p->bytes, total);
	progress_text_events(p, events, sizeof(events));
	tell_hosts(p, hosts, sizeof(hosts));
	log_line(LOG_INFO, "%zu/%zu: %s of %s%s%s%s", p->jobs_done, p->jobs,
	    done, total, *events != '\0' ? "; " : "", events, hosts);
}

static void
tell_events(const struct progress *p)
{
	char events[256];

	progress_text_events(p, events, sizeof(events));
	if (*events != '\0')
		log_line(LOG_INFO, "work     %s", events);
}

void
progress_plain_summary(
    const struct progress *p, const struct progress_summary *s)
{
	char id[DIGEST_TEXT_SIZE], tar[HUMAN_MAX], blobs[HUMAN_MAX],
	    rate[HUMAN_MAX], time[HUMAN_MAX], text[PROGRESS_TARGET_MAX];
	struct progress_sums n;

	progress_text_sums(s->image, &n);
	digest_text(&s->image->id, id);
	human_bytes(n.tar_size, tar);
	human_bytes(n.size, blobs);
	human_bytes(
	    s->seconds > 0 ? (uint64_t)((double)n.tar_size / s->seconds) : 0,
	    rate);
	human_seconds(s->seconds, time);
	log_line(LOG_INFO, "image    %s:%s", s->image->name, s->image->tag);
	log_line(LOG_INFO, "%s", id);
	log_line(LOG_INFO,
	    "layers   %zu from %zu store paths, %s of tar, %s as "
	    "blobs",
	    s->image->n_layers, n.paths, tar, blobs);
	if (n.known > 0)
		log_line(LOG_INFO, "known    %zu of them from before", n.known);
	tell_events(p);
	log_line(LOG_INFO, "time     %s, %s/s", time, rate);
	for (size_t i = 0; i < s->n_targets; i++) {
		progress_text_target(&s->targets[i], text, sizeof(text));
		log_line(LOG_INFO, "to       %s", text);
	}
}
