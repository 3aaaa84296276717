/*
 * What ranking needs of big numbers: unsigned, of a fixed number of 64-bit
 * limbs, least significant first.  The caller knows that a sum fits.  Also
 * bounds: cheap numbers that are never smaller than the exact ones, to find
 * out beforehand how many limbs that takes.  Pure.
 */
#ifndef BIGNUM_H
#define BIGNUM_H

#include <stddef.h>
#include <stdint.h>

/*
 * sum += addend, where addend has no more limbs than sum.  The limbs of sum
 * beyond addend's take the carry.
 */
void bignum_add(uint64_t *sum, const uint64_t *addend, size_t addend_limbs);

/* Less than, equal to or greater than 0, as a - b. */
int bignum_compare(const uint64_t *a, const uint64_t *b, size_t limbs);

/* At least m * 2^e; m is 0 or has its top bit set, or e is 0. */
struct bignum_bound {
	uint64_t m;
	uint64_t e;
};

/* sum += addend, rounded up. */
void bignum_bound_add(
    struct bignum_bound *sum, const struct bignum_bound *addend);

/* How many bits every number within the bound fits into. */
uint64_t bignum_bound_bits(const struct bignum_bound *b);

#endif
