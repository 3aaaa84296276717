/*
 * Closures, JSON and text: once from memory and once through a window that is
 * filled in small reads; both must say the same.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "closure/closure.h"
#include "closure/closure_file.h"
#include "closure/closure_input.h"
#include "err.h"
#include "own.h"
#include "store_path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
expect(bool ok)
{
	if (!ok)
		abort();
}

static void
compare(const struct closure *a, const struct closure *b)
{
	expect(a->n == b->n && a->ref_start[a->n] == b->ref_start[b->n]);
	for (size_t i = 0; i < a->n; i++) {
		expect(strcmp(a->path[i], b->path[i]) == 0);
		expect(i == 0 || strcmp(a->path[i - 1], a->path[i]) < 0);
		expect(a->ref_start[i] <= a->ref_start[i + 1]);
		expect(closure_find(a, a->path[i]) == i);
	}
	for (size_t k = 0; k < a->ref_start[a->n]; k++)
		expect(a->ref[k] < a->n && a->ref[k] == b->ref[k]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(closure_input_close) struct closure_input in = {.fd = -1};
	AUTO(closure_freep) struct closure *a = NULL, *b = NULL;
	AUTO(own_closep) int fd = memfd_create("closure", MFD_CLOEXEC);
	AUTO(own_freep) char *copy = malloc(size + 1);
	struct err ea = ERR_INIT, eb = ERR_INIT;
	uint32_t root = 0;
	int ra, rb;

	expect(copy != NULL && fd >= 0);
	expect(pwrite(fd, data, size, 0) == (ssize_t)size);
	copy = realloc(copy, size > 0 ? size : 1);
	memcpy(copy, data, size);
	ra = closure_file_parse("f", copy, size, STORE_DIR_DEFAULT, &a, &ea);
	expect(closure_input_open(&in, fd, &eb) == 0);
	in.chunk = 1 + size % 5;
	rb = closure_file_take(&in, STORE_DIR_DEFAULT, &b, &eb);
	expect(ra == rb);
	if (ra < 0) {
		expect(strcmp(ea.text + 3, eb.text) == 0);
		return 0;
	}
	compare(a, b);
	if (a->n > 0)
		expect(closure_retain(&a, &root, 1, &ea) == 0 && a->n <= b->n);
	return 0;
}
