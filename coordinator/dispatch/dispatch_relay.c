#include "dispatch/dispatch_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "digest.h"
#include "dispatch/dispatch.h"
#include "dispatch/push_queue.h"
#include "dispatch/push_told.h"
#include "err.h"
#include "log.h"
#include "own.h"
#include "protocol.h"
#include "secret.h"

/* One that is open, or that blobs are still on their way to. */
struct place {
	char *base, *repo, *token;
	uint64_t serial; /* of the token: no two in all have the same */
	bool near;
	long stall_s;
	void *whose; /* NULL: it is closed */
	bool asked;  /* for its next token */
	size_t open; /* blobs */
};

struct relayed {
	struct dispatch_relay_blob blob; /* file: its own */
	uint64_t push;
	bool said, uploaded; /* by a worker */
	uint64_t throttled;
	char text[256]; /* why not */
	TAILQ_ENTRY(relayed) entry;
};

struct dispatch_relay {
	const char *authorities;
	struct push_queue *queue;
	struct place **place;	/* NULL: its number is free */
	size_t n_places, first; /* first: none before it is free */
	uint64_t serial;
	TAILQ_HEAD(, relayed) list;
	struct status_pushes shown;
};

int
dispatch_relay_new(
    struct dispatch *d, const struct dispatch_config *c, struct err *e)
{
	if (!c->relays)
		return 0;
	if ((d->relay = calloc(1, sizeof(*d->relay))) == NULL)
		return err_set(e, ERR_FATAL, errno, "pushes");
	TAILQ_INIT(&d->relay->list);
	d->relay->authorities = c->authorities;
	return push_queue_new(&d->relay->queue, e);
}

static void
place_free(struct place *p)
{
	if (p == NULL)
		return;
	free(p->base);
	free(p->repo);
	secret_wipep(&p->token);
	free(p);
}

static void
forget(struct dispatch_relay *r, struct relayed *b)
{
	TAILQ_REMOVE(&r->list, b, entry);
	free((char *)b->blob.file);
	free(b);
}

void
dispatch_relay_free(struct dispatch *d)
{
	struct dispatch_relay *r = d->relay;

	if (r == NULL)
		return;
	while (!TAILQ_EMPTY(&r->list))
		forget(r, TAILQ_FIRST(&r->list));
	for (size_t i = 0; i < r->n_places; i++)
		place_free(r->place[i]);
	free(r->place);
	push_queue_free(r->queue);
	free(r);
	d->relay = NULL;
}

struct push_queue *
dispatch_relay_queue(const struct dispatch *d)
{
	return d->relay != NULL ? d->relay->queue : NULL;
}

/* Places. */

/* A number for p: one that is free, or a new one. */
static int
list(struct dispatch_relay *r, struct place *p, size_t *out, struct err *e)
{
	struct place **grown;
	size_t i = r->first;

	while (i < r->n_places && r->place[i] != NULL)
		i++;
	if (i < r->n_places) {
		push_queue_place_again(r->queue, i, p->near);
	} else {
		grown = reallocarray(r->place, i + 1, sizeof(struct place *));
		if (grown == NULL)
			return err_set(e, ERR_FATAL, errno, "pushes");
		r->place = grown;
		if (push_queue_place(r->queue, p->near, i, e) < 0)
			return -1;
		r->n_places++;
	}
	r->place[i] = p;
	r->first = i + 1;
	*out = i;
	return 0;
}

int
dispatch_relay_open(struct dispatch *d, const struct dispatch_relay_to *to,
    size_t *out, struct err *e)
{
	struct place *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return err_set(e, ERR_FATAL, errno, "pushes");
	p->near = to->near;
	p->stall_s = to->stall_s;
	p->whose = to->whose;
	p->serial = ++d->relay->serial;
	if ((p->base = strdup(to->base)) == NULL ||
	    (p->repo = strdup(to->repo)) == NULL ||
	    (p->token = strdup(to->token)) == NULL) {
		place_free(p);
		return err_set(e, ERR_FATAL, errno, "pushes");
	}
	if (list(d->relay, p, out, e) < 0) {
		place_free(p);
		return -1;
	}
	return 0;
}

