#include "options/options_check.h"

#include "cache_list.h"
#include "endpoint.h"
#include "err.h"
#include "progress/metrics.h"
#include "options/options.h"
#include "registry/push_to.h"
#include "store_path.h"

/* Where clients may come, and who. */
static int
check_clients(const struct options *o, struct err *e)
{
	struct endpoint where;
	bool here;

	if (o->clients == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "--clients is missing: where clients may come, "
		    "tcp://HOST:PORT");
	if (endpoint_check(o->clients, true, &where, e) < 0)
		return err_ctx(e, "--clients");
	here = where.kind == ENDPOINT_IPC || where.loopback;
	if (o->clients_keys != NULL && o->key_file == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "--clients-keys needs --key: clients know this server by "
		    "it");
	if (o->clients_keys != NULL && o->clients_plain)
		return err_set(
		    e, ERR_USAGE, 0, "--clients-without-keys: there are keys");
	if (o->clients_keys == NULL && !here && !o->clients_plain)
		return err_set(e, ERR_USAGE, 0,
		    "--clients %.120s can be reached from other machines: "
		    "--key and --clients-keys are needed (quarry keygen makes "
		    "keys)",
		    o->clients);
	return 0;
}

int
options_check_serve(const struct options *o, struct err *e)
{
	struct options workers = *o;

	if (o->n_store_paths > 0)
		return err_set(e, ERR_USAGE, 0,
		    "%.200s: serve takes options only (see quarry help serve)",
		    o->store_paths[0]);
	/* The key may be there for clients alone. */
	if (o->clients_keys != NULL && o->workers_keys == NULL &&
	    o->launch == NULL)
		workers.key_file = NULL;
	if (check_clients(o, e) < 0 || options_check_listen(&workers, e) < 0 ||
	    cache_list_check(&o->caches, e) < 0)
		return -1;
	if (o->push_to != NULL && push_to_check(o->push_to, e) < 0)
		return err_ctx(e, "--push-to");
	if (o->registry.cert_dir != NULL && o->push_to == NULL)
		return err_set(
		    e, ERR_USAGE, 0, "--cert-dir goes with --push-to");
	if (o->store_dir != NULL && store_dir_check(o->store_dir, e) < 0)
		return err_ctx(e, "--store-dir");
	return o->metrics != NULL ? metrics_check(o->metrics, e) : 0;
}
