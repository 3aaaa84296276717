#include "cache_list.h"

#include "err.h"

int
cache_list_add_url(struct cache_list *l, const char *url, struct err *e)
{
	if (l->n_urls == CACHE_URLS_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "--substituter: no more than %d at once", CACHE_URLS_MAX);
	if (cache_url_parse(url, &l->url[l->n_urls], e) < 0)
		return err_ctx(e, "--substituter");
	l->n_urls++;
	return 0;
}

int
cache_list_add_key(struct cache_list *l, const char *key, struct err *e)
{
	if (l->n_keys == TRUSTED_KEYS_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "--trusted-key: no more than %d at once", TRUSTED_KEYS_MAX);
	if (trusted_key_parse(key, &l->key[l->n_keys], e) < 0)
		return err_ctx(e, "--trusted-key");
	l->n_keys++;
	return 0;
}

int
cache_list_check(const struct cache_list *l, struct err *e)
{
	if (l->n_urls > 0 && l->n_keys == 0 && !l->no_require_sigs)
		return err_set(e, ERR_USAGE, 0,
		    "--substituter: --trusted-key NAME:BASE64 says whose "
		    "signatures count there (or --no-require-sigs: none is "
		    "needed)");
	return 0;
}