/* Its number is free, and no worker knows anything by it. */
static void
let_go(struct dispatch *d, size_t i)
{
	struct place *p = d->relay->place[i];

	if (p->whose != NULL || p->open > 0)
		return;
	for (size_t k = 0; k < d->n_peers; k++) {
		struct push_told *told = push_told_find(&d->peer[k].told, i);

		if (told != NULL)
			told->serial = 0;
	}
	place_free(p);
	d->relay->place[i] = NULL;
	if (i < d->relay->first)
		d->relay->first = i;
}

void
dispatch_relay_close(struct dispatch *d, size_t place)
{
	d->relay->place[place]->whose = NULL;
	/* What waits is nobody's, and would have no limit. */
	push_queue_bar(d->relay->queue, place);
	let_go(d, place);
}

/*
 * Nor is one told a token that others may hear it with.  1: p is not to be
 * reached.
 */
static int
tell(struct dispatch *d, struct peer *p, struct push_told *told)
{
	const struct place *to = d->relay->place[told->place];
	const struct msg m = {.type = MSG_TOKEN,
	    .token = {
		.place = (uint64_t)(told - p->told.at),
		.serial = to->serial,
		.base = to->base,
		.repo = to->repo,
		.token = to->token,
		.authorities = d->relay->authorities,
		.stall_s = (uint64_t)to->stall_s,
	    }};
	struct err bad = ERR_INIT;

	if (told->serial >= to->serial ||
	    (*to->token != '\0' && !dispatch_push_safe(d, p)))
		return 0;
	if (link_send(p->via, &p->link, &m, &bad) < 0) {
		log_line(LOG_DEBUG, "worker=%s: %s", p->name, bad.text);
		return 1;
	}
	told->serial = to->serial;
	return 0;
}

int
dispatch_relay_token(
    struct dispatch *d, size_t i, const char *token, struct err *e)
{
	struct place *place = d->relay->place[i];
	bool asked = place->asked;
	char *copy = strdup(token);

	if (copy == NULL)
		return err_set(e, ERR_FATAL, errno, "pushes");
	secret_wipep(&place->token);
	place->token = copy;
	place->serial = ++d->relay->serial;
	place->asked = false;
	push_queue_token(d->relay->queue, i, *token != '\0');
	/* Unasked: whoever needs it says so, or is told with its next blob. */
	for (size_t k = d->n_peers; asked && k-- > 0;) {
		struct peer *p = &d->peer[k];
		struct push_told *told = push_told_find(&p->told, i);

		if (told != NULL && told->open > 0 && tell(d, p, told) > 0)
			peer_gone(d, p, "cannot be reached");
	}
	return 0;
}

int
dispatch_relay_expired(struct dispatch *d, struct peer *p,
    const struct msg_expired *m, struct err *e)
{
	struct push_told *told;
	struct place *place;

	if (m->place >= MSG_PUSH_PLACES || p->told.at[m->place].serial == 0)
		return 0;
	told = &p->told.at[m->place];
	place = d->relay->place[told->place];
	/* Another worker was faster. */
	if (place->serial > m->serial) {
		tell(d, p, told);
		return 0;
	}
	if (place->asked || place->whose == NULL)
		return 0;
	place->asked = true;
	log_line(LOG_DEBUG, "worker=%s: the token for %s has ended", p->name,
	    place->base);
	return d->hooks.expired(d->hooks.arg, place->whose, told->place, e);
}

/* Blobs. */

int
dispatch_relay_put(
    struct dispatch *d, const struct dispatch_relay_blob *blob, struct err *e)
{
	struct relayed *b = calloc(1, sizeof(*b));
	struct push_blob_at at = {
	    .place = blob->place,
	    /* Whoever made it has it no more. */
	    .maker = {UINT64_MAX},
	    .what = b,
	};

	if (b == NULL)
		return err_set(e, ERR_FATAL, errno, "pushes");
	b->blob = *blob;
	if ((b->blob.file = strdup(blob->file)) == NULL ||
	    push_queue_add(d->relay->queue, &at, &b->push, e) < 0) {
		free((char *)b->blob.file);
		free(b);
		return e->kind != ERR_NONE
		    ? -1
		    : err_set(e, ERR_FATAL, ENOMEM, "pushes");
	}
	TAILQ_INSERT_TAIL(&d->relay->list, b, entry);
	d->relay->place[blob->place]->open++;
	d->relay->shown.open++;
	return 0;
}

