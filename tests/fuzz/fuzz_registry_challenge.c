/* What a registry asks for: any bytes in its header. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "registry_challenge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct registry_challenge c;
	char *text = malloc(size + 1);

	if (text == NULL)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	registry_challenge_parse(text, &c);
	if (strlen(c.realm) >= sizeof(c.realm) ||
	    strlen(c.service) >= sizeof(c.service) ||
	    strlen(c.scope) >= sizeof(c.scope))
		abort();
	free(text);
	return 0;
}
