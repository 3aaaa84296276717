#include "protocol_bodies.h"

#include <assert.h>
#include <string.h>

#include "protocol.h"
#include "store_path.h"
#include "wire.h"

#define TEXT_MAX (ERR_TEXT_MAX - 1)
#define ERRNO_MAX 4095

void
get_held(struct wire_in *in, struct msg_hello *m)
{
	struct wire_in outer, list;

	m->n_held = wire_enter(in, &list, MSG_HELD_MAX);
	m->held = wire_alloc(in, m->n_held, sizeof(*m->held));
	for (size_t i = 0; i < m->n_held && !in->bad; i++) {
		wire_enter(in, &outer, SIZE_MAX);
		m->held[i].job = wire_get_uint(in, UINT64_MAX);
		m->held[i].attempt = wire_get_uint(in, UINT64_MAX);
		wire_leave(in, &outer);
	}
	wire_leave(in, &list);
}

void
put_held(struct wire_out *out, const struct msg_hello *m)
{
	wire_put_array(out, m->n_held);
	for (size_t i = 0; i < m->n_held; i++) {
		wire_put_array(out, 2);
		wire_put_uint(out, m->held[i].job);
		wire_put_uint(out, m->held[i].attempt);
	}
}

void
get_postpone(struct wire_in *in, struct msg_postpone *m)
{
	m->job = wire_get_uint(in, UINT64_MAX);
	m->attempt = wire_get_uint(in, UINT64_MAX);
	m->text = wire_get_str(in, TEXT_MAX);
}

void
put_postpone(struct wire_out *out, const struct msg_postpone *m)
{
	wire_put_array(out, 4);
	wire_put_uint(out, MSG_POSTPONE);
	wire_put_uint(out, m->job);
	wire_put_uint(out, m->attempt);
	wire_put_str(out, m->text);
}

void
get_probe(struct wire_in *in, struct msg_probe *m)
{
	m->probe = wire_get_uint(in, UINT64_MAX);
	m->folder = wire_get_str(in, MSG_PATH_MAX);
	if (!in->bad && *m->folder != '/')
		wire_fault(in, "is not an absolute path");
	m->name = wire_get_str(in, MSG_NAME_MAX);
	/* What the worker reads and writes lies in the folder itself. */
	if (!in->bad &&
	    (*m->name == '\0' || strchr(m->name, '/') != NULL ||
		strcmp(m->name, ".") == 0 || strcmp(m->name, "..") == 0))
		wire_fault(in, "is no name of a file");
	wire_get_bytes(in, m->key, sizeof(m->key));
}

void
put_probe(struct wire_out *out, const struct msg_probe *m)
{
	wire_put_array(out, 5);
	wire_put_uint(out, MSG_PROBE);
	wire_put_uint(out, m->probe);
	wire_put_str(out, m->folder);
	wire_put_str(out, m->name);
	wire_put_bytes(out, m->key, sizeof(m->key));
}

void
get_probed(struct wire_in *in, struct msg_probed *m)
{
	m->probe = wire_get_uint(in, UINT64_MAX);
	m->sys = wire_get_uint(in, ERRNO_MAX);
	m->text = wire_get_str(in, TEXT_MAX);
}

void
put_probed(struct wire_out *out, const struct msg_probed *m)
{
	wire_put_array(out, 4);
	wire_put_uint(out, MSG_PROBED);
	wire_put_uint(out, m->probe);
	wire_put_uint(out, m->sys);
	wire_put_str(out, m->text);
}

void
get_ask(struct wire_in *in, struct msg_ask *m)
{
	m->ask = wire_get_uint(in, UINT64_MAX);
	wire_get_bytes(in, m->list.b, sizeof(m->list.b));
	m->n = wire_get_uint(in, MSG_LIST_MAX);
	if (!in->bad && m->n == 0)
		wire_fault(in, "is 0, below 1");
	m->store_dir = wire_get_str(in, MSG_PATH_MAX);
	if (!in->bad && *m->store_dir != '/')
		wire_fault(in, "is not an absolute path");
	m->store_root = wire_get_str(in, MSG_PATH_MAX);
}

void
put_ask(struct wire_out *out, const struct msg_ask *m)
{
	wire_put_array(out, 6);
	wire_put_uint(out, MSG_ASK);
	wire_put_uint(out, m->ask);
	wire_put_bytes(out, m->list.b, sizeof(m->list.b));
	wire_put_uint(out, m->n);
	wire_put_str(out, m->store_dir);
	wire_put_str(out, m->store_root);
}

void
get_want(struct wire_in *in, struct msg_want *m)
{
	m->ask = wire_get_uint(in, UINT64_MAX);
	m->first = wire_get_uint(in, MSG_LIST_MAX - 1);
}

void
put_want(struct wire_out *out, const struct msg_want *m)
{
	wire_put_array(out, 3);
	wire_put_uint(out, MSG_WANT);
	wire_put_uint(out, m->ask);
	wire_put_uint(out, m->first);
}

