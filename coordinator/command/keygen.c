#include "command/keygen.h"

#include <stdio.h>
#include <string.h>

#include "curve_key.h"
#include "err.h"
#include "options/options.h"
#include "text/stream_end.h"

int
keygen_run(const struct options *options, struct err *e)
{
	const char *file = options->key_file, *name = options->name;
	struct curve_key key;
	int rc;

	if (name == NULL) {
		name = strrchr(file, '/');
		name = name != NULL ? name + 1 : file;
	}
	if (!curve_key_name_valid(name))
		return err_set(e, ERR_USAGE, 0,
		    "'%.80s' cannot be the name of a key: letters, digits and "
		    "'._-@' can, at most %d (--name gives another one)",
		    name, CURVE_KEY_NAME_MAX);
	if (curve_key_make(&key, e) < 0)
		return -1;
	rc = curve_key_write(&key, file, name, e);
	curve_key_clear(&key);
	if (rc < 0)
		return -1;
	printf("%s %s\n", key.public, name);
	return stream_end(stdout, "standard output", e);
}
