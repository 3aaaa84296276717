#include "protocol.h"

#include <inttypes.h>
#include <string.h>

#include "protocol_bodies.h"
#include "wire.h"

/* Shared pieces of bodies. */

static const char *
get_absolute(struct wire_in *in)
{
	const char *s = wire_get_str(in, MSG_PATH_MAX);

	if (!in->bad && *s != '/')
		wire_fault(in, "is not an absolute path");
	return s;
}

static void
get_digest(struct wire_in *in, struct digest *d)
{
	wire_get_bytes(in, d->b, sizeof(d->b));
}

static void
put_digest(struct wire_out *out, const struct digest *d)
{
	wire_put_bytes(out, d->b, sizeof(d->b));
}

/* One pair a message: get_, put_. */

static void
get_hello(struct wire_in *in, struct msg_hello *m)
{
	m->protocol = wire_get_uint(in, UINT64_MAX);
	m->program = wire_get_str(in, MSG_NAME_MAX);
	m->host = wire_get_str(in, MSG_NAME_MAX);
	m->pid = wire_get_uint(in, INT32_MAX);
	m->slots = wire_get_range(in, 1, MSG_SLOTS_MAX);
	m->gzip = wire_get_str(in, MSG_NAME_MAX);
	m->zstd = wire_get_str(in, MSG_NAME_MAX);
	wire_get_bytes(in, m->instance, sizeof(m->instance));
	m->session = wire_get_uint(in, UINT64_MAX);
	get_held(in, m);
	m->fetches = wire_get_bool(in);
	for (size_t i = 0; i < ENCODING_KINDS; i++)
		m->speed[i] = wire_get_uint(in, MSG_SPEED_MAX);
}

static void
put_hello(struct wire_out *out, const struct msg_hello *m)
{
	wire_put_head(out, MSG_HELLO, 11 + ENCODING_KINDS);
	wire_put_uint(out, m->protocol);
	wire_put_str(out, m->program);
	wire_put_str(out, m->host);
	wire_put_uint(out, m->pid);
	wire_put_uint(out, m->slots);
	wire_put_str(out, m->gzip);
	wire_put_str(out, m->zstd);
	wire_put_bytes(out, m->instance, sizeof(m->instance));
	wire_put_uint(out, m->session);
	put_held(out, m);
	wire_put_bool(out, m->fetches);
	for (size_t i = 0; i < ENCODING_KINDS; i++)
		wire_put_uint(out, m->speed[i]);
}

static void
get_welcome(struct wire_in *in, struct msg_welcome *m)
{
	m->protocol = wire_get_uint(in, UINT64_MAX);
	m->beat_ms = wire_get_range(in, 1, MSG_BEAT_MS_MAX);
	m->session = wire_get_uint(in, UINT64_MAX);
	m->data = wire_get_str(in, MSG_PATH_MAX);
	wire_get_bytes(in, m->token, sizeof(m->token));
	m->push_to = wire_get_str(in, MSG_PUSH_TO_MAX);
}

static void
put_welcome(struct wire_out *out, const struct msg_welcome *m)
{
	wire_put_head(out, MSG_WELCOME, 6);
	wire_put_uint(out, m->protocol);
	wire_put_uint(out, m->beat_ms);
	wire_put_uint(out, m->session);
	wire_put_str(out, m->data);
	wire_put_bytes(out, m->token, sizeof(m->token));
	wire_put_str(out, m->push_to);
}

static void
get_refuse(struct wire_in *in, struct msg_refuse *m)
{
	m->text = wire_get_str(in, WIRE_TEXT_MAX);
}

static void
put_refuse(struct wire_out *out, const struct msg_refuse *m)
{
	wire_put_head(out, MSG_REFUSE, 1);
	wire_put_str(out, m->text);
}

