#include "dispatch/pushes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/push_told.h"
#include "err.h"
#include "log.h"
#include "output/push.h"
#include "output/push_look.h"
#include "own.h"
#include "protocol.h"
#include "secret.h"

void
pushes_bar(struct pushes *ps, size_t i, const char *why)
{
	struct pushes_place *place = &ps->place[i];

	if (place->barred)
		return;
	place->barred = true;
	push_queue_bar(ps->queue, i);
	log_line(
	    LOG_INFO, "%s: layers are pushed from here, not by workers", why);
}

void
pushes_bar_registry(struct pushes *ps, size_t place, const char *why)
{
	const char *base = push_base(ps->place[place].push);

	pushes_bar(ps, place, why);
	for (size_t i = 0; i < ps->n_places; i++)
		if (!ps->place[i].barred &&
		    strcmp(push_base(ps->place[i].push), base) == 0) {
			ps->place[i].barred = true;
			push_queue_bar(ps->queue, i);
		}
}

/* The first place of the same registry, of which there are few. */
static int
find_registry(struct pushes *ps, size_t place, struct err *e)
{
	const char *base = push_base(ps->place[place].push);
	size_t *grown;

	for (size_t i = 0; i < ps->n_registries; i++) {
		size_t first = ps->registry[i];

		if (strcmp(push_base(ps->place[first].push), base) == 0) {
			ps->place[place].registry = first;
			return 0;
		}
	}
	grown =
	    reallocarray(ps->registry, ps->n_registries + 1, sizeof(*grown));
	if (grown == NULL)
		return err_set(e, ERR_FATAL, errno, "pushes");
	ps->registry = grown;
	ps->registry[ps->n_registries++] = place;
	ps->place[place].registry = place;
	return 0;
}

int
pushes_place(struct pushes *ps, struct push *push, struct err *e)
{
	struct pushes_place *place = &ps->place[ps->n_places];
	struct err why = ERR_INIT;

	place->push = push;
	if (push_look_place(ps->look, push, e) < 0)
		return -1;
	ps->n_places++;
	if (find_registry(ps, ps->n_places - 1, e) < 0)
		return -1;
	if (push_lend(push, &place->lent, &why) == 0 &&
	    strlen(place->lent.authorities) > MSG_AUTHORITIES_MAX)
		err_set(&why, ERR_FATAL, 0,
		    "%s: --cert-dir has more than a message holds",
		    push_base(push));
	if (push_queue_place(ps->queue, place->lent.near, place->registry, e) <
	    0)
		return -1;
	if (why.kind != ERR_NONE)
		pushes_bar(ps, ps->n_places - 1, why.text);
	return 0;
}

int
pushes_lendable(struct pushes *ps, size_t i, bool *token, struct err *e)
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
		pushes_bar_registry(ps, i, why);
	}
	return 0;
}

int
pushes_token(struct pushes *ps, const struct push_told *told,
    struct msg_token *out, char **token, struct err *e)
{
	const struct pushes_place *place = &ps->place[told->place];
	struct push_lent lent;

	if (push_look_lend(ps->look, told->place, &lent, e) < 0)
		return -1;
	if (told->serial >= lent.serial) {
		secret_wipep(&lent.token);
		return 0;
	}
	*token = lent.token;
	*out = (struct msg_token){
	    .serial = lent.serial,
	    .base = push_base(place->push),
	    .repo = push_repo(place->push),
	    .token = *token,
	    .authorities = place->lent.authorities,
	    .insecure = place->lent.insecure,
	    .stall_s = (uint64_t)place->lent.stall_s,
	};
	return 1;
}
