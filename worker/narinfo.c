#include "narinfo.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "own.h"
#include "store_path.h"
#include "trusted_key.h"

enum field {
	STORE_PATH,
	URL,
	COMPRESSION,
	FILE_HASH,
	FILE_SIZE,
	NAR_HASH,
	NAR_SIZE,
	REFERENCES,
	DERIVER,
	SYSTEM,
	CA,
	N_FIELDS
};

static const char *const names[N_FIELDS] = {
    [STORE_PATH] = "StorePath",
    [URL] = "URL",
    [COMPRESSION] = "Compression",
    [FILE_HASH] = "FileHash",
    [FILE_SIZE] = "FileSize",
    [NAR_HASH] = "NarHash",
    [NAR_SIZE] = "NarSize",
    [REFERENCES] = "References",
    [DERIVER] = "Deriver",
    [SYSTEM] = "System",
    [CA] = "CA",
};

static const char *const compressions[] = {
    [NAR_NONE] = "none",
    [NAR_XZ] = "xz",
    [NAR_ZSTD] = "zstd",
    [NAR_GZIP] = "gzip",
    [NAR_BZIP2] = "bzip2",
};

#define N_COMPRESSIONS (sizeof(compressions) / sizeof(compressions[0]))

static int __attribute__((format(printf, 2, 3)))
bad(struct err *e, const char *fmt, ...)
{
	char why[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return err_set(e, ERR_RETRY, 0, "narinfo: %s", why);
}

static int
take_field(const char *name, const char *value, const char *f[], struct err *e)
{
	for (size_t i = 0; i < N_FIELDS; i++) {
		if (strcmp(name, names[i]) != 0)
			continue;
		if (f[i] != NULL)
			return bad(e, "%s comes twice", name);
		f[i] = value;
	}
	return 0;
}

/* Each line "NAME: VALUE"; an empty value may be without the space. */
static int
take_lines(char *text, struct narinfo *info, const char *f[], struct err *e)
{
	char *next;

	for (char *line = text; *line != '\0'; line = next) {
		char *colon, *value;

		next = line + strcspn(line, "\n");
		if (*next != '\0')
			*next++ = '\0';
		if ((colon = strchr(line, ':')) == NULL || colon == line)
			return bad(
			    e, "'%.60s' is no line of NAME: VALUE", line);
		*colon = '\0';
		value = colon + 1;
		if (*value == ' ')
			value++;
		else if (*value != '\0')
			return bad(e, "no space after '%.60s:'", line);
		if (strcmp(line, "Sig") != 0) {
			if (take_field(line, value, f, e) < 0)
				return -1;
			continue;
		}
		if (info->n_sigs == NARINFO_SIGS_MAX)
			return bad(
			    e, "more than %d signatures", NARINFO_SIGS_MAX);
		info->sig[info->n_sigs++] = value;
	}
	return 0;
}

/* For people's terminals, too: what is not plain text is refused unseen. */
static bool
is_plain(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((text[i] < 0x20 && text[i] != '\n') || text[i] > 0x7e)
			return false;
	return true;
}

static int
take_size(const char *s, uint64_t *out, struct err *e)
{
	char *end;

	errno = 0;
	*out = strtoull(s, &end, 10);
	if (*s < '0' || *s > '9' || *end != '\0' || errno != 0 || *out == 0 ||
	    *out > INT64_MAX)
		return bad(e, "NarSize '%.30s' is no size of a NAR", s);
	return 0;
}

static int
take_compression(const char *s, enum nar_compression *out, struct err *e)
{
	if (s == NULL || *s == '\0')
		s = compressions[NAR_BZIP2]; /* as Nix has it */
	for (size_t i = 0; i < N_COMPRESSIONS; i++) {
		if (strcmp(s, compressions[i]) != 0)
			continue;
		*out = (enum nar_compression)i;
		return 0;
	}
	return bad(e,
	    "Compression '%.30s' is none of none, xz, zstd, gzip and bzip2", s);
}

static int
check_references(const char *s, struct err *e)
{
	while (*s != '\0') {
		size_t n = strcspn(s, " ");

		if (n == 0 || store_path_base_len(s, n) != n ||
		    (s[n] == ' ' && s[n + 1] == '\0'))
			return bad(e,
			    "References: '%.60s' is no store path's name", s);
		s += n + (s[n] == ' ');
	}
	return 0;
}

int
narinfo_parse(char *text, size_t len, struct narinfo *out, struct err *e)
{
	const char *f[N_FIELDS] = {NULL};
	struct narinfo info = {.n_sigs = 0};

	if (len > NARINFO_MAX)
		return bad(e, "longer than %d bytes", NARINFO_MAX);
	if (!is_plain(text, len))
		return bad(e, "not plain text");
	if (take_lines(text, &info, f, e) < 0)
		return -1;
	for (size_t i = 0; i < N_FIELDS; i++)
		if (f[i] == NULL &&
		    (i == STORE_PATH || i == URL || i == NAR_HASH ||
			i == NAR_SIZE))
			return bad(e, "no %s", names[i]);
	info.store_path = f[STORE_PATH];
	info.url = f[URL];
	if (!digest_from_nix(f[NAR_HASH], strlen(f[NAR_HASH]), &info.nar_hash))
		return bad(e, "NarHash '%.80s' is no SHA-256", f[NAR_HASH]);
	info.references = f[REFERENCES] != NULL ? f[REFERENCES] : "";
	if (take_size(f[NAR_SIZE], &info.nar_size, e) < 0 ||
	    take_compression(f[COMPRESSION], &info.compression, e) < 0 ||
	    check_references(info.references, e) < 0)
		return -1;
	*out = info;
	return 0;
}

static int
name_cmp(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The references' base names, sorted, each once; *copy holds them. */
static int
sort_references(const char *references, char **copy, const char ***out,
    size_t *n_out, struct err *e)
{
	size_t n = 0, kept = 0;
	const char **name;
	char *save;

	for (const char *p = references; *p != '\0'; p++)
		n += *p == ' ';
	if ((*copy = strdup(references)) == NULL ||
	    (name = calloc(n + 2, sizeof(*name))) == NULL)
		return err_set(e, ERR_RETRY, errno, "narinfo");
	*out = name;
	n = 0;
	for (char *p = strtok_r(*copy, " ", &save); p != NULL;
	     p = strtok_r(NULL, " ", &save))
		name[n++] = p;
	if (n > 0)
		qsort(name, n, sizeof(*name), name_cmp);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || strcmp(name[kept - 1], name[i]) != 0)
			name[kept++] = name[i];
	*n_out = kept;
	return 0;
}

/* What is signed: 1;PATH;HASH;SIZE;REFERENCE,REFERENCE... */
static int
fingerprint(const struct narinfo *info, const char *store_dir, char **out,
    size_t *len, struct err *e)
{
	AUTO(own_freep) const char **name = NULL;
	AUTO(own_freep) char *copy = NULL;
	char hash[DIGEST_NIX32_LEN + 1];
	size_t n = 0;
	FILE *f;

	if (sort_references(info->references, &copy, &name, &n, e) < 0)
		return -1;
	if ((f = open_memstream(out, len)) == NULL)
		return err_set(e, ERR_RETRY, errno, "narinfo");
	digest_nix32(&info->nar_hash, hash);
	fprintf(f, "1;%s;sha256:%s;%" PRIu64 ";", info->store_path, hash,
	    info->nar_size);
	for (size_t i = 0; i < n; i++)
		fprintf(f, "%s%s/%s", i > 0 ? "," : "", store_dir, name[i]);
	if (fclose(f) != 0)
		return err_set(e, ERR_RETRY, errno, "narinfo");
	return 0;
}

int
narinfo_verify(const struct narinfo *info, const char *store_dir,
    const struct trusted_key *key, size_t n_keys, struct err *e)
{
	AUTO(own_freep) char *text = NULL;
	size_t len;

	if (fingerprint(info, store_dir, &text, &len, e) < 0)
		return -1;
	for (size_t s = 0; s < info->n_sigs; s++)
		for (size_t k = 0; k < n_keys; k++)
			if (trusted_key_signed(
				&key[k], info->sig[s], text, len))
				return 0;
	return bad(e,
	    info->n_sigs == 0 ? "not signed"
			      : "no signature of a trusted key holds for it");
}
