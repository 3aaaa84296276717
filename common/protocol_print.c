#include "protocol.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void
print_hello(const struct msg_hello *m, char *out, size_t size)
{
	snprintf(out, size,
	    "protocol %" PRIu64 " program %s host %s pid %" PRIu64
	    " slots %" PRIu64 " gzip '%s' zstd '%s' session %" PRIx64
	    " holds %zu%s speeds %" PRIu64 " %" PRIu64 " %" PRIu64,
	    m->protocol, m->program, m->host, m->pid, m->slots, m->gzip,
	    m->zstd, m->session, m->n_held, m->fetches ? " fetches" : "",
	    m->speed[ENCODING_NONE], m->speed[ENCODING_GZIP],
	    m->speed[ENCODING_ZSTD]);
}

static void
print_welcome(const struct msg_welcome *m, char *out, size_t size)
{
	/* Not the token: who has it can speak for the worker. */
	snprintf(out, size,
	    "protocol %" PRIu64 " beat_ms %" PRIu64 " session %" PRIx64
	    " data '%s' pushes to '%.200s'",
	    m->protocol, m->beat_ms, m->session, m->data, m->push_to);
}

static void
print_refuse(const struct msg_refuse *m, char *out, size_t size)
{
	snprintf(out, size, "%s", m->text);
}

static void
print_job(const struct msg_job *m, char *out, size_t size)
{
	snprintf(out, size,
	    "%" PRIu64 " attempt %" PRIu64 " items %" PRIu64
	    " source %d%s%s encoding %s:%d outputs %zu",
	    m->job, m->attempt, m->n_items, (int)m->spec.source,
	    m->spec.measure ? " measure" : "", m->spec.verify ? " verify" : "",
	    encoding_name(m->spec.encoding.kind), m->spec.encoding.level,
	    m->spec.n_outputs);
}

static void
print_items(const struct msg_items *m, char *out, size_t size)
{
	snprintf(out, size, "%" PRIu64 " attempt %" PRIu64 " n %zu", m->job,
	    m->attempt, m->n);
}

static void
print_entries(const struct msg_entries *m, char *out, size_t size)
{
	snprintf(out, size, "%" PRIu64 " attempt %" PRIu64 " n %zu", m->job,
	    m->attempt, m->n);
}

static void
print_cancel(const struct msg_cancel *m, char *out, size_t size)
{
	snprintf(out, size, "%" PRIu64 " attempt %" PRIu64, m->job, m->attempt);
}

static void
print_beat(const struct msg_beat *m, char *out, size_t size)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < m->n; i++)
		bytes += m->progress[i].bytes;
	snprintf(out, size, "running %zu bytes %" PRIu64, m->n, bytes);
}

static void
print_sized(const struct msg_sized *m, char *out, size_t size)
{
	snprintf(out, size,
	    "%" PRIu64 " attempt %" PRIu64 " tar_size %" PRIu64
	    " entries %" PRIu64,
	    m->job, m->attempt, m->tar_size, m->entries);
}

static void
print_done(const struct msg_done *m, char *out, size_t size)
{
	char hex[DIGEST_HEX_LEN + 1];

	digest_hex(&m->result.diff_id, hex);
	snprintf(out, size,
	    "%" PRIu64 " attempt %" PRIu64 " diff_id %s tar_size %" PRIu64
	    " size %" PRIu64 " cpu_us %" PRIu64 " read %" PRIu64
	    " fetched %" PRIu64 " stream %d",
	    m->job, m->attempt, hex, m->result.tar_size, m->result.size,
	    m->cpu_us, m->result.bytes_read, m->result.fetched, (int)m->stream);
}

static void
print_fail(const struct msg_fail *m, char *out, size_t size)
{
	snprintf(out, size, "%" PRIu64 " attempt %" PRIu64 " %s: %s", m->job,
	    m->attempt, m->kind == ERR_JOB ? "job" : "retry", m->text);
}

static void
print_bye(const struct msg_bye *m, char *out, size_t size)
{
	snprintf(out, size, "reason %" PRIu64, m->reason);
}

static void
print_postpone(const struct msg_postpone *m, char *out, size_t size)
{
	snprintf(out, size, "%" PRIu64 " attempt %" PRIu64 ": %s", m->job,
	    m->attempt, m->text);
}

