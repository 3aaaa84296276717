/*
 * Two copies of a layer: one with a byte changed, or two that have nothing to
 * do with each other.  Something is said of them, and never that they are the
 * same when they are not.  Input: where, what is XORed there (0: the rest is
 * two copies, cut there), and the tar.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "err.h"
#include "image/layer_compare.h"
#include "image/layer_copy.h"
#include "own.h"

#define HEAD 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
expect(bool ok)
{
	if (!ok)
		abort();
}

static int
file_of(const uint8_t *data, size_t size, char path[static 32])
{
	int fd = memfd_create("copy", MFD_CLOEXEC);

	expect(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

static void
compare(const uint8_t *a, size_t n_a, const uint8_t *b, size_t n_b)
{
	char path_a[32], path_b[32], out[LAYER_COMPARE_MAX] = "";
	int fd_a = file_of(a, n_a, path_a), fd_b = file_of(b, n_b, path_b);
	struct layer_place of_a = {
	    .worker = "a", .path = path_a, .size = n_a, .most = UINT64_MAX};
	struct layer_place of_b = {
	    .worker = "b", .path = path_b, .size = n_b, .most = UINT64_MAX};
	bool same = n_a == n_b && memcmp(a, b, n_a) == 0;
	struct err e = ERR_INIT;

	expect(layer_compare(&of_a, &of_b, out, &e) == 0);
	expect(out[0] != '\0');
	expect(same || strncmp(out, "the tars are the same", 21) != 0);
	/* What a decoder makes of it is anything; it may be that it is none. */
	of_b.encoded = true;
	if (layer_compare(&of_a, &of_b, out, &e) < 0)
		expect(e.kind == ERR_FATAL);
	close(fd_a);
	close(fd_b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(own_freep) uint8_t *other = NULL;
	size_t at;

	if (size <= HEAD)
		return 0;
	at = (size_t)(data[0] | data[1] << 8 | data[2] << 16) % (size - HEAD);
	data += HEAD;
	size -= HEAD;
	if (data[-1] == 0) {
		compare(data, at, data + at, size - at);
		return 0;
	}
	expect((other = malloc(size)) != NULL);
	memcpy(other, data, size);
	other[at] ^= data[-1];
	compare(data, size, other, size);
	return 0;
}