static void
get_output(struct wire_in *in, struct layer_output *o)
{
	struct wire_in outer;
	bool spool;

	wire_enter(in, &outer, SIZE_MAX);
	o->kind =
	    (enum layer_output_kind)wire_get_uint(in, LAYER_TO_SPOOL_BLOB);
	o->path = wire_get_str(in, MSG_PATH_MAX);
	spool = o->kind == LAYER_TO_SPOOL_TAR || o->kind == LAYER_TO_SPOOL_BLOB;
	if (!in->bad && spool != (*o->path == '\0'))
		wire_fault(in, spool ? "is a path" : "is empty");
	o->offset = wire_get_uint(in, INT64_MAX);
	o->size = wire_get_uint(in, LAYER_SIZE_UNKNOWN);
	if (o->size > INT64_MAX && o->size != LAYER_SIZE_UNKNOWN)
		wire_fault(in, "is no size");
	wire_leave(in, &outer);
}

static void
put_output(struct wire_out *out, const struct layer_output *o)
{
	wire_put_array(out, 4);
	wire_put_uint(out, o->kind);
	wire_put_str(out, o->path);
	wire_put_uint(out, o->offset);
	wire_put_uint(out, o->size);
}

static void
get_encoding(struct wire_in *in, struct encoding *enc)
{
	struct err e = ERR_INIT;

	enc->kind = (enum encoding_kind)wire_get_uint(in, ENCODING_ZSTD);
	enc->level = (int)wire_get_uint(in, INT16_MAX);
	if (!in->bad && encoding_check(enc, &e) < 0)
		wire_fault(in, "does not fit: %s", e.text);
}

static void
get_job(struct wire_in *in, struct msg_job *m)
{
	struct layer_spec *s = &m->spec;
	struct wire_in outer;

	m->job = wire_get_uint(in, UINT64_MAX);
	m->attempt = wire_get_uint(in, UINT64_MAX);
	m->n_items = wire_get_uint(in, MSG_ITEMS_MAX);
	s->source = (enum layer_source)wire_get_uint(in, LAYER_FROM_FILE);
	if (s->source == LAYER_FROM_FILE && m->n_items != 0)
		wire_fault(in, "is a file, but items are announced");
	s->dialect = (enum tar_dialect)wire_get_uint(in, TAR_GNU);
	s->measure = wire_get_bool(in);
	s->verify = wire_get_bool(in);
	s->store_dir = get_absolute(in);
	s->store_root = wire_get_str(in, MSG_PATH_MAX);
	s->mtime = wire_get_int(in);
	s->uid = wire_get_uint(in, UINT64_MAX);
	s->gid = wire_get_uint(in, UINT64_MAX);
	s->uname = wire_get_str(in, MSG_NAME_MAX);
	s->gname = wire_get_str(in, MSG_NAME_MAX);
	get_encoding(in, &s->encoding);
	s->file = wire_get_str(in, MSG_PATH_MAX);
	if (!in->bad && (s->source == LAYER_FROM_FILE) != (*s->file != '\0'))
		wire_fault(in, "does not fit the job's source");
	s->n_outputs = wire_enter(in, &outer, LAYER_OUTPUTS_MAX);
	for (size_t i = 0; i < s->n_outputs && !in->bad; i++)
		get_output(in, &s->outputs[i]);
	wire_leave(in, &outer);
	m->stream = wire_get_uint(in, MSG_PUSH_PLACES);
}

static void
put_job(struct wire_out *out, const struct msg_job *m)
{
	const struct layer_spec *s = &m->spec;

	wire_put_head(out, MSG_JOB, 19);
	wire_put_uint(out, m->job);
	wire_put_uint(out, m->attempt);
	wire_put_uint(out, m->n_items);
	wire_put_uint(out, s->source);
	wire_put_uint(out, s->dialect);
	wire_put_bool(out, s->measure);
	wire_put_bool(out, s->verify);
	wire_put_str(out, s->store_dir);
	wire_put_str(out, s->store_root);
	wire_put_int(out, s->mtime);
	wire_put_uint(out, s->uid);
	wire_put_uint(out, s->gid);
	wire_put_str(out, s->uname);
	wire_put_str(out, s->gname);
	wire_put_uint(out, s->encoding.kind);
	wire_put_uint(out, (uint64_t)s->encoding.level);
	wire_put_str(out, s->file);
	wire_put_array(out, s->n_outputs);
	for (size_t i = 0; i < s->n_outputs; i++)
		put_output(out, &s->outputs[i]);
	wire_put_uint(out, m->stream);
}

