/*
 * Inside of serve: its state, and what its files call of each other.  serve.c
 * starts, loops and ends; serve_clients.c keeps the clients that are there;
 * serve_messages.c takes what they say, serve_intake.c the jobs among it, with
 * all their store paths; serve_jobs.c has jobs done and answers, serve_wait.c
 * says why they wait; serve_offers.c knows what clients may pull;
 * serve_push.c has workers push for them;
 * serve_status.c tells how things are.  For these alone.
 */
#ifndef SERVE_STATE_H
#define SERVE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "dispatch/dispatch.h"
#include "layer_spec.h"
#include "link.h"
#include "protocol.h"
#include "serve/serve_queue.h"
#include "serve/serve_turns.h"

struct blob_check;
struct blob_offer;
struct blob_request;
struct curve_key;
struct dispatch;
struct err;
struct launch;
struct metrics;
struct options;
struct progress;
struct scratch;
struct serve_cache;
struct status;
struct zap;

#define SERVE_CLIENTS_MAX 4096
#define SERVE_CLIENTS_OF_KEY 1024
#define SERVE_LABEL_MAX 160

/* A layer that is to be made: owns all that its job is made of. */
struct serve_order {
	struct dispatch_job job; /* all that it borrows is below */
	struct dispatch_made made;
	struct layer_spec spec;
	struct layer_item *item;
	size_t n, room;
	struct serve_block *block; /* holds the items' paths */
	uint64_t weight, bytes;	   /* bytes: of memory, about */
	bool has_key;
	struct digest cache_key; /* of the record */
	/* The encoder that it was asked for. */
	char encoder[MSG_NAME_MAX + 1];
	char label[SERVE_LABEL_MAX];
	struct serve_job *owner;   /* once it is in the queue */
	struct serve_check *check; /* that is on, or NULL */
	int64_t learns_until;	   /* who has its paths, ms; 0: it does not */
	TAILQ_ENTRY(serve_order) learning;
	unsigned postponed;   /* so often no worker had room for it, */
	int64_t postponed_at; /* for the first time then, ms */
};

/* A JOB whose ITEMS are coming. */
struct serve_intake {
	struct data_id id;
	uint64_t n_items; /* announced */
	int64_t heard;	  /* of it, ms */
	struct serve_order *order;
	TAILQ_ENTRY(serve_intake) entry;
};

/* A layer that a client may pull. */
struct serve_offer {
	struct data_id id;
	struct digest digest;
	uint64_t size;
	uint64_t greeted; /* in which of its client's connections */
	TAILQ_ENTRY(serve_offer) entry;
};

/* Where its layers are pushed, by its number of that. */
struct serve_place {
	char *base, *repo; /* base NULL: nowhere */
	uint64_t serial;   /* of its token */
	size_t relay;	   /* dispatch's number */
};

struct serve_client {
	struct serve *serve;
	struct link_peer link;
	uint8_t instance[MSG_INSTANCE_SIZE];
	uint8_t token[DATA_TOKEN_SIZE]; /* of its data connection */
	char name[64];			/* "HOST/PID" */
	char image[MSG_NAME_MAX + 1];
	char encoder[ENCODING_KINDS][MSG_NAME_MAX + 1];
	int64_t heard; /* ms */
	struct serve_flow *flow;
	TAILQ_HEAD(, serve_intake) intakes;
	size_t n_intakes;
	uint64_t intake_bytes;	  /* that have come, */
	uint64_t intake_expected; /* and that were announced, about */
	TAILQ_HEAD(, serve_offer) offers;
	void *offer_by_id; /* a tree of them */
	size_t n_offers;
	uint64_t offer_bytes;
	struct serve_place place[MSG_PUSH_PLACES];
	TAILQ_HEAD(, serve_push) pushes;
	size_t n_pushes;
	uint64_t greeted; /* so many connections it has had */
	uint64_t done;
	bool lost; /* it cannot be reached, or broke the protocol: it goes */
	TAILQ_ENTRY(serve_client) entry;
};

/* A blob that is suspect is read again before it is given out. */
struct serve_check {
	struct serve_job *job;
	struct layer_result result;
	struct blob_request *request;
	struct blob_check *check;
	TAILQ_ENTRY(serve_check) entry;
};

struct serve {
	const struct options *options;
	const struct curve_key *key; /* ours, or NULL: while sockets are made */
	struct scratch *scratch;
	struct progress *progress;
	struct dispatch *dispatch;
	struct launch *launch;
	struct metrics *metrics; /* or NULL */
	struct serve_cache *cache;
	struct serve_queue *queue;
	int signal_fd;

	/* The clients' side. */
	void *ctx;
	struct zap *zap;
	struct link *link;
	struct blob_offer *offer;
	uint64_t session;
	TAILQ_HEAD(, serve_client) clients;
	size_t n_clients;
	void *by_link, *by_token, *by_instance; /* trees of them */
	uint64_t intake_bytes; /* of lists that are not all there */
	size_t n_offers;       /* to all of them */
	int64_t nobody_since;  /* ms: there is no worker; 0: there is */
	TAILQ_HEAD(, serve_check) checks;
	TAILQ_HEAD(, serve_order) learning; /* the oldest first */
	int64_t looked, stood;		    /* as dispatch's */
	int64_t beat_at;
	struct serve_turns states; /* who was told STATE */
	uint64_t cached;
	struct http_tls *tls;		 /* of --push-to; or NULL */
	TAILQ_HEAD(, serve_push) pushes; /* whose clients are gone */
};

/* The time without what this process was stopped for. */
int64_t serve_now(const struct serve *s);

