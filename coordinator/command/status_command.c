#include "command/status_command.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <zmq.h>

#include "curve_key.h"
#include "err.h"
#include "link.h"
#include "monotime.h"
#include "options/options.h"
#include "own.h"
#include "protocol.h"
#include "progress/status.h"
#include "text/stream_end.h"

/* Between attempts to send what cannot be sent before there is a connection. */
/* A server answers so many a second, and no more. */
#define AGAIN_MS 1000
#define SEND_MS 50
/* To the top, and nothing below it. */
#define CLEAR "\033[H\033[J"

static int
connect_to(void *ctx, const struct options *o, struct link **out, struct err *e)
{
	char server[CURVE_KEY_LEN + 1];
	struct link_keys keys = {.server = server};
	struct curve_key own;
	int rc;

	if (o->key_file == NULL)
		return link_connect(ctx, o->coordinator, NULL, out, e);
	if (curve_key_public(o->server_key, server, e) < 0)
		return err_ctx(e, "--server-key");
	if (curve_key_read(o->key_file, &own, e) < 0)
		return err_ctx(e, "--key");
	keys.own = &own;
	rc = link_connect(ctx, o->coordinator, &keys, out, e);
	curve_key_clear(&own); /* the socket has it */
	return rc;
}

static int
no_answer(const struct options *o, struct err *e)
{
	return err_set(e, ERR_FATAL, 0,
	    "%.120s does not answer: nobody is there%s", o->coordinator,
	    o->key_file != NULL ? ", or one of the keys is wrong" : "");
}

/* Before there is a connection nothing can be sent. */
static int
ask(struct link *link, const struct options *o, uint64_t request, int64_t until,
    struct err *e)
{
	const struct msg m = {.type = MSG_STATUS, .status = {request}};

	while (link_send(link, NULL, &m, e) < 0) {
		if (e->kind != ERR_PEER)
			return -1;
		err_clear(e);
		if (monotime_ms() >= until)
			return no_answer(o, e);
		usleep(SEND_MS * 1000);
	}
	return 0;
}

/* 1: it is the answer; 0: it is not. */
static int
take(const struct msg *m, uint64_t request, struct status *out, struct err *e)
{
	if (m->type == MSG_REFUSE)
		return err_set(e, ERR_FATAL, 0, "%s", m->refuse.text);
	if (m->type != MSG_STATE || m->state.request != request)
		return 0;
	return status_parse(m->state.text, strlen(m->state.text), out, e) < 0
	    ? -1
	    : 1;
}

/* 1: it has come; 0: not by then. */
static int
hear(struct link *link, uint64_t request, int64_t until, struct status *out,
    struct err *e)
{
	for (;;) {
		struct msg m;
		int rc = link_recv(link, NULL, &m, e);

		if (rc < 0)
			return -1;
		if (rc > 0) {
			rc = take(&m, request, out, e);
			msg_clear(&m);
			if (rc != 0)
				return rc;
			continue;
		}
		if (monotime_ms() >= until)
			return 0;
		monotime_wait(link_fd(link), (int)(until - monotime_ms()));
	}
}

static int
get(struct link *link, const struct options *o, uint64_t request,
    struct status *out, struct err *e)
{
	int64_t until = monotime_ms() + STATUS_ANSWER_MS;
	int rc = 0;

	while (rc == 0) {
		int64_t next = monotime_ms() + AGAIN_MS;

		if (monotime_ms() >= until)
			return no_answer(o, e);
		if (ask(link, o, request, until, e) < 0)
			return -1;
		rc = hear(link, request, next < until ? next : until, out, e);
	}
	if (rc < 0 && e->kind == ERR_PEER)
		return err_ctx(e, "%.120s", o->coordinator);
	return rc < 0 ? -1 : 0;
}

static int
print(
    const struct options *o, const struct status *s, bool again, struct err *e)
{
	AUTO(own_freep) char *text = NULL;

	if (o->json ? status_json(s, SIZE_MAX, &text, e) < 0
		    : status_table(s, &text, e) < 0)
		return -1;
	if (!o->json && o->watch_s > 0 && isatty(STDOUT_FILENO))
		fputs(CLEAR, stdout);
	else if (!o->json && again)
		fputc('\n', stdout);
	fputs(text, stdout);
	if (o->json)
		fputc('\n', stdout);
	return stream_end(stdout, "standard output", e);
}

static int
watch(struct link *link, const struct options *o, struct err *e)
{
	for (uint64_t request = 1;; request++) {
		struct timespec pause = {.tv_sec = (time_t)o->watch_s};
		struct status s;
		int rc;

		if (get(link, o, request, &s, e) < 0)
			return -1;
		rc = print(o, &s, request > 1, e);
		status_clear(&s);
		if (rc < 0 || o->watch_s == 0)
			return rc;
		while (nanosleep(&pause, &pause) < 0 && errno == EINTR)
			;
	}
}

int
status_command_run(const struct options *options, struct err *e)
{
	struct link *link = NULL;
	void *ctx;
	int rc;

	if ((ctx = link_context(e)) == NULL)
		return -1;
	rc = connect_to(ctx, options, &link, e);
	if (rc == 0)
		rc = watch(link, options, e);
	link_close(link, 0);
	zmq_ctx_term(ctx);
	return rc;
}
