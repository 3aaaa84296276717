#include "encoder_version.h"

#include <pthread.h>
#include <stdio.h>

#include <libdeflate.h>
#include <zstd.h>

static char zstd_version[32];

static void
print_zstd_version(void)
{
	snprintf(zstd_version, sizeof(zstd_version), "zstd %s",
	    ZSTD_versionString());
}

const char *
encoder_version(enum encoding_kind kind)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	switch (kind) {
	case ENCODING_GZIP:
		return "libdeflate " LIBDEFLATE_VERSION_STRING;
	case ENCODING_ZSTD:
		pthread_once(&once, print_zstd_version);
		return zstd_version;
	case ENCODING_NONE:
		break;
	}
	return "";
}
