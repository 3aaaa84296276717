#include "dispatch/dispatch_state.h"

#include "dispatch/dispatch_push_state.h"
#include "err.h"
#include "log.h"
#include "output/push.h"
#include "output/push_look.h"
#include "own.h"
#include "protocol.h"
#include "secret.h"

int
dispatch_push_tell(struct dispatch *d, struct peer *p, size_t i, struct err *e)
{
	struct place *place = &d->pushes->place[i];
	AUTO(secret_wipep) char *token = NULL;
	struct push_lent lent;
	struct err bad = ERR_INIT;
	struct msg m = {.type = MSG_TOKEN};
	int rc;

	if (push_look_lend(place->look, &lent, e) < 0)
		return -1;
	token = lent.token;
	if (p->told[i] >= lent.serial)
		return 0;
	m.token = (struct msg_token){
	    .place = i,
	    .serial = lent.serial,
	    .base = push_base(place->push),
	    .repo = push_repo(place->push),
	    .token = token,
	    .authorities = place->lent.authorities,
	    .insecure = place->lent.insecure,
	    .stall_s = (uint64_t)place->lent.stall_s,
	};
	if ((rc = link_send(p->via, &p->link, &m, &bad)) < 0)
		log_line(LOG_DEBUG, "worker=%s: %s", p->name, bad.text);
	else
		p->told[i] = lent.serial;
	return rc < 0 ? 1 : 0;
}

int
dispatch_push_renewed(struct dispatch *d, size_t i, struct err *e)
{
	struct place *place = &d->pushes->place[i];

	place->renewing = 0;
	for (size_t k = d->n_peers; k-- > 0;) {
		struct peer *p = &d->peer[k];
		int rc = p->told[i] > 0 ? dispatch_push_tell(d, p, i, e) : 0;

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
	struct place *place;
	struct push_lent lent;

	if (d->pushes == NULL || m->place >= d->pushes->n_places ||
	    p->told[m->place] == 0)
		return 0;
	place = &d->pushes->place[m->place];
	if (push_look_lend(place->look, &lent, e) < 0)
		return -1;
	secret_wipep(&lent.token);
	/* Another worker was faster; or it is on its way. */
	if (lent.serial > m->serial) {
		if (dispatch_push_tell(d, p, m->place, e) < 0)
			return -1;
		return 0;
	}
	if (place->renewing != 0)
		return 0;
	log_line(LOG_DEBUG, "worker=%s: the token for %s has ended", p->name,
	    push_base(place->push));
	place->renewing = lent.serial;
	return push_look_renew(place->look, RENEWED, lent.serial, e);
}
