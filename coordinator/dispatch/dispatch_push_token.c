#include "dispatch/dispatch_state.h"

#include <stdio.h>

#include "dispatch/dispatch_push_state.h"
#include "dispatch/push_told.h"
#include "dispatch/pushes.h"
#include "err.h"
#include "log.h"
#include "output/push.h"
#include "own.h"
#include "protocol.h"
#include "secret.h"

int
dispatch_push_tell(
    struct dispatch *d, struct peer *p, struct push_told *told, struct err *e)
{
	AUTO(secret_wipep) char *token = NULL;
	struct err bad = ERR_INIT;
	struct msg m = {.type = MSG_TOKEN};
	int rc = pushes_token(d->pushes->ps, told, &m.token, &token, e);

	if (rc <= 0)
		return rc;
	m.token.place = (uint64_t)(told - p->told.at);
	if ((rc = link_send(p->via, &p->link, &m, &bad)) < 0)
		log_line(LOG_DEBUG, "worker=%s: %s", p->name, bad.text);
	else
		told->serial = m.token.serial;
	return rc < 0 ? 1 : 0;
}

int
dispatch_push_renewed(struct dispatch *d, size_t i, struct err *e)
{
	for (size_t k = d->n_peers; k-- > 0;) {
		struct peer *p = &d->peer[k];
		struct push_told *told = push_told_find(&p->told, i);
		int rc = told != NULL ? dispatch_push_tell(d, p, told, e) : 0;

		if (rc < 0)
			return -1;
		if (rc > 0)
			peer_gone(d, p, "cannot be reached");
	}
	return 0;
}

int
dispatch_push_expired(struct dispatch *d, struct peer *p,
    const struct msg_expired *m, struct err *e)
{
	struct push_told *told;
	int rc;

	if (d->relay != NULL)
		return dispatch_relay_expired(d, p, m, e);
	if (d->pushes == NULL || m->place >= MSG_PUSH_PLACES ||
	    p->told.at[m->place].serial == 0)
		return 0;
	told = &p->told.at[m->place];
	rc = pushes_expired(d->pushes->ps, told->place, m->serial, e);
	if (rc > 0)
		return dispatch_push_tell(d, p, told, e) < 0 ? -1 : 0;
	log_line(LOG_DEBUG, "worker=%s: the token for %s has ended", p->name,
	    push_base(d->pushes->ps->place[told->place].push));
	return rc;
}
