#include "dispatch/dispatch_state.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "dispatch/dispatch_push_state.h"
#include "err.h"
#include "log.h"
#include "output/push.h"
#include "output/push_look.h"
#include "own.h"
#include "protocol.h"
#include "secret.h"

int
dispatch_push_lendable(
    struct dispatch_pushes *ps, size_t i, bool *token, struct err *e)
{
	struct push_lent lent;
	char why[400];

	if (push_look_lend(ps->look, i, &lent, e) < 0)
		return -1;
	*token = *lent.token != '\0';
	secret_wipep(&lent.token);
	if (lent.how == REGISTRY_LEND_NOTHING_BUT_SECRETS &&
	    !ps->place[i].barred) {
		snprintf(why, sizeof(why),
		    "%s wants a password, which workers are not given",
		    push_base(ps->place[i].push));
		dispatch_push_bar_registry(ps, i, why);
	}
	return 0;
}

static struct peer_told *
find_told(struct peer *p, size_t i)
{
	for (size_t k = 0; k < MSG_PUSH_PLACES; k++)
		if (p->told[k].serial > 0 && p->told[k].place == i)
			return &p->told[k];
	return NULL;
}

struct peer_told *
dispatch_push_told(struct peer *p, size_t i)
{
	struct peer_told *t = find_told(p, i), *oldest = NULL;

	if (t != NULL)
		return t;
	for (size_t k = 0; k < MSG_PUSH_PLACES; k++) {
		t = &p->told[k];
		if (t->open == 0 && (oldest == NULL || t->used < oldest->used))
			oldest = t;
	}
	/* It has fewer pushes than that. */
	assert(oldest != NULL);
	*oldest = (struct peer_told){.place = i};
	return oldest;
}

int
dispatch_push_tell(
    struct dispatch *d, struct peer *p, struct peer_told *told, struct err *e)
{
	struct place *place = &d->pushes->place[told->place];
	AUTO(secret_wipep) char *token = NULL;
	struct push_lent lent;
	struct err bad = ERR_INIT;
	struct msg m = {.type = MSG_TOKEN};
	int rc;

	if (push_look_lend(d->pushes->look, told->place, &lent, e) < 0)
		return -1;
	token = lent.token;
	if (told->serial >= lent.serial)
		return 0;
	m.token = (struct msg_token){
	    .place = (uint64_t)(told - p->told),
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
		told->serial = lent.serial;
	return rc < 0 ? 1 : 0;
}

int
dispatch_push_renewed(struct dispatch *d, size_t i, struct err *e)
{
	struct place *place = &d->pushes->place[i];

	place->renewing = 0;
	for (size_t k = d->n_peers; k-- > 0;) {
		struct peer *p = &d->peer[k];
		struct peer_told *told = find_told(p, i);
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
	struct peer_told *told;
	struct place *place;
	struct push_lent lent;

	if (d->pushes == NULL || m->place >= MSG_PUSH_PLACES ||
	    p->told[m->place].serial == 0)
		return 0;
	told = &p->told[m->place];
	place = &d->pushes->place[told->place];
	if (push_look_lend(d->pushes->look, told->place, &lent, e) < 0)
		return -1;
	secret_wipep(&lent.token);
	/* Another worker was faster; or it is on its way. */
	if (lent.serial > m->serial) {
		if (dispatch_push_tell(d, p, told, e) < 0)
			return -1;
		return 0;
	}
	if (place->renewing != 0)
		return 0;
	log_line(LOG_DEBUG, "worker=%s: the token for %s has ended", p->name,
	    push_base(place->push));
	place->renewing = lent.serial;
	return push_look_renew(
	    d->pushes->look, told->place, RENEWED, lent.serial, e);
}
