#include "options/options_registry.h"

#include <stdbool.h>
#include <string.h>

#include "err.h"
#include "output/index_image.h"
#include "options/options.h"
#include "options/options_number.h"
#include "cache/shared_cache.h"

int
options_set_format(struct options *o, const char *arg, struct err *e)
{
	if (strcmp(arg, "oci") != 0 && strcmp(arg, "docker") != 0)
		return err_set(e, ERR_USAGE, 0,
		    "--format: '%.40s' is neither oci nor docker", arg);
	o->format = *arg == 'd' ? IMAGE_DOCKER : IMAGE_OCI;
	return 0;
}

int
options_set_push_from(struct options *o, const char *arg, struct err *e)
{
	if (strcmp(arg, "workers") != 0 && strcmp(arg, "coordinator") != 0)
		return err_set(e, ERR_USAGE, 0,
		    "--push-from: '%.40s' is neither workers nor coordinator",
		    arg);
	o->push_from_here = *arg == 'c';
	return 0;
}

int
options_set_cache_repo(struct options *o, const char *arg, struct err *e)
{
	if (shared_cache_check_name(arg, e) < 0)
		return err_ctx(e, "--cache-repo");
	o->cache_repo = arg;
	return 0;
}

int
options_set_timeout(struct options *o, const char *arg, struct err *e)
{
	size_t n = 0;

	if (options_count(
		arg, REGISTRY_STALL_S_MAX, "registry-timeout", &n, e) < 0)
		return -1;
	if (n == 0)
		return err_set(
		    e, ERR_USAGE, 0, "--registry-timeout 0: at least 1");
	o->registry.stall_s = (long)n;
	return 0;
}

int
options_set_tls_verify(struct options *o, const char *arg, struct err *e)
{
	if (strcmp(arg, "true") != 0 && strcmp(arg, "false") != 0)
		return err_set(e, ERR_USAGE, 0,
		    "--tls-verify: '%.40s' is neither true nor false", arg);
	o->registry.insecure = *arg == 'f';
	return 0;
}

int
options_add_token_server(struct options *o, const char *arg, struct err *e)
{
	if (*arg == '\0')
		return err_set(e, ERR_USAGE, 0, "--token-server: is empty");
	if (o->registry.n_token_servers ==
	    sizeof(o->registry.token_servers) /
		sizeof(o->registry.token_servers[0]))
		return err_set(e, ERR_USAGE, 0,
		    "--token-server %.200s: there are too many", arg);
	o->registry.token_servers[o->registry.n_token_servers++] = arg;
	return 0;
}

int
options_add_manifest(struct options *o, const char *arg, struct err *e)
{
	if (o->n_manifests == INDEX_IMAGES_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "--manifest %.200s: no more than %d images in an index",
		    arg, INDEX_IMAGES_MAX);
	o->manifests[o->n_manifests++] = arg;
	return 0;
}

int
options_take_index(struct options *o, struct err *e)
{
	if (o->n_store_paths != 1)
		return err_set(e, ERR_USAGE, 0,
		    "index: one NAME is wanted, docker://HOST/REPOSITORY:TAG "
		    "or oci:DIR[:NAME] (see quarry help index)");
	if (o->n_manifests == 0)
		return err_set(e, ERR_USAGE, 0,
		    "index: --manifest is missing, once for each image");
	o->index_name = o->store_paths[0];
	o->n_store_paths = 0;
	return 0;
}

int
options_check_format(const struct options *o, struct err *e)
{
	bool registry = false;

	if (o->format == IMAGE_OCI)
		return 0;
	for (size_t i = 0; i < o->n_outputs; i++) {
		registry |= o->outputs[i].kind == OUTPUT_REGISTRY;
		if (o->outputs[i].kind == OUTPUT_OCI ||
		    o->outputs[i].kind == OUTPUT_OCI_ARCHIVE)
			return err_set(e, ERR_USAGE, 0,
			    "--format docker is for registries: readers of OCI "
			    "layouts take OCI's manifests only");
	}
	if (!registry)
		return err_set(e, ERR_USAGE, 0,
		    "--format docker goes with --to docker://...");
	if (o->encoding.kind == ENCODING_ZSTD)
		return err_set(e, ERR_USAGE, 0,
		    "--format docker has no layers of zstd: --encoding gzip "
		    "is wanted, or --format oci");
	return 0;
}
