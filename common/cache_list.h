/*
 * The Nix binary caches that a command line names, in the order to ask, and
 * whose signatures count there: the options --substituter, --trusted-key and
 * --no-require-sigs, which quarry hands to its workers as they are.  A plain
 * value; texts are borrowed from the command line.
 */
#ifndef CACHE_LIST_H
#define CACHE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "cache_url.h"
#include "trusted_key.h"

struct err;

struct cache_list {
	struct cache_url url[CACHE_URLS_MAX]; /* text: as it was given */
	size_t n_urls;
	struct trusted_key key[TRUSTED_KEYS_MAX]; /* name: likewise */
	size_t n_keys;
	bool no_require_sigs; /* also what no key has signed */
};

/* ERR_USAGE names the option. */
int cache_list_add_url(struct cache_list *l, const char *url, struct err *e);
int cache_list_add_key(struct cache_list *l, const char *key, struct err *e);
/* Whether what was given makes sense together. */
int cache_list_check(const struct cache_list *l, struct err *e);

#endif
