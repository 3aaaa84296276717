#include "build/build_workers.h"

#include <stddef.h>

#include "curve_key.h"
#include "dispatch/dispatch.h"
#include "err.h"
#include "dispatch/launch.h"
#include "process/machine.h"
#include "progress/metrics.h"
#include "options/options.h"

/* Where workers may join that --launch starts, unless --listen says. */
#define LISTEN_ANYWHERE "tcp://*:*"
/* Our own descriptors, beside one for each worker. */
#define DESCRIPTORS 32

int
build_workers_check(const struct options *options, struct err *e)
{
	size_t metrics = options->metrics != NULL ? METRICS_DESCRIPTORS : 0;

	return machine_descriptors(DESCRIPTORS + options->workers + metrics,
	    false, options->workers > 1 ? " or lower --workers" : "", e);
}

/* Our key pair: the one that is given; to launch workers a new one will do. */
static int
take_key(const struct options *o, struct curve_key *key, struct err *e)
{
	if (o->key_file == NULL)
		return curve_key_make(key, e);
	if (curve_key_read(o->key_file, key, e) < 0)
		return err_ctx(e, "--key");
	return 0;
}

static int
make_launch(const struct options *o, const struct curve_key *key,
    struct scratch *scratch, struct launch **out, struct err *e)
{
	const struct launch_config config = {
	    .command = o->launch,
	    .advertise = o->advertise,
	    .server = key->public,
	};

	return launch_new(&config, scratch, out, e);
}

static void
configure(const struct options *o, struct dispatch_config *config)
{
	config->slots = o->slots;
	config->workers = o->workers;
	config->worker_program = o->worker_program;
	config->caches = &o->caches;
	config->listen = o->listen;
	config->keys = o->workers_keys;
	config->plain = o->listen_plain;
	config->no_locality = o->no_locality;
	config->min_workers = o->min_workers;
	config->audit = (unsigned)o->audit;
	if (config->workers == 0)
		config->workers = 1;
	if (config->slots == 0 && !o->no_local_slots)
		config->slots = machine_cores();
	if (o->no_local_slots)
		config->workers = 0;
	else if (config->slots < config->workers)
		config->slots = config->workers;
	if (o->launch != NULL && config->listen == NULL)
		config->listen = LISTEN_ANYWHERE;
}

int
build_workers_start(const struct options *o, const struct dispatch_config *from,
    const struct encoding *encoding, struct progress *progress,
    struct scratch *scratch, struct build_workers *out, struct err *e)
{
	struct dispatch_config config = *from;
	struct curve_key key = {0};
	int rc;

	configure(o, &config);
	config.encoding = *encoding;
	config.progress = progress;
	if (o->key_file != NULL || o->launch != NULL) {
		if (take_key(o, &key, e) < 0)
			return -1;
		config.key = &key;
	}
	rc = o->launch == NULL ? 0
			       : make_launch(o, &key, scratch, &out->launch, e);
	config.launch = out->launch;
	if (rc == 0)
		rc = dispatch_new(&config, scratch, &out->dispatch, e);
	if (config.key != NULL)
		curve_key_clear(&key); /* the socket has it */
	return rc;
}

void
build_workers_end(struct build_workers *w)
{
	dispatch_freep(&w->dispatch);
	launch_free(w->launch);
	w->launch = NULL;
}
