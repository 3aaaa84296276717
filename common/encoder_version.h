/*
 * Which library makes a blob's bytes: part of what they depend on, and so of
 * a blob's key in a cache.  Usable in any thread.
 */
#ifndef ENCODER_VERSION_H
#define ENCODER_VERSION_H

#include "encoding.h"

/* This program's: "libdeflate 1.14", "zstd 1.5.4", "" for none; static. */
const char *encoder_version(enum encoding_kind kind);

#endif
