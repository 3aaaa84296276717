#include "long_path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "own.h"

int
long_path_open(const char *path, int flags)
{
	AUTO(own_closep) int dir = -1;
	char part[PATH_MAX];

	for (;;) {
		size_t len = strlen(path);
		int fd;

		if (len < sizeof(part))
			return openat(
			    dir < 0 ? AT_FDCWD : dir, path, flags | O_CLOEXEC);
		for (len = sizeof(part) - 1; len > 0 && path[len] != '/';)
			len--;
		if (len == 0) {
			errno = ENAMETOOLONG;
			return -1;
		}
		memcpy(part, path, len);
		part[len] = '\0';
		fd = openat(dir < 0 ? AT_FDCWD : dir, part,
		    O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		own_closep(&dir);
		if ((dir = fd) < 0)
			return -1;
		path += len + 1;
	}
}
