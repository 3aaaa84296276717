/* Names of images; what is taken keeps to the grammar of URLs. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "registry_name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct registry_name n;
	struct err e = ERR_INIT;
	char *text = malloc(size + 1);

	if (text == NULL)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (registry_name_parse(text, &n, &e) == 0 &&
	    (!registry_name_is_repo(n.repo, strlen(n.repo)) ||
		(n.tag[0] != '\0' && !registry_name_is_tag(n.tag)) ||
		strpbrk(n.host, "/?#@ %") != NULL ||
		strpbrk(n.repo, "?#@ %:") != NULL))
		abort();
	free(text);
	return 0;
}
