/*
 * A request file of any bytes: it becomes a request that keeps its promises,
 * or an error.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "options/options.h"
#include "request/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const struct request *r)
{
	if (r->store_dir == NULL || r->created == NULL || r->config == NULL ||
	    r->uname == NULL || r->gname == NULL || r->architecture == NULL ||
	    r->os == NULL || r->max_layers < 1 ||
	    r->max_layers > LAYER_PLAN_MAX ||
	    (r->planned && r->customisation_layer == NULL))
		abort();
	for (size_t i = 0; i < r->n_contents; i++)
		if (strncmp(r->contents[i], r->store_dir,
			strlen(r->store_dir)) != 0)
			abort();
	for (size_t i = 0; i < r->n_directories; i++)
		if (r->directory[i].path[0] != '/' ||
		    r->directory[i].mode > 07777)
			abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct options options = {.command = COMMAND_PLAN};
	struct err e = ERR_INIT;
	struct request *r;
	char **paths;
	size_t n;

	if (request_parse(
		"request", (const char *)data, size, &options, &r, &e) < 0) {
		if (e.kind != ERR_USAGE || e.text[0] == '\0')
			abort();
		return 0;
	}
	check(r);
	if (request_config_paths(r, &paths, &n, &e) < 0)
		abort();
	while (n > 0)
		free(paths[--n]);
	free(paths);
	request_free(r);
	return 0;
}
