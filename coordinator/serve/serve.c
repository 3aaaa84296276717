#include "serve/serve.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "transfer/blob_offer.h"
#include "curve_key.h"
#include "dispatch/dispatch.h"
#include "err.h"
#include "http.h"
#include "process/interrupt.h"
#include "dispatch/launch.h"
#include "log.h"
#include "process/machine.h"
#include "progress/metrics.h"
#include "monotime.h"
#include "options/options.h"
#include "own.h"
#include "progress/progress.h"
#include "process/scratch.h"
#include "serve/serve_cache.h"
#include "serve/serve_state.h"
#include "supervisor.h"

/* Our own descriptors, beside one for each worker and three for a client. */
#define DESCRIPTORS 64
/* The loop comes round each second at least: more, and it was stopped. */
#define STOOD_MS 3000
/* Where workers may join that --launch starts, unless --listen says. */
#define LISTEN_ANYWHERE "tcp://*:*"
/* Bytes: of the lists of store paths that wait. */
#define CLIENT_BYTES_MAX ((uint64_t)256 << 20)
#define ALL_BYTES_MAX ((uint64_t)2 << 30)
#define CLIENT_JOBS_MAX 4096
#define ALL_JOBS_MAX 1000000

int64_t
serve_now(const struct serve *s)
{
	return monotime_ms() - s->stood;
}

static int
take_signals(struct serve *s, struct err *e)
{
	sigset_t set;

	interrupt_leave_all();
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signal_fd < 0 ? err_set(e, ERR_FATAL, errno, "signalfd") : 0;
}

static int
take_key(struct serve *s, struct curve_key *key, struct err *e)
{
	const struct options *o = s->options;

	if (o->key_file == NULL && o->launch == NULL)
		return 0;
	s->key = key;
	if (o->key_file == NULL)
		return curve_key_make(key, e);
	if (curve_key_read(o->key_file, key, e) < 0)
		return err_ctx(e, "--key");
	return 0;
}

static int
make_launch(struct serve *s, struct err *e)
{
	const struct launch_config config = {
	    .command = s->options->launch,
	    .advertise = s->options->advertise,
	    .server = s->key->public,
	};

	return launch_new(&config, s->scratch, &s->launch, e);
}

static int
start_workers(struct serve *s, struct err *e)
{
	const struct options *o = s->options;
	const struct layer_output to = {
	    .kind = LAYER_TO_BLOB, .path = serve_cache_blobs(s->cache)};
	struct dispatch_config config = {
	    .slots = o->slots,
	    .workers = o->no_local_slots ? 0
		: o->workers == 0	 ? 1
					 : o->workers,
	    .worker_program = o->worker_program,
	    .caches = &o->caches,
	    .progress = s->progress,
	    .all_encodings = true,
	    .hooks = {.arg = s,
		.done = serve_job_done,
		.failed = serve_job_failed,
		.postponed = serve_job_postponed,
		.hangup = serve_clients_reload,
		.expired = serve_push_expired,
		.relayed = serve_push_relayed,
		.status = serve_status_more},
	    .listen = o->listen,
	    .key = o->workers_keys != NULL || o->launch != NULL ? s->key : NULL,
	    .keys = o->workers_keys,
	    .plain = o->listen_plain,
	    .no_locality = o->no_locality,
	    .audit = (unsigned)o->audit,
	    .relays = o->push_to != NULL,
	    .command = "serve",
	    .metrics = s->metrics,
	};

	if (config.relays)
		config.authorities = http_tls_added(s->tls);
	if (config.slots == 0 && !o->no_local_slots)
		config.slots = machine_cores();
	if (config.slots < config.workers)
		config.slots = config.workers;
	if (o->launch != NULL && config.listen == NULL)
		config.listen = LISTEN_ANYWHERE;
	if (o->launch != NULL && make_launch(s, e) < 0)
		return -1;
	config.launch = s->launch;
	if (dispatch_new(&config, s->scratch, &s->dispatch, e) < 0)
		return -1;
	return dispatch_begin(s->dispatch, &to, e);
}

static int
start_metrics(struct serve *s, struct err *e)
{
	const char *where = s->options->metrics;

	if (where == NULL)
		return 0;
	if (metrics_start(where, "serve", true, &s->metrics, e) < 0)
		return -1;
	log_line(LOG_INFO, "metrics are at %s", metrics_url(s->metrics));
	return 0;
}

