#include "memory_room.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "own.h"

#define PATH_SIZE 4096

static uint64_t
least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The number in a file of one number; false: none, or "max". */
static bool
read_number(const char *path, uint64_t *out)
{
	AUTO(own_fclosep) FILE *file = fopen(path, "re");

	return file != NULL && fscanf(file, "%" SCNu64, out) == 1;
}

static uint64_t
system_room(const char *root)
{
	AUTO(own_fclosep) FILE *file = NULL;
	char path[PATH_SIZE], line[128];
	uint64_t kib;

	snprintf(path, sizeof(path), "%s/proc/meminfo", root);
	if ((file = fopen(path, "re")) == NULL)
		return UINT64_MAX;
	while (fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1 &&
		    kib <= UINT64_MAX / 1024)
			return kib * 1024;
	return UINT64_MAX;
}

/* Of one group; what is in use there is left out: most is page cache. */
static uint64_t
group_room(const char *root, const char *group)
{
	char path[PATH_SIZE];
	uint64_t max;

	snprintf(
	    path, sizeof(path), "%s/sys/fs/cgroup%s/memory.max", root, group);
	return read_number(path, &max) ? max : UINT64_MAX;
}

/* Of the process's group and all that hold it. */
static uint64_t
groups_room(const char *root)
{
	AUTO(own_fclosep) FILE *file = NULL;
	char path[PATH_SIZE], line[PATH_SIZE], *group = NULL, *slash;
	uint64_t room = UINT64_MAX;

	snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
	if ((file = fopen(path, "re")) == NULL)
		return room;
	while (group == NULL && fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, "0::/", 4) == 0)
			group = line + 3;
	if (group == NULL)
		return room;
	group[strcspn(group, "\n")] = '\0';
	do {
		room = least(room, group_room(root, group));
		if ((slash = strrchr(group, '/')) != NULL)
			*slash = '\0';
	} while (slash != NULL);
	return room;
}

uint64_t
memory_room(const char *root)
{
	uint64_t room = least(system_room(root), groups_room(root));
	struct rlimit limit;

	if (getrlimit(RLIMIT_AS, &limit) == 0 &&
	    limit.rlim_cur != RLIM_INFINITY)
		room = least(room, limit.rlim_cur);
	return room;
}
