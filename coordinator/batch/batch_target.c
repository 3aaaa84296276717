#include "batch/batch_target.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "own.h"
#include "text/stream_end.h"

#define NAME "{name}"
#define TAG "{tag}"

static bool
begins(const char *s, const char *word)
{
	return strncmp(s, word, strlen(word)) == 0;
}

int
batch_target_expand(const char *template, const char *name, const char *tag,
    char **out, struct err *e)
{
	AUTO(own_freep) char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (f == NULL)
		return err_set(e, ERR_FATAL, errno, "output");
	for (const char *at = template; *at != '\0';) {
		if (begins(at, NAME)) {
			fputs(name, f);
			at += strlen(NAME);
		} else if (begins(at, TAG)) {
			fputs(tag != NULL ? tag : TAG, f);
			at += strlen(TAG);
		} else if (*at == '{') {
			fclose(f);
			return err_set(e, ERR_USAGE, 0,
			    "'%.200s': '%.*s' is not known: " NAME " or " TAG,
			    template, (int)strcspn(at, "}") + 1, at);
		} else {
			fputc(*at++, f);
		}
	}
	if (stream_close(f) < 0)
		return err_set(e, ERR_FATAL, ENOMEM, "output");
	*out = STEAL(&text);
	return 0;
}

bool
batch_target_wants_tag(const char *template)
{
	return strstr(template, TAG) != NULL;
}
