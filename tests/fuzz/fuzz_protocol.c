/*
 * Whatever comes in: it is refused with one clear error, or it is a message
 * that is encoded and decoded again without a change.
 */
#undef NDEBUG /* the assertions are what it is for */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
recode(const void *data, size_t size, msgpack_sbuffer *out)
{
	struct err e = ERR_INIT;
	struct msg m;
	char line[256];
	int rc;

	rc = msg_decode(data, size, &m, &e);
	assert(rc == 0);
	msg_print(&m, line, sizeof(line));
	rc = msg_encode(&m, out, &e);
	assert(rc == 0 && e.kind == ERR_NONE);
	msg_clear(&m);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	msgpack_sbuffer first, second;
	struct err e = ERR_INIT;
	struct msg m;

	if (msg_decode(data, size, &m, &e) < 0) {
		assert(e.kind == ERR_PEER && e.text[0] != '\0');
		assert(m.zone == NULL);
		return 0;
	}
	msg_clear(&m);
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