/* serve_clients.c: opens the clients' sockets. */
int serve_clients_open(struct serve *s, struct err *e);
/* Says BYE to all, and waits a little for their answers. */
void serve_clients_part(struct serve *s);
void serve_clients_close(struct serve *s);
/* SIGHUP: reads their keys again. */
void serve_clients_reload(void *serve);
/* CLIENT: one that is new or back. */
int serve_client_hello(struct serve *s, const struct link_peer *from,
    const struct msg_client *m, struct err *e);
struct serve_client *serve_client_by_link(
    struct serve *s, const struct link_peer *from);
struct serve_client *serve_client_by_token(
    struct serve *s, const uint8_t *token);
/* It is forgotten; until: when jobs end that nobody else wants. */
void serve_client_gone(
    struct serve *s, struct serve_client *c, const char *why, int64_t until);
/* One that cannot be reached is lost, and goes with the next tick. */
void serve_client_say(
    struct serve *s, struct serve_client *c, const struct msg *m);
/* Beats, and looks for those that are silent or lost. */
void serve_clients_tick(struct serve *s);
/* So long nobody has to want a job that runs. */
int64_t serve_grace(const struct serve *s);

/* serve_messages.c: all that came; 1: there was something. */
int serve_receive(struct serve *s, struct err *e);

/* serve_intake.c: JOB and ITEMS.  What is not to be is answered. */
int serve_intake_job(struct serve *s, struct serve_client *c,
    const struct msg_job *m, struct err *e);
int serve_intake_items(struct serve *s, struct serve_client *c,
    const struct msg_items *m, struct err *e);
/* False: no such. */
bool serve_intake_cancel(struct serve_client *c, const struct data_id *id);
void serve_intakes_clear(struct serve_client *c);
/* Those of which nothing comes any more are put off. */
void serve_intakes_tick(struct serve *s, struct serve_client *c);
void serve_order_free(struct serve_order *o);
/* FAIL to one client. */
void serve_refuse(struct serve *s, struct serve_client *c,
    const struct data_id *id, enum err_kind kind, const char *text);

/* serve_jobs.c: takes *order (NULL then), of which all is there. */
int serve_job_wanted(struct serve *s, struct serve_client *c,
    const struct data_id *id, struct serve_order **order, struct err *e);
int serve_job_cancel(struct serve *s, struct serve_client *c,
    const struct data_id *id, struct err *e);
/* Nobody waits for it any more. */
void serve_job_end_unwanted(struct serve *s, struct serve_job *job);
/* Dispatch's callbacks. */
int serve_job_done(void *serve, const struct dispatch_job *job, struct err *e);
int serve_job_failed(void *serve, const struct dispatch_job *job,
    const struct err *why, struct err *e);
/* Gives dispatch what it has room for, and ends what nobody wants. */
int serve_jobs_tick(struct serve *s, struct err *e);
/* When it has to be called though nothing happens (serve_now). */
int64_t serve_jobs_deadline(const struct serve *s);
/* Some milliseconds of reading suspect blobs; 1: there may be more. */
int serve_checks_step(struct serve *s, struct err *e);
void serve_jobs_clear(struct serve *s);

/* serve_offers.c: the client may pull it by that name, from now on. */
int serve_offer(struct serve *s, struct serve_client *c,
    const struct data_id *id, const struct layer_result *r, bool encoded,
    struct err *e);
/* NULL, or why it may not be given more now. */
const char *serve_offers_refusal(
    const struct serve *s, const struct serve_client *c);
/* Whether it may pull a layer by that name. */
bool serve_offered(const struct serve_client *c, const struct data_id *id);
/*
 * It asks for the job again: what it was offered before, in a connection that
 * is gone, it has not heard of, and will not pull.
 */
int serve_offer_renew(struct serve *s, struct serve_client *c,
    const struct data_id *id, struct err *e);
int serve_offer_cancel(struct serve *s, struct serve_client *c,
    const struct data_id *id, struct err *e);
/* What became of offers. */
int serve_offers_collect(struct serve *s, struct err *e);
void serve_offers_clear(struct serve *s, struct serve_client *c);

struct serve_offer *serve_offer_of(
    const struct serve_client *c, const struct data_id *id);

/*
 * serve_push.c: TOKEN and PUSH, for registries that --push-to names.  _clear:
 * what was asked for in a connection ends with it.
 */
int serve_push_open(struct serve *s, struct err *e);
void serve_push_close(struct serve *s);
int serve_push_token(struct serve *s, struct serve_client *c,
    const struct msg_token *m, struct err *e);
int serve_push_put(struct serve *s, struct serve_client *c,
    const struct msg_push *m, struct err *e);
void serve_pushes_clear(struct serve *s, struct serve_client *c);
/* Dispatch's hooks. */
int serve_push_expired(void *serve, void *client, size_t relay, struct err *e);
int serve_push_relayed(
    void *serve, const struct dispatch_relayed *what, struct err *e);

/* serve_wait.c: POSTPONE to one client. */
void serve_postpone(struct serve *s, struct serve_client *c,
    const struct data_id *id, const char *text);
/* Dispatch's hook. */
void serve_job_postponed(
    void *serve, const struct dispatch_job *job, const char *text);
/* NULL, or why no job can be done now. */
const char *serve_waits(const struct serve *s);
void serve_wait_tick(struct serve *s);

/* serve_status.c: what dispatch does not know of how things are. */
int serve_status_more(void *serve, struct status *out, struct err *e);
/* STATE's text; the caller frees *out. */
int serve_status(const struct serve *s, char **out, struct err *e);

#endif
