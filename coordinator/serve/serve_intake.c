#include "serve/serve_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "cache/layer_cache.h"
#include "dispatch/dispatch.h"
#include "cache/layer_key.h"
#include "log.h"
#include "options/options.h"
#include "serve/serve_cache.h"
#include "store_path.h"

/* What a path costs besides its letters. */
#define ITEM_BYTES (sizeof(struct layer_item) + 1)
/* Of one client, JOBs whose ITEMS are missing. */
#define INTAKES_MAX 64
/* Of one job's list; more than a client may have queued. */
#define ORDER_BYTES_MAX ((uint64_t)1 << 30)
/* Of all lists that are not all there; and then of one client's at most. */
#define INTAKE_BYTES_MAX ((uint64_t)2 << 30)
/* A list of which nothing comes for so long keeps its place no longer. */
#define INTAKE_MS 30000

/* The strings of a message. */
struct serve_block {
	struct serve_block *next;
	char text[];
};

void
serve_order_free(struct serve_order *o)
{
	if (o == NULL)
		return;
	while (o->block != NULL) {
		struct serve_block *block = o->block;

		o->block = block->next;
		free(block);
	}
	free(o->item);
	free(o);
}

/* Memory that what is coming has more (or, after it, less). */
static void
count(struct serve_client *c, uint64_t more, uint64_t less)
{
	c->intake_bytes += more - less;
	c->serve->intake_bytes += more - less;
}

static void
intake_free(struct serve_client *c, struct serve_intake *in)
{
	TAILQ_REMOVE(&c->intakes, in, entry);
	c->n_intakes--;
	c->intake_expected -= in->n_items * ITEM_BYTES;
	if (in->order != NULL)
		count(c, 0, in->order->bytes);
	serve_order_free(in->order);
	free(in);
}

void
serve_intakes_clear(struct serve_client *c)
{
	while (!TAILQ_EMPTY(&c->intakes))
		intake_free(c, TAILQ_FIRST(&c->intakes));
}

void
serve_intakes_tick(struct serve *s, struct serve_client *c)
{
	struct serve_intake *in, *next;

	for (in = TAILQ_FIRST(&c->intakes); in != NULL; in = next) {
		next = TAILQ_NEXT(in, entry);
		if (serve_now(s) - in->heard < INTAKE_MS)
			continue;
		serve_postpone(
		    s, c, &in->id, "its list of store paths does not come");
		intake_free(c, in);
	}
}

static struct serve_intake *
find(struct serve_client *c, const struct data_id *id)
{
	struct serve_intake *in;

	TAILQ_FOREACH(in, &c->intakes, entry)
	if (in->id.job == id->job && in->id.attempt == id->attempt)
		break;
	return in;
}

bool
serve_intake_cancel(struct serve_client *c, const struct data_id *id)
{
	struct serve_intake *in = find(c, id);

	if (in != NULL)
		intake_free(c, in);
	return in != NULL;
}

void
serve_refuse(struct serve *s, struct serve_client *c, const struct data_id *id,
    enum err_kind kind, const char *text)
{
	const struct msg m = {.type = MSG_FAIL,
	    .fail = {.job = id->job,
		.attempt = id->attempt,
		.kind = kind,
		.text = text}};

	serve_client_say(s, c, &m);
}

/* What a client must not ask for; said here, too. */
static void
bad_job(struct serve *s, struct serve_client *c, const struct data_id *id,
    const char *text)
{
	log_line(LOG_WARNING, "client %s (%s): its job is refused: %s", c->name,
	    c->image, text);
	serve_refuse(s, c, id, ERR_JOB, text);
}

/* NULL: it may be; text is for what it says. */
static const char *
spec_fault(const struct serve *s, const struct serve_client *c,
    const struct msg_job *m, char *text, size_t size)
{
	const struct layer_spec *spec = &m->spec;
	const char *dir = s->options->store_dir != NULL ? s->options->store_dir
							: STORE_DIR_DEFAULT;
	const char *encoder = c->encoder[spec->encoding.kind];
	const char *known = dispatch_encoder(s->dispatch, spec->encoding.kind);

	if (spec->source != LAYER_FROM_STORE)
		return "only layers of store paths are made here";
	if (spec->measure)
		return "layers are not measured here";
	if (m->stream != 0)
		return "it names a registry";
	if (spec->n_outputs != 0 || *spec->store_root != '\0')
		return "it names files of the server";
	if (strcmp(spec->store_dir, dir) != 0) {
		snprintf(text, size,
		    "its store is %.200s, the server's is %.200s",
		    spec->store_dir, dir);
		return text;
	}
	if (m->n_items * ITEM_BYTES > ORDER_BYTES_MAX)
		return "it has too many store paths";
	if (*known != '\0' && strcmp(encoder, known) != 0) {
		snprintf(text, size,
		    "its layers are of %.80s, those that are made here of "
		    "%.80s",
		    encoder, known);
		return text;
	}
	return NULL;
}

