/*
 * Whether coordinator and worker see the same folder: the coordinator makes a
 * file of random bytes there, the worker (asked by PROBE) reads it and writes a
 * second one beside it, which only who has read the first can.  What both must
 * agree on.  Usable in any thread.
 */
#ifndef PROBE_H
#define PROBE_H

#include <stdint.h>

#include "digest.h"

#define PROBE_PREFIX ".quarry-probe-" /* of the first file's name */
#define PROBE_SUFFIX ".answer"	      /* what the second one adds */
#define PROBE_SIZE 32		      /* bytes of the first file */
#define PROBE_KEY_SIZE 32

/* What the second file holds, in binary. */
void probe_answer(const uint8_t key[static PROBE_KEY_SIZE],
    const uint8_t content[static PROBE_SIZE], struct digest *out);

#endif
