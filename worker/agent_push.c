#include "agent_state.h"

#include "err.h"
#include "handover.h"
#include "own.h"
#include "protocol.h"
#include "uploads.h"

/* What cannot be taken is answered at once; if that is lost so is nothing. */
static int
refuse(struct agent *a, uint64_t push, const struct err *why, struct err *e)
{
	const struct msg m = {
	    .type = MSG_PUSHED, .pushed = {.push = push, .text = why->text}};

	return agent_try_send(a, &m, e) < 0 ? -1 : 0;
}

static int
take_push(struct agent *a, const struct msg_push *m, struct err *e)
{
	const struct data_id id = {m->job, m->attempt};
	AUTO(own_closep) int fd = -1;
	struct err why = ERR_INIT;

	if (a->uploads == NULL)
		err_set(&why, ERR_RETRY, 0, "no registry was named");
	else if (*m->file != '\0' ||
	    handover_open(a->handover, &id, &fd, &why) == 0)
		uploads_put(a->uploads, m, &fd, &why);
	return why.kind == ERR_NONE ? 0 : refuse(a, m->push, &why, e);
}

int
agent_take_push(struct agent *a, const struct msg *m, struct err *e)
{
	struct err why = ERR_INIT;

	if (m->type == MSG_PUSH)
		return take_push(a, &m->push, e);
	if (a->uploads == NULL && uploads_new(&a->uploads, e) < 0)
		return -1;
	/* The pushes to it are refused then. */
	uploads_place(a->uploads, &m->token, &why);
	return 0;
}

int
agent_send_pushed(struct agent *a, struct err *e)
{
	struct msg m;
	int rc;

	while (a->state == AGENT_READY && uploads_next(a->uploads, &m)) {
		if ((rc = agent_try_send(a, &m, e)) != 0)
			return rc < 0 ? -1 : 0;
		uploads_said(a->uploads);
	}
	return 0;
}
