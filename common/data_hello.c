#include "data_hello.h"

#include <string.h>

#include "err.h"
#include "link.h"

/* Until there is a connection. */
#define RETRY_MS 20

int
data_hello_say(struct data_hello *h, struct link *l, int64_t now, struct err *e)
{
	struct data_msg m = {.type = DATA_MSG_HELLO};

	if (now < h->next)
		return 0;
	memcpy(m.data_hello.token, h->token, sizeof(m.data_hello.token));
	if (link_send_data(l, NULL, &m, e) == 0) {
		h->next = now + h->every_ms;
		return 1;
	}
	if (e->kind != ERR_PEER)
		return -1;
	err_clear(e);
	h->next = now + RETRY_MS;
	return 0;
}
