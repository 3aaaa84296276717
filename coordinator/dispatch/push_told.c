#include "dispatch/push_told.h"

#include <assert.h>

struct push_told *
push_told_find(struct push_tolds *t, size_t place)
{
	for (size_t k = 0; k < MSG_PUSH_PLACES; k++)
		if (t->at[k].serial > 0 && t->at[k].place == place)
			return &t->at[k];
	return NULL;
}

struct push_told *
push_told_take(struct push_tolds *t, size_t place)
{
	struct push_told *known = push_told_find(t, place), *oldest = NULL;

	if (known != NULL)
		return known;
	for (size_t k = 0; k < MSG_PUSH_PLACES; k++) {
		struct push_told *at = &t->at[k];

		if (at->open == 0 &&
		    (oldest == NULL || at->used < oldest->used))
			oldest = at;
	}
	assert(oldest != NULL);
	*oldest = (struct push_told){.place = place};
	return oldest;
}
