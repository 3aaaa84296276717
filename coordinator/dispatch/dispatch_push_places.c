#include "dispatch/dispatch_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/dispatch.h"
#include "dispatch/dispatch_push_state.h"
#include "dispatch/push_queue.h"
#include "err.h"
#include "log.h"
#include "output/push.h"
#include "output/push_look.h"
#include "protocol.h"
#include "registry/registry_place.h"
#include "wake_fd.h"

void
dispatch_push_bar(struct dispatch_pushes *ps, size_t i, const char *why)
{
	struct place *place = &ps->place[i];

	if (place->barred)
		return;
	place->barred = true;
	push_queue_bar(ps->queue, i);
	log_line(
	    LOG_INFO, "%s: layers are pushed from here, not by workers", why);
}

void
dispatch_push_bar_registry(
    struct dispatch_pushes *ps, size_t place, const char *why)
{
	const char *base = push_base(ps->place[place].push);

	dispatch_push_bar(ps, place, why);
	for (size_t i = 0; i < ps->n_places; i++)
		if (!ps->place[i].barred &&
		    strcmp(push_base(ps->place[i].push), base) == 0) {
			ps->place[i].barred = true;
			push_queue_bar(ps->queue, i);
		}
}

/* The first place of the same registry, of which there are few. */
static int
find_registry(struct dispatch_pushes *ps, size_t place, struct err *e)
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

static int
add_place(struct dispatch_pushes *ps, struct push *push, struct err *e)
{
	struct place *place = &ps->place[ps->n_places];
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
	if (push_queue_place(ps->queue, place->lent.near, e) < 0)
		return -1;
	if (why.kind != ERR_NONE)
		dispatch_push_bar(ps, ps->n_places - 1, why.text);
	return 0;
}

int
dispatch_push_open(
    struct dispatch *d, const struct dispatch_config *c, struct err *e)
{
	struct dispatch_pushes *ps;

	if (c->n_pushes == 0)
		return 0;
	if ((ps = d->pushes = calloc(1, sizeof(*ps))) == NULL)
		return err_set(e, ERR_FATAL, errno, "pushes");
	TAILQ_INIT(&ps->list);
	ps->only = c->only_pushed;
	if ((ps->wake_fd = wake_fd_new()) < 0)
		return err_set(e, ERR_FATAL, errno, "pushes");
	if (push_queue_new(&ps->queue, e) < 0 ||
	    push_look_new(ps->wake_fd, &ps->look, e) < 0)
		return -1;
	if ((ps->place = calloc(c->n_pushes, sizeof(*ps->place))) == NULL)
		return err_set(e, ERR_FATAL, errno, "pushes");
	for (size_t i = 0; i < c->n_pushes; i++)
		if (add_place(ps, c->pushes[i], e) < 0)
			return -1;
	return c->stream ? dispatch_stream_open(d, e) : 0;
}
