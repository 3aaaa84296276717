/* Numbers as people read them.  Pure; each writes into the caller's buffer. */
#ifndef HUMAN_H
#define HUMAN_H

#include <stdint.h>

#define HUMAN_MAX 24

/* "512 B", "1.5 KiB", "12 MiB", "2.27 GiB": three digits. */
void human_bytes(uint64_t bytes, char out[static HUMAN_MAX]);

/* "0.12 s", "4.5 s", "2:03", "1:02:03". */
void human_seconds(double seconds, char out[static HUMAN_MAX]);

#endif