/* Strings that spec points to are copied. */
static int
take_spec(const struct serve *s, struct serve_order *o,
    const struct layer_spec *spec, struct err *e)
{
	size_t uname = strlen(spec->uname) + 1, gname = strlen(spec->gname) + 1;
	size_t dir = strlen(spec->store_dir) + 1;
	struct serve_block *block =
	    malloc(sizeof(*block) + uname + gname + dir);

	if (block == NULL)
		return err_set(e, ERR_FATAL, errno, "client's job");
	block->next = o->block;
	o->block = block;
	o->spec = *spec;
	o->spec.uname = memcpy(block->text, spec->uname, uname);
	o->spec.gname = memcpy(block->text + uname, spec->gname, gname);
	o->spec.store_dir =
	    memcpy(block->text + uname + gname, spec->store_dir, dir);
	o->spec.store_root = s->options->store_root;
	o->spec.file = "";
	o->spec.n_outputs = 1;
	o->spec.outputs[0] = (struct layer_output){.kind = LAYER_TO_BLOB,
	    .path = serve_cache_blobs(s->cache),
	    .size = LAYER_SIZE_UNKNOWN};
	o->bytes = sizeof(*o) + sizeof(*block) + uname + gname + dir;
	return 0;
}

/*
 * "layer (glibc-2.38 and 3 more)": all who want it may read it, and so it says
 * nothing of the one that was first.
 */
static void
name_order(struct serve_order *o)
{
	if (o->n == 0)
		snprintf(o->label, sizeof(o->label), "layer (empty)");
	else if (o->n == 1)
		snprintf(o->label, sizeof(o->label), "layer (%.100s)",
		    store_path_name(o->item[0].path));
	else
		snprintf(o->label, sizeof(o->label),
		    "layer (%.100s and %zu more)",
		    store_path_name(o->item[0].path), o->n - 1);
}

static int
take_key(const struct serve_client *c, struct serve_order *o, struct err *e)
{
	const char *encoder = c->encoder[o->spec.encoding.kind];
	struct digest key;
	int rc = layer_key_items(&o->spec, o->item, o->n, &key, e);

	if (rc < 0)
		return -1;
	snprintf(o->encoder, sizeof(o->encoder), "%s", encoder);
	o->has_key = rc > 0;
	return rc == 0 ? 0
		       : layer_cache_key(&key, &o->spec.encoding, encoder,
			     &o->cache_key, e);
}

/* All is there. */
static int
complete(struct serve *s, struct serve_client *c, struct serve_intake *in,
    struct err *e)
{
	struct serve_order *o = in->order;
	const struct data_id id = in->id;
	int rc;

	count(c, 0, o->bytes);
	in->order = NULL;
	intake_free(c, in);
	name_order(o);
	log_line(
	    LOG_DEBUG, "client %s (%s) wants %s", c->name, c->image, o->label);
	o->job = (struct dispatch_job){
	    .spec = &o->spec,
	    .item = o->item,
	    .n = (uint32_t)o->n,
	    .weight = o->weight,
	    .label = o->label,
	    .made = &o->made,
	};
	rc = take_key(c, o, e);
	if (rc == 0)
		rc = serve_job_wanted(s, c, &id, &o, e);
	serve_order_free(o);
	return rc;
}