void
get_paths(struct wire_in *in, struct msg_paths *m)
{
	const void *data;
	size_t len;

	m->ask = wire_get_uint(in, UINT64_MAX);
	m->first = wire_get_uint(in, MSG_LIST_MAX - 1);
	data = wire_get_bin(in, MSG_PATHS_MAX * STORE_PATH_KEY_SIZE, &len);
	if (!in->bad && (len == 0 || len % STORE_PATH_KEY_SIZE != 0))
		wire_fault(in, "has %zu bytes, no whole keys", len);
	m->n = in->bad ? 0 : len / STORE_PATH_KEY_SIZE;
	m->key = wire_alloc(in, m->n, sizeof(*m->key));
	if (!in->bad)
		store_path_keys_get(data, m->n, m->key);
}

void
put_paths(struct wire_out *out, const struct msg_paths *m)
{
	uint8_t data[MSG_PATHS_MAX * STORE_PATH_KEY_SIZE];

	assert(m->n <= MSG_PATHS_MAX);
	store_path_keys_put(m->key, m->n, data);
	wire_put_array(out, 4);
	wire_put_uint(out, MSG_PATHS);
	wire_put_uint(out, m->ask);
	wire_put_uint(out, m->first);
	wire_put_bytes(out, data, m->n * STORE_PATH_KEY_SIZE);
}

void
get_have(struct wire_in *in, struct msg_have *m)
{
	const void *data;

	m->ask = wire_get_uint(in, UINT64_MAX);
	m->sys = wire_get_uint(in, ERRNO_MAX);
	m->first = wire_get_uint(in, MSG_LIST_MAX - 1);
	if (!in->bad && m->first % 8 != 0)
		wire_fault(in, "is no multiple of 8");
	data = wire_get_bin(in, MSG_BITS_MAX, &m->n);
	if (!in->bad && (m->sys != 0) != (m->n == 0))
		wire_fault(in, m->n == 0 ? "is empty" : "is not empty");
	m->bits = wire_alloc(in, m->n, 1);
	if (!in->bad && m->n > 0)
		memcpy(m->bits, data, m->n);
}

void
put_have(struct wire_out *out, const struct msg_have *m)
{
	wire_put_array(out, 5);
	wire_put_uint(out, MSG_HAVE);
	wire_put_uint(out, m->ask);
	wire_put_uint(out, m->sys);
	wire_put_uint(out, m->first);
	wire_put_bytes(out, m->bits, m->n);
}

void
get_client(struct wire_in *in, struct msg_client *m)
{
	m->protocol = wire_get_uint(in, UINT64_MAX);
	m->program = wire_get_str(in, MSG_NAME_MAX);
	m->host = wire_get_str(in, MSG_NAME_MAX);
	m->pid = wire_get_uint(in, INT32_MAX);
	m->image = wire_get_str(in, MSG_NAME_MAX);
	m->gzip = wire_get_str(in, MSG_NAME_MAX);
	m->zstd = wire_get_str(in, MSG_NAME_MAX);
	wire_get_bytes(in, m->instance, sizeof(m->instance));
	m->session = wire_get_uint(in, UINT64_MAX);
}

void
put_client(struct wire_out *out, const struct msg_client *m)
{
	wire_put_array(out, 10);
	wire_put_uint(out, MSG_CLIENT);
	wire_put_uint(out, m->protocol);
	wire_put_str(out, m->program);
	wire_put_str(out, m->host);
	wire_put_uint(out, m->pid);
	wire_put_str(out, m->image);
	wire_put_str(out, m->gzip);
	wire_put_str(out, m->zstd);
	wire_put_bytes(out, m->instance, sizeof(m->instance));
	wire_put_uint(out, m->session);
}

void
get_made(struct wire_in *in, struct msg_made *m)
{
	m->job = wire_get_uint(in, UINT64_MAX);
	m->attempt = wire_get_uint(in, UINT64_MAX);
	m->worker = wire_get_str(in, MSG_NAME_MAX);
	m->ms = wire_get_uint(in, INT64_MAX);
}

void
put_made(struct wire_out *out, const struct msg_made *m)
{
	wire_put_array(out, 5);
	wire_put_uint(out, MSG_MADE);
	wire_put_uint(out, m->job);
	wire_put_uint(out, m->attempt);
	wire_put_str(out, m->worker);
	wire_put_uint(out, m->ms);
}

void
get_status(struct wire_in *in, struct msg_status *m)
{
	m->request = wire_get_uint(in, UINT64_MAX);
}

void
put_status(struct wire_out *out, const struct msg_status *m)
{
	wire_put_array(out, 2);
	wire_put_uint(out, MSG_STATUS);
	wire_put_uint(out, m->request);
}

void
get_state(struct wire_in *in, struct msg_state *m)
{
	m->request = wire_get_uint(in, UINT64_MAX);
	m->text = wire_get_str(in, MSG_STATE_MAX);
}

void
put_state(struct wire_out *out, const struct msg_state *m)
{
	wire_put_array(out, 3);
	wire_put_uint(out, MSG_STATE);
	wire_put_uint(out, m->request);
	wire_put_str(out, m->text);
}
