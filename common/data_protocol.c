#include "data_protocol.h"

#include <inttypes.h>
#include <string.h>

#include "wire.h"

/* Shared pieces of bodies. */

static void
get_id(struct wire_in *in, struct data_id *id)
{
	id->job = wire_get_uint(in, UINT64_MAX);
	id->attempt = wire_get_uint(in, UINT64_MAX);
}

static void
put_id(struct wire_out *out, const struct data_id *id)
{
	wire_put_uint(out, id->job);
	wire_put_uint(out, id->attempt);
}

static uint64_t
get_offset(struct wire_in *in)
{
	uint64_t v = wire_get_uint(in, INT64_MAX);

	if (!in->bad && v % DATA_CHUNK != 0)
		wire_fault(in, "is %" PRIu64 ", where no chunk starts", v);
	return in->bad ? 0 : v;
}

/* One pair a message: get_, put_. */

static void
get_data_hello(struct wire_in *in, struct data_msg_data_hello *m)
{
	wire_get_bytes(in, m->token, sizeof(m->token));
}

static void
put_data_hello(struct wire_out *out, const struct data_msg_data_hello *m)
{
	wire_put_head(out, DATA_MSG_HELLO, 1);
	wire_put_bytes(out, m->token, sizeof(m->token));
}

static void
get_pull(struct wire_in *in, struct data_msg_pull *m)
{
	get_id(in, &m->id);
	m->form = (enum data_form)wire_get_uint(in, DATA_BLOB);
	m->pull = wire_get_uint(in, UINT64_MAX);
	m->offset = get_offset(in);
	m->chunks = wire_get_uint(in, DATA_WINDOW_MAX);
	if (!in->bad && m->chunks == 0)
		wire_fault(in, "is no credit");
}

static void
put_pull(struct wire_out *out, const struct data_msg_pull *m)
{
	wire_put_head(out, DATA_MSG_PULL, 6);
	put_id(out, &m->id);
	wire_put_uint(out, m->form);
	wire_put_uint(out, m->pull);
	wire_put_uint(out, m->offset);
	wire_put_uint(out, m->chunks);
}

static void
get_chunk(struct wire_in *in, struct data_msg_chunk *m)
{
	get_id(in, &m->id);
	m->form = (enum data_form)wire_get_uint(in, DATA_BLOB);
	m->pull = wire_get_uint(in, UINT64_MAX);
	m->offset = get_offset(in);
	m->bytes = wire_get_bin(in, DATA_CHUNK, &m->len);
	if (!in->bad && m->len == 0)
		wire_fault(in, "is empty");
}

static void
put_chunk(struct wire_out *out, const struct data_msg_chunk *m)
{
	wire_put_head(out, DATA_MSG_CHUNK, 6);
	put_id(out, &m->id);
	wire_put_uint(out, m->form);
	wire_put_uint(out, m->pull);
	wire_put_uint(out, m->offset);
	wire_put_bytes(out, m->bytes, m->len);
}

static void
get_pull_fail(struct wire_in *in, struct data_msg_pull_fail *m)
{
	get_id(in, &m->id);
	m->form = (enum data_form)wire_get_uint(in, DATA_BLOB);
	m->pull = wire_get_uint(in, UINT64_MAX);
	m->kind = (enum err_kind)wire_get_range(in, ERR_RETRY, ERR_JOB);
	m->sys = (int)wire_get_uint(in, WIRE_ERRNO_MAX);
	m->text = wire_get_str(in, WIRE_TEXT_MAX);
}

static void
put_pull_fail(struct wire_out *out, const struct data_msg_pull_fail *m)
{
	wire_put_head(out, DATA_MSG_PULL_FAIL, 7);
	put_id(out, &m->id);
	wire_put_uint(out, m->form);
	wire_put_uint(out, m->pull);
	wire_put_uint(out, m->kind);
	wire_put_uint(out, (uint64_t)m->sys);
	wire_put_str(out, m->text);
}

static void
get_committed(struct wire_in *in, struct data_msg_committed *m)
{
	get_id(in, &m->id);
}

static void
put_committed(struct wire_out *out, const struct data_msg_committed *m)
{
	wire_put_head(out, DATA_MSG_COMMITTED, 2);
	put_id(out, &m->id);
}

static void
get_drop(struct wire_in *in, struct data_msg_drop *m)
{
	get_id(in, &m->id);
}

static void
put_drop(struct wire_out *out, const struct data_msg_drop *m)
{
	wire_put_head(out, DATA_MSG_DROP, 2);
	put_id(out, &m->id);
}

static void
get_released(struct wire_in *in, struct data_msg_released *m)
{
	get_id(in, &m->id);
}

static void
put_released(struct wire_out *out, const struct data_msg_released *m)
{
	wire_put_head(out, DATA_MSG_RELEASED, 2);
	put_id(out, &m->id);
}

static void
get_body(struct wire_in *in, uint64_t type, void *out)
{
	struct data_msg *m = out;

	m->type = (enum data_msg_type)(type <= UINT8_MAX ? type : 0);
	switch (m->type) {
#define X(name, no, body)                                                      \
	case name:                                                             \
		in->message = #body;                                           \
		get_##body(in, &m->body);                                      \
		break;
		DATA_MSG_TYPES(X)
#undef X
	default:
		wire_fault(in, "is %" PRIu64 ", no type of data message", type);
	}
}

int
data_msg_decode(
    const void *data, size_t len, struct data_msg *out, struct err *e)
{
	static const struct wire_form form = {
	    "data message", DATA_MSG_SIZE_MAX, get_body};
	struct data_msg m = {0};

	memset(out, 0, sizeof(*out));
	if (wire_decode(&form, data, len, &m, &m.zone, e) < 0)
		return -1;
	*out = m;
	return 0;
}

void
data_msg_clear(struct data_msg *m)
{
	wire_zone_freep(&m->zone);
	memset(m, 0, sizeof(*m));
}

int
data_msg_encode(const struct data_msg *m, msgpack_sbuffer *out, struct err *e)
{
	size_t start = out->size;
	struct wire_out wire;

	wire_out_init(&wire, out);
	switch (m->type) {
#define X(name, no, body)                                                      \
	case name:                                                             \
		put_##body(&wire, &m->body);                                   \
		break;
		DATA_MSG_TYPES(X)
#undef X
	}
	return wire_out_end(
	    &wire, start, DATA_MSG_SIZE_MAX, data_msg_name(m->type), e);
}

const char *
data_msg_name(enum data_msg_type type)
{
	switch (type) {
#define X(name, no, body)                                                      \
	case name:                                                             \
		return &#name[9];
		DATA_MSG_TYPES(X)
#undef X
	}
	return "?";
}

const char *
data_form_name(enum data_form form)
{
	return form == DATA_TAR ? "tar" : "blob";
}