static void
get_item(struct wire_in *in, struct layer_item *item)
{
	struct wire_in outer;

	wire_enter(in, &outer, SIZE_MAX);
	item->path = get_absolute(in);
	item->has_hash = wire_get_bool(in);
	get_digest(in, &item->nar_hash);
	item->nar_size = wire_get_uint(in, INT64_MAX);
	wire_leave(in, &outer);
}

static void
get_items(struct wire_in *in, struct msg_items *m)
{
	struct wire_in outer;

	m->job = wire_get_uint(in, UINT64_MAX);
	m->attempt = wire_get_uint(in, UINT64_MAX);
	m->n = wire_enter(in, &outer, MSG_PART_ITEMS_MAX);
	m->item = wire_alloc(in, m->n, sizeof(*m->item));
	for (size_t i = 0; i < m->n && !in->bad; i++)
		get_item(in, &m->item[i]);
	wire_leave(in, &outer);
}

static void
put_items(struct wire_out *out, const struct msg_items *m)
{
	static const struct digest none;

	wire_put_head(out, MSG_ITEMS, 3);
	wire_put_uint(out, m->job);
	wire_put_uint(out, m->attempt);
	wire_put_array(out, m->n);
	for (size_t i = 0; i < m->n; i++) {
		const struct layer_item *item = &m->item[i];

		wire_put_array(out, 4);
		wire_put_str(out, item->path);
		wire_put_bool(out, item->has_hash);
		put_digest(out, item->has_hash ? &item->nar_hash : &none);
		wire_put_uint(out, item->has_hash ? item->nar_size : 0);
	}
}

static enum tar_type
get_tar_type(struct wire_in *in)
{
	uint64_t v = wire_get_uint(in, UINT8_MAX);

	if (v != TAR_REGULAR && v != TAR_SYMLINK && v != TAR_DIRECTORY)
		wire_fault(in, "is %" PRIu64 ", no type of tar entry", v);
	return (enum tar_type)v;
}

static void
get_entry(struct wire_in *in, struct layer_entry *entry)
{
	struct wire_in outer;

	wire_enter(in, &outer, SIZE_MAX);
	entry->name = get_absolute(in);
	entry->type = get_tar_type(in);
	entry->mode = (uint32_t)wire_get_uint(in, 07777);
	entry->uid = wire_get_uint(in, UINT64_MAX);
	entry->gid = wire_get_uint(in, UINT64_MAX);
	entry->target = wire_get_str(in, MSG_PATH_MAX);
	if (!in->bad &&
	    (entry->type == TAR_DIRECTORY) != (*entry->target == '\0'))
		wire_fault(in, "does not fit the entry's type");
	wire_leave(in, &outer);
}

static void
get_entries(struct wire_in *in, struct msg_entries *m)
{
	struct wire_in outer;

	m->job = wire_get_uint(in, UINT64_MAX);
	m->attempt = wire_get_uint(in, UINT64_MAX);
	m->n = wire_enter(in, &outer, MSG_PART_ITEMS_MAX);
	m->entry = wire_alloc(in, m->n, sizeof(*m->entry));
	for (size_t i = 0; i < m->n && !in->bad; i++)
		get_entry(in, &m->entry[i]);
	wire_leave(in, &outer);
}

