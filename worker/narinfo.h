/*
 * A .narinfo: what a Nix binary cache says of a store path.  Parsed and
 * checked, never trusted: it comes from anywhere.  Pure; a struct narinfo
 * borrows the text that it was parsed from.
 */
#ifndef NARINFO_H
#define NARINFO_H

#include <stddef.h>
#include <stdint.h>

#include "digest.h"

struct err;
struct trusted_key;

/* The longest text; what is in it is bounded by that. */
#define NARINFO_MAX 65536
#define NARINFO_SIGS_MAX 32

enum nar_compression { NAR_NONE, NAR_XZ, NAR_ZSTD, NAR_GZIP, NAR_BZIP2 };

struct narinfo {
	const char *store_path;
	const char *url; /* as it stands: see cache_url_resolve */
	enum nar_compression compression;
	struct digest nar_hash;
	uint64_t nar_size;
	const char *references; /* base names, a space between two */
	const char *sig[NARINFO_SIGS_MAX];
	size_t n_sigs;
};

/*
 * Takes text apart in place; text[len] is its NUL.  Fields that are not known
 * are passed over.  ERR_RETRY says what is wrong with it.
 */
int narinfo_parse(char *text, size_t len, struct narinfo *out, struct err *e);

/*
 * Fails unless one of the keys has signed what the narinfo says; store_path
 * was found to be in store_dir before.
 */
int narinfo_verify(const struct narinfo *info, const char *store_dir,
    const struct trusted_key *key, size_t n_keys, struct err *e);

#endif
