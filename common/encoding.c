#include "encoding.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

static const struct {
	const char *name, *media_type;
	int level, max;
} kinds[] = {
    [ENCODING_NONE] = {"none", "application/vnd.oci.image.layer.v1.tar", 0, 0},
    [ENCODING_GZIP] = {"gzip", "application/vnd.oci.image.layer.v1.tar+gzip",
	ENCODING_GZIP_LEVEL, 12},
    [ENCODING_ZSTD] = {"zstd", "application/vnd.oci.image.layer.v1.tar+zstd",
	ENCODING_ZSTD_LEVEL, 19},
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

int
encoding_check(const struct encoding *enc, struct err *e)
{
	if ((size_t)enc->kind >= N_KINDS)
		return err_set(e, ERR_USAGE, 0, "encoding %d is not known",
		    (int)enc->kind);
	if (enc->level > kinds[enc->kind].max ||
	    (enc->kind != ENCODING_NONE && enc->level < 1) || enc->level < 0)
		return err_set(e, ERR_USAGE, 0,
		    "encoding %s: level %d is not in 1 to %d",
		    kinds[enc->kind].name, enc->level, kinds[enc->kind].max);
	return 0;
}

int
encoding_parse(const char *s, struct encoding *out, struct err *e)
{
	size_t len = strcspn(s, ":");
	struct encoding enc;
	char *end;
	long level;

	for (size_t k = 0; k < N_KINDS; k++) {
		if (strlen(kinds[k].name) != len ||
		    strncmp(s, kinds[k].name, len) != 0)
			continue;
		enc.kind = (enum encoding_kind)k;
		enc.level = kinds[k].level;
		if (s[len] == ':') {
			errno = 0;
			level = strtol(s + len + 1, &end, 10);
			if (s[len + 1] < '0' || s[len + 1] > '9' ||
			    *end != '\0' || errno != 0 || level > 1000 ||
			    k == ENCODING_NONE)
				break;
			enc.level = (int)level;
		}
		if (encoding_check(&enc, e) < 0)
			return -1;
		*out = enc;
		return 0;
	}
	return err_set(e, ERR_USAGE, 0,
	    "encoding '%.40s': none, gzip[:1-12] or zstd[:1-19] is wanted", s);
}

const char *
encoding_name(enum encoding_kind kind)
{
	return kinds[kind].name;
}

const char *
encoding_media_type(enum encoding_kind kind)
{
	return kinds[kind].media_type;
}
