/*
 * Reads arbitrary bytes as a base image.  Limits are small, so that time goes
 * into parsing and not into unpacking.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/base_image.h"
#include "image/base_limits.h"
#include "err.h"
#include "process/scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct base_limits limits = {
    .bytes = 4 << 20,
    .entries = 200,
    .header = 1 << 20,
    .ratio = 100,
    .ratio_free = 1 << 20,
    .json = 1 << 16,
    .json_depth = 16,
    .layers = 100,
};

/* One scratch list for all runs: a reaper for each would take all time. */
static struct scratch *
shared_scratch(void)
{
	static struct scratch *scratch;
	struct err e = ERR_INIT;

	if (scratch == NULL && scratch_new(&scratch, &e) < 0) {
		fprintf(stderr, "%s\n", e.text);
		abort();
	}
	return scratch;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct scratch *scratch = shared_scratch();
	char path[64];
	const struct base_source source = {.name = path};
	struct base_image *base = NULL;
	struct err e = ERR_INIT;
	int fd;

	if ((fd = memfd_create("base", MFD_CLOEXEC)) < 0 ||
	    write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (base_image_open_within(&source, scratch, &limits, &base, &e) == 0) {
		/* What was taken can be read. */
		for (size_t i = 0; i < base->n; i++)
			if (access(base->layer[i].file, R_OK) < 0)
				abort();
	} else if (base != NULL || e.kind == ERR_NONE) {
		abort();
	}
	base_image_free(base);
	close(fd);
	return 0;
}
