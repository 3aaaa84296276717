/* NARs for tests, string by string, so that they can be wrong as well. */
#ifndef NAR_MAKER_H
#define NAR_MAKER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct nar {
	uint8_t *data;
	size_t len, cap;
};

static inline void
nar_put(struct nar *n, const void *data, size_t len)
{
	while (n->len + len > n->cap) {
		n->cap = n->cap * 2 + 4096;
		n->data = realloc(n->data, n->cap);
		if (n->data == NULL)
			abort();
	}
	if (len > 0)
		memcpy(n->data + n->len, data, len);
	n->len += len;
}

static inline void
nar_u64(struct nar *n, uint64_t v)
{
	for (size_t i = 0; i < 8; i++, v >>= 8)
		nar_put(n, &(uint8_t){(uint8_t)v}, 1);
}

static inline void
nar_bytes(struct nar *n, const void *data, size_t len)
{
	nar_u64(n, len);
	nar_put(n, data, len);
	nar_put(n, "\0\0\0\0\0\0\0", -len % 8);
}

/* Words, a space between two; "''" is an empty one. */
static inline void
nar_words(struct nar *n, const char *words)
{
	while (*words != '\0') {
		size_t len = strcspn(words, " ");

		if (strncmp(words, "''", len) == 0)
			nar_bytes(n, "", 0);
		else
			nar_bytes(n, words, len);
		words += len + (words[len] == ' ');
	}
}

static inline void
nar_clear(struct nar *n)
{
	free(n->data);
	*n = (struct nar){NULL, 0, 0};
}

#endif
