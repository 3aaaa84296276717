/*
 * What a registry asks for with 401: the WWW-Authenticate header (RFC 9110,
 * 11.6.1), of which Basic and Bearer (distribution's token protocol) count.
 * Pure.
 */
#ifndef REGISTRY_CHALLENGE_H
#define REGISTRY_CHALLENGE_H

#include <stdbool.h>

#define REGISTRY_CHALLENGE_VALUE_MAX 2048

struct registry_challenge {
	bool basic, bearer;
	/* Of Bearer; "" if not said. */
	char realm[REGISTRY_CHALLENGE_VALUE_MAX];
	char service[REGISTRY_CHALLENGE_VALUE_MAX];
	char scope[REGISTRY_CHALLENGE_VALUE_MAX];
};

/*
 * text: the header's value, several on a line each.  What cannot be read, or
 * is too long, is left out.
 */
void registry_challenge_parse(const char *text, struct registry_challenge *out);

#endif
