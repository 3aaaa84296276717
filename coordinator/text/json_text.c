#include "text/json_text.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "own.h"

json_t *
json_text(const char *text)
{
	AUTO(own_freep) char *clean = NULL;
	json_t *value = json_string(text);

	if (value != NULL || (clean = strdup(text)) == NULL)
		return value;
	log_clean(clean);
	return json_string(clean);
}

json_t *
json_text_or_null(const char *text)
{
	return text != NULL ? json_text(text) : json_null();
}
