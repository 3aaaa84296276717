#include "agent_state.h"

#include <errno.h>
#include <stdint.h>

#include "err.h"
#include "protocol.h"
#include "shared_answer.h"
#include "store_answer.h"

#define STOP_MS 500

/* 0 where it cannot be said now: the coordinator does not wait for ever. */
static int
refuse_probe(
    struct agent *a, uint64_t probe, const struct err *why, struct err *e)
{
	struct msg m = {.type = MSG_PROBED};

	m.probed.probe = probe;
	m.probed.sys = why->sys > 0 ? (uint64_t)why->sys : EBUSY;
	m.probed.text = why->text;
	return agent_try_send(a, &m, e) < 0 ? -1 : 0;
}

int
agent_take_probe(struct agent *a, const struct msg_probe *m, struct err *e)
{
	struct err why = ERR_INIT;

	if (a->answer != NULL)
		err_set(&why, ERR_RETRY, EBUSY, "another probe is on");
	else
		shared_answer_new(m, &a->answer, &why);
	return why.kind == ERR_NONE ? 0 : refuse_probe(a, m->probe, &why, e);
}

int
agent_send_probed(struct agent *a, struct err *e)
{
	struct msg m;
	int rc;

	if (a->answer == NULL || !shared_answer_take(a->answer, &m))
		return 0;
	if ((rc = agent_try_send(a, &m, e)) != 0)
		return rc < 0 ? -1 : 0;
	/* Its thread is through: this does not wait. */
	shared_answer_stop(a->answer, STOP_MS);
	a->answer = NULL;
	return 0;
}

int
agent_send_have(struct agent *a, struct err *e)
{
	struct msg m;
	int rc;

	while (a->state == AGENT_READY && store_answer_next(a->store, &m)) {
		if ((rc = agent_try_send(a, &m, e)) != 0)
			return rc < 0 ? -1 : 0;
		store_answer_said(a->store);
	}
	return 0;
}

int
agent_take_question(struct agent *a, const struct msg *m, struct err *e)
{
	if (m->type == MSG_ASK)
		store_answer_ask(a->store, &m->ask);
	else
		store_answer_paths(a->store, &m->paths);
	return agent_send_have(a, e);
}