static void
print_probe(const struct msg_probe *m, char *out, size_t size)
{
	snprintf(out, size, "%" PRIu64 " %s/%s", m->probe, m->folder, m->name);
}

static void
print_probed(const struct msg_probed *m, char *out, size_t size)
{
	snprintf(out, size, "%" PRIu64 " sys %" PRIu64 " %s", m->probe, m->sys,
	    m->text);
}

static void
print_who(const struct msg_who *m, char *out, size_t size)
{
	(void)m;
	snprintf(out, size, "are you");
}

static void
print_ask(const struct msg_ask *m, char *out, size_t size)
{
	char hex[DIGEST_HEX_LEN + 1];

	digest_hex(&m->list, hex);
	snprintf(out, size, "%" PRIu64 " list %.16s n %" PRIu64 " %s%s", m->ask,
	    hex, m->n, m->store_root, m->store_dir);
}

static void
print_want(const struct msg_want *m, char *out, size_t size)
{
	snprintf(
	    out, size, "%" PRIu64 " from %" PRIu64 " on", m->ask, m->first);
}

static void
print_paths(const struct msg_paths *m, char *out, size_t size)
{
	snprintf(out, size, "%" PRIu64 " first %" PRIu64 " n %zu", m->ask,
	    m->first, m->n);
}

static void
print_have(const struct msg_have *m, char *out, size_t size)
{
	snprintf(out, size,
	    "%" PRIu64 " sys %" PRIu64 " first %" PRIu64 " bytes %zu", m->ask,
	    m->sys, m->first, m->n);
}

static void
print_client(const struct msg_client *m, char *out, size_t size)
{
	snprintf(out, size,
	    "protocol %" PRIu64 " program %s host %s pid %" PRIu64
	    " image '%s' gzip '%s' zstd '%s' session %" PRIx64,
	    m->protocol, m->program, m->host, m->pid, m->image, m->gzip,
	    m->zstd, m->session);
}

static void
print_made(const struct msg_made *m, char *out, size_t size)
{
	snprintf(out, size,
	    "%" PRIu64 " attempt %" PRIu64 " by %s in %" PRIu64 " ms", m->job,
	    m->attempt, m->worker, m->ms);
}

static void
print_status(const struct msg_status *m, char *out, size_t size)
{
	snprintf(out, size, "%" PRIu64, m->request);
}

static void
print_state(const struct msg_state *m, char *out, size_t size)
{
	/* Not the text: it has many lines. */
	snprintf(
	    out, size, "%" PRIu64 " of %zu bytes", m->request, strlen(m->text));
}

static void
print_push(const struct msg_push *m, char *out, size_t size)
{
	char hex[DIGEST_HEX_LEN + 1];

	digest_hex(&m->digest, hex);
	snprintf(out, size,
	    "%" PRIu64 " to %" PRIu64 " job %" PRIu64 " attempt %" PRIu64
	    " sha256:%s of %" PRIu64 " bytes %s",
	    m->push, m->place, m->job, m->attempt, hex, m->size, m->file);
}

static void
print_pushed(const struct msg_pushed *m, char *out, size_t size)
{
	snprintf(out, size, "%" PRIu64 "%s throttled %" PRIu64 " %s", m->push,
	    m->uploaded ? " uploaded" : "", m->throttled, m->text);
}

static void
print_token(const struct msg_token *m, char *out, size_t size)
{
	/* Not the token. */
	snprintf(out, size,
	    "%" PRIu64 " serial %" PRIu64 " for %s/%s%s%s stall %" PRIu64,
	    m->place, m->serial, m->base, m->repo,
	    *m->authorities != '\0' ? " own authorities" : "",
	    m->insecure ? " insecure" : "", m->stall_s);
}

static void
print_expired(const struct msg_expired *m, char *out, size_t size)
{
	snprintf(out, size, "%" PRIu64 " serial %" PRIu64, m->place, m->serial);
}

void
msg_print(const struct msg *m, char *out, size_t size)
{
	const char *name = msg_name(m->type);
	int n = snprintf(out, size, "%s ", name);

	if (n < 0 || (size_t)n >= size)
		return;
	out += n;
	size -= (size_t)n;
	switch (m->type) {
#define X(name, no, body)                                                      \
	case name:                                                             \
		print_##body(&m->body, out, size);                             \
		break;
		MSG_TYPES(X)
#undef X
	}
}
