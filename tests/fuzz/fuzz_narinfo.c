/* A narinfo, and where it says that the NAR is. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cache_url.h"
#include "err.h"
#include "narinfo.h"
#include "own.h"
#include "trusted_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
expect(bool ok)
{
	if (!ok)
		abort();
}

static void
resolve(const char *cache, const char *url)
{
	char out[CACHE_URL_MAX];
	struct err e = ERR_INIT;
	struct cache_url u;

	expect(cache_url_parse(cache, &u, &e) == 0);
	if (cache_url_resolve(&u, url, out, &e) < 0)
		return;
	expect(strstr(out, "/../") == NULL || strchr(out, '?') != NULL);
	if (u.scheme == CACHE_FILE)
		expect(strncmp(cache_url_file(out), "/srv/cache/", 11) == 0);
	else
		expect(strncasecmp(out, "http://a", 8) == 0 &&
		    (out[8] == '/' || strncmp(out + 8, ":80/", 4) == 0));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char text[] =
	    "test-1:ZadmLjsF7VmAuWnrWGCdOI/QGU/n/wKNXu8xpODiWjM=";
	AUTO(own_freep) char *copy = malloc(size + 1);
	struct err e = ERR_INIT;
	struct trusted_key key;
	struct narinfo info;

	expect(copy != NULL);
	memcpy(copy, data, size);
	copy[size] = '\0';
	if (narinfo_parse(copy, size, &info, &e) < 0) {
		expect(e.kind == ERR_RETRY);
		return 0;
	}
	expect(info.nar_size > 0 && info.nar_size <= INT64_MAX);
	expect(info.n_sigs <= NARINFO_SIGS_MAX);
	resolve("http://a", info.url);
	resolve("file:///srv/cache", info.url);
	expect(trusted_key_parse(text, &key, &e) == 0);
	(void)narinfo_verify(&info, "/nix/store", &key, 1, &e);
	return 0;
}