static void
put_entries(struct wire_out *out, const struct msg_entries *m)
{
	wire_put_head(out, MSG_ENTRIES, 3);
	wire_put_uint(out, m->job);
	wire_put_uint(out, m->attempt);
	wire_put_array(out, m->n);
	for (size_t i = 0; i < m->n; i++) {
		const struct layer_entry *entry = &m->entry[i];

		wire_put_array(out, 6);
		wire_put_str(out, entry->name);
		wire_put_uint(out, entry->type);
		wire_put_uint(out, entry->mode);
		wire_put_uint(out, entry->uid);
		wire_put_uint(out, entry->gid);
		wire_put_str(out, entry->target);
	}
}

static void
get_cancel(struct wire_in *in, struct msg_cancel *m)
{
	m->job = wire_get_uint(in, UINT64_MAX);
	m->attempt = wire_get_uint(in, UINT64_MAX);
}

static void
put_cancel(struct wire_out *out, const struct msg_cancel *m)
{
	wire_put_head(out, MSG_CANCEL, 2);
	wire_put_uint(out, m->job);
	wire_put_uint(out, m->attempt);
}

static void
get_beat(struct wire_in *in, struct msg_beat *m)
{
	struct wire_in outer, list;

	m->n = wire_enter(in, &list, MSG_SLOTS_MAX);
	m->progress = wire_alloc(in, m->n, sizeof(*m->progress));
	for (size_t i = 0; i < m->n && !in->bad; i++) {
		wire_enter(in, &outer, SIZE_MAX);
		m->progress[i].job = wire_get_uint(in, UINT64_MAX);
		m->progress[i].attempt = wire_get_uint(in, UINT64_MAX);
		m->progress[i].bytes = wire_get_uint(in, INT64_MAX);
		wire_leave(in, &outer);
	}
	wire_leave(in, &list);
}

static void
put_beat(struct wire_out *out, const struct msg_beat *m)
{
	wire_put_head(out, MSG_BEAT, 1);
	wire_put_array(out, m->n);
	for (size_t i = 0; i < m->n; i++) {
		wire_put_array(out, 3);
		wire_put_uint(out, m->progress[i].job);
		wire_put_uint(out, m->progress[i].attempt);
		wire_put_uint(out, m->progress[i].bytes);
	}
}

static void
get_sized(struct wire_in *in, struct msg_sized *m)
{
	m->job = wire_get_uint(in, UINT64_MAX);
	m->attempt = wire_get_uint(in, UINT64_MAX);
	m->tar_size = wire_get_uint(in, INT64_MAX);
	m->entries = wire_get_uint(in, INT64_MAX);
}

static void
put_sized(struct wire_out *out, const struct msg_sized *m)
{
	wire_put_head(out, MSG_SIZED, 4);
	wire_put_uint(out, m->job);
	wire_put_uint(out, m->attempt);
	wire_put_uint(out, m->tar_size);
	wire_put_uint(out, m->entries);
}

static void
get_done(struct wire_in *in, struct msg_done *m)
{
	m->job = wire_get_uint(in, UINT64_MAX);
	m->attempt = wire_get_uint(in, UINT64_MAX);
	get_digest(in, &m->result.diff_id);
	m->result.tar_size = wire_get_uint(in, INT64_MAX);
	get_digest(in, &m->result.digest);
	m->result.size = wire_get_uint(in, INT64_MAX);
	m->result.entries = wire_get_uint(in, INT64_MAX);
	m->result.bytes_read = wire_get_uint(in, INT64_MAX);
	m->cpu_us = wire_get_uint(in, INT64_MAX);
	m->result.fetched = wire_get_uint(in, INT64_MAX);
	m->result.fetch_us = wire_get_uint(in, INT64_MAX);
	m->stream = (enum layer_stream)wire_get_uint(in, LAYER_STREAM_BROKEN);
}

