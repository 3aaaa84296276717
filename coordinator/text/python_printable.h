/*
 * Which characters Python prints as they are (str.isprintable).  Pure.
 */
#ifndef PYTHON_PRINTABLE_H
#define PYTHON_PRINTABLE_H

#include <stdbool.h>
#include <stdint.h>

/* code: a code point, surrogates among them.  By Unicode 14 (Python 3.11). */
bool python_printable(uint32_t code);

#endif