static int
start(struct serve *s, struct err *e)
{
	const struct options *o = s->options;
	const struct serve_limits limits = {
	    .jobs = CLIENT_JOBS_MAX,
	    .bytes = CLIENT_BYTES_MAX,
	    .all_jobs = ALL_JOBS_MAX,
	    .all_bytes = ALL_BYTES_MAX,
	};

	if (machine_descriptors(DESCRIPTORS + o->workers, true, "", e) < 0 ||
	    scratch_new(&s->scratch, e) < 0 || take_signals(s, e) < 0 ||
	    progress_new(PROGRESS_NONE, &s->progress, e) < 0 ||
	    serve_cache_open(o->cache_dir, o->max_size, &s->cache, e) < 0 ||
	    serve_queue_new(&limits, &s->queue, e) < 0 ||
	    start_metrics(s, e) < 0 || serve_push_open(s, e) < 0 ||
	    start_workers(s, e) < 0)
		return -1;
	return serve_clients_open(s, e);
}

static void
tell_ready(const struct serve *s)
{
	char text[320];

	snprintf(text, sizeof(text), "Clients may come to %.250s",
	    link_endpoint(s->link));
	supervisor_ready(text);
}

/* In the reverse order; clients are told first. */
static void
stop(struct serve *s)
{
	serve_clients_part(s);
	if (s->queue != NULL)
		serve_clients_close(s);
	serve_jobs_clear(s);
	dispatch_free(s->dispatch);
	serve_push_close(s);
	launch_free(s->launch);
	serve_queue_free(s->queue);
	serve_cache_free(s->cache);
	metrics_stop(s->metrics);
	progress_free(s->progress);
	own_closep(&s->signal_fd);
	scratch_free(s->scratch);
}

static void
come_round(struct serve *s)
{
	int64_t gap = serve_now(s) - s->looked;

	if (gap >= STOOD_MS)
		s->stood += gap;
	s->looked = serve_now(s);
}

/*
 * Takes what clients said and answers, until nothing comes: the last call on
 * their socket is then a receive that found nothing, as link_fd wants.  *busy:
 * there is more to do at once.
 */
static int
settle(struct serve *s, bool *busy, struct err *e)
{
	int more;

	serve_clients_tick(s);
	if (serve_offers_collect(s, e) < 0 ||
	    (more = serve_checks_step(s, e)) < 0)
		return -1;
	*busy = more > 0;
	if ((more = serve_receive(s, e)) < 0)
		return -1;
	*busy |= more > 0;
	return serve_jobs_tick(s, e);
}

static int
loop(struct serve *s, struct err *e)
{
	struct signalfd_siginfo info;
	struct pollfd fds[3] = {
	    {.fd = s->signal_fd, .events = POLLIN},
	    {.fd = link_fd(s->link), .events = POLLIN},
	    {.fd = blob_offer_fd(s->offer), .events = POLLIN},
	};

	s->looked = serve_now(s);
	while (read(s->signal_fd, &info, sizeof(info)) < 0) {
		int64_t until = monotime_ms() + 1000, watch_at;
		bool busy;

		come_round(s);
		serve_cache_tick(s->cache, monotime_ms());
		if (settle(s, &busy, e) < 0)
			return -1;
		if (s->beat_at < until - s->stood)
			until = s->beat_at + s->stood;
		if (serve_queue_deadline(s->queue) < until - s->stood)
			until = serve_queue_deadline(s->queue) + s->stood;
		if (serve_jobs_deadline(s) < until - s->stood)
			until = serve_jobs_deadline(s) + s->stood;
		watch_at = supervisor_watchdog(monotime_ms());
		if (watch_at < until)
			until = watch_at;
		if (busy)
			until = 0;
		if (dispatch_turn(s->dispatch, fds, 3, until, e) < 0)
			return -1;
	}
	log_line(LOG_INFO, "ends: %s", strsignal((int)info.ssi_signo));
	supervisor_stopping();
	return 0;
}

int
serve_run(const struct options *options, struct err *e)
{
	struct serve s = {.options = options, .signal_fd = -1};
	struct curve_key key;
	int rc;

	TAILQ_INIT(&s.clients);
	TAILQ_INIT(&s.checks);
	TAILQ_INIT(&s.learning);
	TAILQ_INIT(&s.pushes);
	supervisor_start();
	rc = take_key(&s, &key, e) < 0 || start(&s, e) < 0 ? -1 : 0;
	if (s.key != NULL)
		curve_key_clear(&key); /* the sockets have it */
	s.key = NULL;
	if (rc == 0) {
		tell_ready(&s);
		rc = loop(&s, e);
	}
	stop(&s);
	return rc;
}
