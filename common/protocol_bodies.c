#include "protocol_bodies.h"

#include <assert.h>
#include <string.h>

#include "protocol.h"
#include "store_path.h"
#include "wire.h"

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
	m->text = wire_get_str(in, WIRE_TEXT_MAX);
	m->read = wire_get_uint(in, INT64_MAX);
}

void
put_postpone(struct wire_out *out, const struct msg_postpone *m)
{
	wire_put_head(out, MSG_POSTPONE, 4);
	wire_put_uint(out, m->job);
	wire_put_uint(out, m->attempt);
	wire_put_str(out, m->text);
	wire_put_uint(out, m->read);
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
	wire_put_head(out, MSG_PROBE, 4);
	wire_put_uint(out, m->probe);
	wire_put_str(out, m->folder);
	wire_put_str(out, m->name);
	wire_put_bytes(out, m->key, sizeof(m->key));
}

void
get_probed(struct wire_in *in, struct msg_probed *m)
{
	m->probe = wire_get_uint(in, UINT64_MAX);
	m->sys = wire_get_uint(in, WIRE_ERRNO_MAX);
	m->text = wire_get_str(in, WIRE_TEXT_MAX);
}

void
put_probed(struct wire_out *out, const struct msg_probed *m)
{
	wire_put_head(out, MSG_PROBED, 3);
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
	wire_put_head(out, MSG_ASK, 5);
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
	wire_put_head(out, MSG_WANT, 2);
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
	wire_put_head(out, MSG_PATHS, 3);
	wire_put_uint(out, m->ask);
	wire_put_uint(out, m->first);
	wire_put_bytes(out, data, m->n * STORE_PATH_KEY_SIZE);
}

void
get_have(struct wire_in *in, struct msg_have *m)
{
	const void *data;

	m->ask = wire_get_uint(in, UINT64_MAX);
	m->sys = wire_get_uint(in, WIRE_ERRNO_MAX);
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
	wire_put_head(out, MSG_HAVE, 4);
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
	wire_put_head(out, MSG_CLIENT, 9);
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
	wire_put_head(out, MSG_MADE, 4);
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
	wire_put_head(out, MSG_STATUS, 1);
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
	wire_put_head(out, MSG_STATE, 2);
	wire_put_uint(out, m->request);
	wire_put_str(out, m->text);
}

void
get_push(struct wire_in *in, struct msg_push *m)
{
	m->push = wire_get_uint(in, UINT64_MAX);
	m->place = wire_get_uint(in, UINT64_MAX);
	m->file = wire_get_str(in, MSG_PATH_MAX);
	if (!in->bad && *m->file != '\0' && *m->file != '/')
		wire_fault(in, "is not an absolute path");
	m->job = wire_get_uint(in, UINT64_MAX);
	m->attempt = wire_get_uint(in, UINT64_MAX);
	wire_get_bytes(in, m->digest.b, sizeof(m->digest.b));
	m->size = wire_get_uint(in, INT64_MAX);
}

void
put_push(struct wire_out *out, const struct msg_push *m)
{
	wire_put_head(out, MSG_PUSH, 7);
	wire_put_uint(out, m->push);
	wire_put_uint(out, m->place);
	wire_put_str(out, m->file);
	wire_put_uint(out, m->job);
	wire_put_uint(out, m->attempt);
	wire_put_bytes(out, m->digest.b, sizeof(m->digest.b));
	wire_put_uint(out, m->size);
}

void
get_pushed(struct wire_in *in, struct msg_pushed *m)
{
	m->push = wire_get_uint(in, UINT64_MAX);
	m->uploaded = wire_get_bool(in);
	m->throttled = wire_get_uint(in, UINT32_MAX);
	m->text = wire_get_str(in, WIRE_TEXT_MAX);
}

void
put_pushed(struct wire_out *out, const struct msg_pushed *m)
{
	wire_put_head(out, MSG_PUSHED, 4);
	wire_put_uint(out, m->push);
	wire_put_bool(out, m->uploaded);
	wire_put_uint(out, m->throttled);
	wire_put_str(out, m->text);
}

/* It becomes a part of a request. */
static const char *
get_word(struct wire_in *in, size_t max)
{
	const char *s = wire_get_str(in, max);

	for (const char *p = s; *p != '\0'; p++)
		if (*p <= ' ' || *p > '~') {
			wire_fault(in, "has a character that none may have");
			return "";
		}
	return s;
}

void
get_token(struct wire_in *in, struct msg_token *m)
{
	m->place = wire_get_uint(in, UINT64_MAX);
	m->serial = wire_get_uint(in, UINT64_MAX);
	m->base = get_word(in, MSG_BASE_MAX);
	if (!in->bad && strncmp(m->base, "https://", 8) != 0 &&
	    strncmp(m->base, "http://", 7) != 0)
		wire_fault(in, "is no registry");
	m->repo = get_word(in, REGISTRY_REPO_MAX);
	if (!in->bad && !registry_name_is_repo(m->repo, strlen(m->repo)))
		wire_fault(in, "is no repository");
	m->token = get_word(in, REGISTRY_TOKEN_MAX);
	m->authorities = wire_get_str(in, MSG_AUTHORITIES_MAX);
	m->insecure = wire_get_bool(in);
	m->stall_s = wire_get_uint(in, INT32_MAX);
}

void
put_token(struct wire_out *out, const struct msg_token *m)
{
	wire_put_head(out, MSG_TOKEN, 8);
	wire_put_uint(out, m->place);
	wire_put_uint(out, m->serial);
	wire_put_str(out, m->base);
	wire_put_str(out, m->repo);
	wire_put_str(out, m->token);
	wire_put_str(out, m->authorities);
	wire_put_bool(out, m->insecure);
	wire_put_uint(out, m->stall_s);
}

void
get_expired(struct wire_in *in, struct msg_expired *m)
{
	m->place = wire_get_uint(in, UINT64_MAX);
	m->serial = wire_get_uint(in, UINT64_MAX);
}

void
put_expired(struct wire_out *out, const struct msg_expired *m)
{
	wire_put_head(out, MSG_EXPIRED, 2);
	wire_put_uint(out, m->place);
	wire_put_uint(out, m->serial);
}