static void
give(struct dispatch *d, struct relayed *b, struct worker_id worker)
{
	struct peer *p = peer_by_worker(d, worker);
	const struct place *place = d->relay->place[b->blob.place];
	struct msg m = {.type = MSG_PUSH,
	    .push = {.push = b->push,
		.file = b->blob.file,
		.digest = b->blob.digest,
		.size = b->blob.size}};
	char text[DIGEST_TEXT_SIZE];
	struct err bad = ERR_INIT;
	struct push_told *told;

	if (p == NULL)
		return;
	digest_text(&b->blob.digest, text);
	log_line(LOG_DEBUG, "worker=%s uploads %s to %s/%s", p->name, text,
	    place->base, place->repo);
	told = push_told_take(&p->told, b->blob.place);
	told->open++;
	told->used = ++p->told.now;
	m.push.place = (uint64_t)(told - p->told.at);
	if (tell(d, p, told) > 0 || link_send(p->via, &p->link, &m, &bad) < 0)
		peer_gone(d, p, "cannot be reached");
}

static void
count(struct status_pushes *n, const struct relayed *b, enum push_end how)
{
	n->open--;
	n->there += how == PUSH_THERE;
	n->uploaded += how == PUSH_UPLOADED;
	n->left += how == PUSH_LEFT;
	if (how == PUSH_UPLOADED)
		n->uploaded_bytes += b->blob.size;
}

static int
over(struct dispatch *d, struct relayed *b, enum push_end how, struct err *e)
{
	const struct dispatch_relayed what = {
	    .what = b->blob.what,
	    .uploaded = how == PUSH_UPLOADED,
	    .throttled = b->throttled,
	    .why = how != PUSH_LEFT ? ""
		: *b->text != '\0'  ? b->text
				    : "no worker of the server's can push it",
	};
	size_t place = b->blob.place;
	int rc;

	count(&d->relay->shown, b, how);
	rc = d->hooks.relayed(d->hooks.arg, &what, e);
	forget(d->relay, b);
	d->relay->place[place]->open--;
	let_go(d, place);
	return rc;
}

int
dispatch_relay_turn(struct dispatch *d, struct err *e)
{
	struct dispatch_relay *r = d->relay;
	struct push_order o;

	while (r != NULL && push_queue_next(r->queue, &o)) {
		struct relayed *b = o.what;

		switch (o.act) {
		case PUSH_LOOK:
			/* Whoever wants it there looks. */
			push_queue_looked(r->queue, o.push,
			    b->said ? PUSH_SEEN : PUSH_NOT_SEEN,
			    *r->place[b->blob.place]->token != '\0');
			break;
		case PUSH_GIVE:
			give(d, b, o.worker);
			break;
		case PUSH_OVER:
			if (over(d, b, o.end, e) < 0)
				return -1;
		}
	}
	return 0;
}

void
dispatch_relay_pushed(
    struct dispatch *d, struct peer *p, const struct msg_pushed *m)
{
	struct dispatch_relay *r = d->relay;
	struct relayed *b = push_queue_what(r->queue, m->push);
	bool well = *m->text == '\0';

	if (b == NULL ||
	    !push_queue_pushed(r->queue, p->worker, m->push, well, m->uploaded,
		m->throttled > 0))
		return;
	push_told_take(&p->told, b->blob.place)->open--;
	b->said = well;
	b->throttled += m->throttled;
	snprintf(b->text, sizeof(b->text), "%s", m->text);
	r->shown.failed += !well;
	log_line(LOG_DEBUG, "worker=%s: upload %llu: %s", p->name,
	    (unsigned long long)m->push,
	    !well	      ? m->text
		: m->uploaded ? "done"
			      : "it was there");
}

void
dispatch_relay_status(const struct dispatch *d, struct status_pushes *out)
{
	if (d->relay != NULL)
		*out = d->relay->shown;
}
