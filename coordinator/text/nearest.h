/*
 * The known word that a misspelt one most likely means, for error texts.
 * Pure.
 */
#ifndef NEAREST_H
#define NEAREST_H

#include <stddef.h>

/*
 * The one of n known words with the smallest edit distance to word (letters'
 * case counts little); of equal ones the first.  n is at least 1.
 */
const char *nearest_of(const char *word, const char *const *known, size_t n);

#endif