static void
put_done(struct wire_out *out, const struct msg_done *m)
{
	wire_put_head(out, MSG_DONE, 12);
	wire_put_uint(out, m->job);
	wire_put_uint(out, m->attempt);
	put_digest(out, &m->result.diff_id);
	wire_put_uint(out, m->result.tar_size);
	put_digest(out, &m->result.digest);
	wire_put_uint(out, m->result.size);
	wire_put_uint(out, m->result.entries);
	wire_put_uint(out, m->result.bytes_read);
	wire_put_uint(out, m->cpu_us);
	wire_put_uint(out, m->result.fetched);
	wire_put_uint(out, m->result.fetch_us);
	wire_put_uint(out, m->stream);
}

static void
get_fail(struct wire_in *in, struct msg_fail *m)
{
	m->job = wire_get_uint(in, UINT64_MAX);
	m->attempt = wire_get_uint(in, UINT64_MAX);
	m->kind = (enum err_kind)wire_get_range(in, ERR_RETRY, ERR_JOB);
	m->sys = (int)wire_get_uint(in, WIRE_ERRNO_MAX);
	m->text = wire_get_str(in, WIRE_TEXT_MAX);
	m->read = wire_get_uint(in, INT64_MAX);
}

static void
put_fail(struct wire_out *out, const struct msg_fail *m)
{
	wire_put_head(out, MSG_FAIL, 6);
	wire_put_uint(out, m->job);
	wire_put_uint(out, m->attempt);
	wire_put_uint(out, m->kind);
	wire_put_uint(out, (uint64_t)m->sys);
	wire_put_str(out, m->text);
	wire_put_uint(out, m->read);
}

static void
get_bye(struct wire_in *in, struct msg_bye *m)
{
	m->reason = wire_get_uint(in, 1);
}

static void
put_bye(struct wire_out *out, const struct msg_bye *m)
{
	wire_put_head(out, MSG_BYE, 1);
	wire_put_uint(out, m->reason);
}

static void
get_who(struct wire_in *in, struct msg_who *m)
{
	(void)in;
	m->nothing = 0;
}

static void
put_who(struct wire_out *out, const struct msg_who *m)
{
	(void)m;
	wire_put_head(out, MSG_WHO, 0);
}

static void
get_body(struct wire_in *in, uint64_t type, void *out)
{
	struct msg *m = out;

	m->type = (enum msg_type)(type <= UINT8_MAX ? type : 0);
	switch (m->type) {
#define X(name, no, body)                                                      \
	case name:                                                             \
		in->message = #body;                                           \
		get_##body(in, &m->body);                                      \
		break;
		MSG_TYPES(X)
#undef X
	default:
		wire_fault(in, "is %" PRIu64 ", no type of message", type);
	}
}

int
msg_decode(const void *data, size_t len, struct msg *out, struct err *e)
{
	static const struct wire_form form = {
	    "message", MSG_SIZE_MAX, get_body};
	struct msg m = {0};

	memset(out, 0, sizeof(*out));
	if (wire_decode(&form, data, len, &m, &m.zone, e) < 0)
		return -1;
	*out = m;
	return 0;
}

void
msg_clear(struct msg *m)
{
	wire_zone_freep(&m->zone);
	memset(m, 0, sizeof(*m));
}

int
msg_encode(const struct msg *m, msgpack_sbuffer *out, struct err *e)
{
	size_t start = out->size;
	struct wire_out wire;

	wire_out_init(&wire, out);
	switch (m->type) {
#define X(name, no, body)                                                      \
	case name:                                                             \
		put_##body(&wire, &m->body);                                   \
		break;
		MSG_TYPES(X)
#undef X
	}
	return wire_out_end(&wire, start, MSG_SIZE_MAX, msg_name(m->type), e);
}

const char *
msg_name(enum msg_type type)
{
	switch (type) {
#define X(name, no, body)                                                      \
	case name:                                                             \
		return &#name[4];
		MSG_TYPES(X)
#undef X
	}
	return "?";
}