int
serve_intake_job(struct serve *s, struct serve_client *c,
    const struct msg_job *m, struct err *e)
{
	const struct data_id id = {m->job, m->attempt};
	struct serve_intake *in;
	char text[512];
	const char *why;

	if (find(c, &id) != NULL || serve_queue_want_of(c->flow, &id) != NULL ||
	    serve_offered(c, &id))
		return 0; /* doubled */
	if ((why = spec_fault(s, c, m, text, sizeof(text))) != NULL) {
		bad_job(s, c, &id, why);
		return 0;
	}
	if (serve_offer_renew(s, c, &id, e) < 0)
		return -1;
	if ((why = serve_waits(s)) == NULL)
		why = serve_offers_refusal(s, c);
	if (why == NULL)
		why = serve_queue_refusal(s->queue, c->flow, c->n_intakes,
		    c->intake_expected + m->n_items * ITEM_BYTES);
	if (why == NULL && c->n_intakes == INTAKES_MAX)
		why = "too many lists of store paths come at once";
	if (why != NULL) {
		serve_postpone(s, c, &id, why);
		return 0;
	}
	if ((in = calloc(1, sizeof(*in))) == NULL ||
	    (in->order = calloc(1, sizeof(*in->order))) == NULL) {
		free(in);
		return err_set(e, ERR_FATAL, errno, "client's job");
	}
	in->id = id;
	in->n_items = m->n_items;
	in->heard = serve_now(s);
	c->intake_expected += in->n_items * ITEM_BYTES;
	TAILQ_INSERT_TAIL(&c->intakes, in, entry);
	c->n_intakes++;
	if (take_spec(s, in->order, &m->spec, e) < 0)
		return -1;
	count(c, in->order->bytes, 0);
	return in->n_items == 0 ? complete(s, c, in, e) : 0;
}

/* Room for n more items; memory grows with what has come. */
static int
reserve(struct serve_order *o, size_t n, struct err *e)
{
	size_t room = o->room * 2 > o->n + n ? o->room * 2 : o->n + n;
	struct layer_item *item;

	if (o->n + n <= o->room)
		return 0;
	if ((item = reallocarray(o->item, room, sizeof(*item))) == NULL)
		return err_set(e, ERR_FATAL, errno, "client's job");
	o->item = item;
	o->room = room;
	return 0;
}

static uint64_t
plus(uint64_t a, uint64_t b)
{
	return a > INT64_MAX - b ? INT64_MAX : a + b;
}

static int
take_items(struct serve_order *o, const struct msg_items *m, struct err *e)
{
	struct serve_block *block;
	size_t bytes = 0;
	char *at;

	for (size_t i = 0; i < m->n; i++)
		bytes += strlen(m->item[i].path) + 1;
	if (reserve(o, m->n, e) < 0)
		return -1;
	if ((block = malloc(sizeof(*block) + bytes)) == NULL)
		return err_set(e, ERR_FATAL, errno, "client's job");
	block->next = o->block;
	o->block = block;
	at = block->text;
	for (size_t i = 0; i < m->n; i++) {
		struct layer_item *item = &o->item[o->n++];
		size_t len = strlen(m->item[i].path) + 1;

		*item = m->item[i];
		item->path = memcpy(at, m->item[i].path, len);
		at += len;
		if (item->has_hash)
			o->weight = plus(o->weight,
			    item->nar_size < INT64_MAX ? item->nar_size
						       : INT64_MAX);
	}
	o->bytes += sizeof(*block) + bytes + m->n * sizeof(struct layer_item);
	return 0;
}

int
serve_intake_items(struct serve *s, struct serve_client *c,
    const struct msg_items *m, struct err *e)
{
	const struct data_id id = {m->job, m->attempt};
	struct serve_intake *in = find(c, &id);
	struct err why = ERR_INIT;
	uint64_t before;

	/* Of one that was refused, postponed or cancelled. */
	if (in == NULL)
		return 0;
	if (m->n > in->n_items - in->order->n)
		err_set(&why, ERR_PEER, 0,
		    "more store paths come than were "
		    "announced");
	for (size_t i = 0; i < m->n && why.kind == ERR_NONE; i++)
		store_path_check(
		    m->item[i].path, in->order->spec.store_dir, &why);
	if (why.kind != ERR_NONE) {
		intake_free(c, in);
		bad_job(s, c, &id, why.text);
		return 0;
	}
	in->heard = serve_now(s);
	before = in->order->bytes;
	if (take_items(in->order, m, e) < 0)
		return -1;
	count(c, in->order->bytes, before);
	if (in->order->bytes > ORDER_BYTES_MAX) {
		intake_free(c, in);
		bad_job(s, c, &id, "it has too many store paths");
		return 0;
	}
	/* Not those of one that has less than its share. */
	if (s->intake_bytes > INTAKE_BYTES_MAX &&
	    c->intake_bytes >= INTAKE_BYTES_MAX / s->n_clients) {
		intake_free(c, in);
		serve_postpone(s, c, &id, "too much comes at once");
		return 0;
	}
	return in->order->n == in->n_items ? complete(s, c, in, e) : 0;
}
