#include "text/bignum.h"

void
bignum_add(uint64_t *sum, const uint64_t *addend, size_t addend_limbs)
{
	uint64_t carry = 0;
	size_t i;

	for (i = 0; i < addend_limbs; i++) {
		unsigned __int128 s = (unsigned __int128)sum[i] + addend[i];

		s += carry;
		sum[i] = (uint64_t)s;
		carry = (uint64_t)(s >> 64);
	}
	for (; carry != 0; i++)
		carry = ++sum[i] == 0;
}

int
bignum_compare(const uint64_t *a, const uint64_t *b, size_t limbs)
{
	while (limbs-- > 0)
		if (a[limbs] != b[limbs])
			return a[limbs] < b[limbs] ? -1 : 1;
	return 0;
}

/* a / 2^shift, rounded up. */
static uint64_t
shift_up(uint64_t a, uint64_t shift)
{
	if (shift == 0 || a == 0)
		return a;
	if (shift >= 64)
		return 1;
	return (a >> shift) + ((a & ((UINT64_C(1) << shift) - 1)) != 0);
}

void
bignum_bound_add(struct bignum_bound *sum, const struct bignum_bound *addend)
{
	uint64_t e = sum->e > addend->e ? sum->e : addend->e;
	unsigned __int128 m = shift_up(sum->m, e - sum->e);

	m += shift_up(addend->m, e - addend->e);
	if (m >> 64 != 0) {
		m = (m >> 1) + (m & 1);
		e++;
	}
	sum->m = (uint64_t)m;
	sum->e = e;
}

uint64_t
bignum_bound_bits(const struct bignum_bound *b)
{
	return b->m == 0 ? 0 : b->e + 64 - (uint64_t)__builtin_clzll(b->m);
}
