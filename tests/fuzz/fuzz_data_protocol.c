/*
 * As fuzz_protocol, for the data socket; and nothing is a message of both
 * sockets.
 */
#undef NDEBUG /* the assertions are what it is for */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "data_protocol.h"
#include "protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
recode(const void *data, size_t size, msgpack_sbuffer *out)
{
	struct err e = ERR_INIT;
	struct data_msg m;
	int rc;

	rc = data_msg_decode(data, size, &m, &e);
	assert(rc == 0);
	assert(data_msg_name(m.type)[0] != '?');
	rc = data_msg_encode(&m, out, &e);
	assert(rc == 0 && e.kind == ERR_NONE);
	data_msg_clear(&m);
}

static void
refuse_elsewhere(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	struct msg m;
	int rc;

	rc = msg_decode(data, size, &m, &e);
	assert(rc < 0 && e.kind == ERR_PEER && m.zone == NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	msgpack_sbuffer first, second;
	struct err e = ERR_INIT;
	struct data_msg m;

	if (data_msg_decode(data, size, &m, &e) < 0) {
		assert(e.kind == ERR_PEER && e.text[0] != '\0');
		assert(m.zone == NULL);
		return 0;
	}
	/* What a chunk points to lies within the frame. */
	if (m.type == DATA_MSG_CHUNK)
		assert((const uint8_t *)m.chunk.bytes > data &&
		    (const uint8_t *)m.chunk.bytes + m.chunk.len <=
			data + size);
	data_msg_clear(&m);
	refuse_elsewhere(data, size);
	msgpack_sbuffer_init(&first);
	msgpack_sbuffer_init(&second);
	recode(data, size, &first);
	recode(first.data, first.size, &second);
	assert(first.size == second.size);
	assert(memcmp(first.data, second.data, first.size) == 0);
	msgpack_sbuffer_destroy(&first);
	msgpack_sbuffer_destroy(&second);
	return 0;
}
