#include "options/options_registry.h"

#include <stdbool.h>
#include <string.h>

#include "err.h"
#include "output/index_image.h"
#include "options/options.h"
#include "options/options_number.h"
#include "cache/shared_cache.h"
#include "registry_name.h"

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

/* Layers are nowhere but in one registry. */
int
options_check_stream(const struct options *o, struct err *e)
{
	const struct {
		const char *name;
		bool given;
	} option[] = {
	    {"audit", o->audit != 0},
	    {"cache", o->cache_dir != NULL && !o->no_cache},
	    {"cache-repo", o->cache_repo != NULL},
	    {"coordinator", o->coordinator != NULL},
	};
	struct registry_name first, name;

	if (!o->stream)
		return 0;
	for (size_t i = 0; i < sizeof(option) / sizeof(option[0]); i++)
		if (option[i].given)
			return err_set(e, ERR_USAGE, 0,
			    "--%s does not go with --stream: layers are in "
			    "the registry alone",
			    option[i].name);
	for (size_t i = 0; i < o->n_outputs; i++) {
		if (o->outputs[i].kind != OUTPUT_REGISTRY)
			return err_set(e, ERR_USAGE, 0,
			    "--stream is for registries: every --to must be "
			    "docker://...");
		if (registry_name_parse(o->outputs[i].path + strlen("//"),
			i == 0 ? &first : &name, e) < 0)
			return -1;
		if (i > 0 && strcmp(first.host, name.host) != 0)
			return err_set(e, ERR_USAGE, 0,
			    "--stream is for one registry, not for %.80s and "
			    "%.80s",
			    first.host, name.host);
	}
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

static bool
has_registry(const struct options *o)
{
	for (size_t i = 0; i < o->n_outputs; i++)
		if (o->outputs[i].kind == OUTPUT_REGISTRY)
			return true;
	return false;
}

int
options_check_push_from(const struct options *o, struct err *e)
{
	if (o->push_from_here && !has_registry(o))
		return err_set(
		    e, ERR_USAGE, 0, "--push-from goes with --to docker://...");
	return 0;
}

int
options_check_format(const struct options *o, struct err *e)
{
	if (o->format == IMAGE_OCI)
		return 0;
	for (size_t i = 0; i < o->n_outputs; i++)
		if (o->outputs[i].kind == OUTPUT_OCI ||
		    o->outputs[i].kind == OUTPUT_OCI_ARCHIVE)
			return err_set(e, ERR_USAGE, 0,
			    "--format docker is for registries: readers of OCI "
			    "layouts take OCI's manifests only");
	if (!has_registry(o))
		return err_set(e, ERR_USAGE, 0,
		    "--format docker goes with --to docker://...");
	if (o->encoding.kind == ENCODING_ZSTD)
		return err_set(e, ERR_USAGE, 0,
		    "--format docker has no layers of zstd: --encoding gzip "
		    "is wanted, or --format oci");
	return 0;
}
