#include "text/stream_end.h"

#include <errno.h>
#include <stdbool.h>

#include "err.h"

int
stream_end(FILE *f, const char *what, struct err *e)
{
	if (fflush(f) != 0)
		return err_set(e, ERR_FATAL, errno, "write %s", what);
	/* What failed before is not tried again, and its errno is gone. */
	if (ferror(f))
		return err_set(e, ERR_FATAL, EIO, "write %s", what);
	return 0;
}

int
stream_close(FILE *f)
{
	bool failed = ferror(f) != 0;

	return fclose(f) != 0 || failed ? -1 : 0;
}
