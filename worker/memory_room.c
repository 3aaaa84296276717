#include "memory_room.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

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

static bool
group_number(
    const char *root, const char *group, const char *name, uint64_t *out)
{
	char path[PATH_SIZE];

	snprintf(
	    path, sizeof(path), "%s/sys/fs/cgroup%s/%s", root, group, name);
	return read_number(path, out);
}

/* Bytes in use that are files' and will make room. */
static uint64_t
group_cache(const char *root, const char *group)
{
	AUTO(own_fclosep) FILE *file = NULL;
	char path[PATH_SIZE], line[128];
	uint64_t sum = 0, n;

	snprintf(
	    path, sizeof(path), "%s/sys/fs/cgroup%s/memory.stat", root, group);
	if ((file = fopen(path, "re")) == NULL)
		return 0;
	while (fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "inactive_file %" SCNu64, &n) == 1 ||
		    sscanf(line, "active_file %" SCNu64, &n) == 1 ||
		    sscanf(line, "slab_reclaimable %" SCNu64, &n) == 1)
			sum += n;
	return sum;
}

/* Of one group; past memory.high processes are made to wait. */
static uint64_t
group_room(const char *root, const char *group, bool left)
{
	uint64_t room = UINT64_MAX, n, cache;

	if (group_number(root, group, "memory.max", &n))
		room = n;
	if (group_number(root, group, "memory.high", &n))
		room = least(room, n);
	if (room == UINT64_MAX || !left ||
	    !group_number(root, group, "memory.current", &n))
		return room;
	cache = least(n, group_cache(root, group));
	return room > n - cache ? room - (n - cache) : 0;
}

/* Of the process's group and all that hold it. */
static uint64_t
groups_room(const char *root, bool left)
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
		room = least(room, group_room(root, group, left));
		if ((slash = strrchr(group, '/')) != NULL)
			*slash = '\0';
	} while (slash != NULL);
	return room;
}

/* Pages: all of the address space, in memory, and of that shared. */
static bool
read_pages(const char *root, uint64_t *all, uint64_t *here, uint64_t *shared)
{
	AUTO(own_fclosep) FILE *file = NULL;
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "%s/proc/self/statm", root);
	return (file = fopen(path, "re")) != NULL &&
	    fscanf(file, "%" SCNu64 " %" SCNu64 " %" SCNu64, all, here,
		shared) == 3;
}

uint64_t
memory_taken(const char *root)
{
	uint64_t all, here, shared;

	if (!read_pages(root, &all, &here, &shared) || here < shared)
		return 0;
	return (here - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t
memory_left(const char *root)
{
	uint64_t room = least(system_room(root), groups_room(root, true));
	uint64_t all, here, shared;
	struct rlimit limit;

	if (getrlimit(RLIMIT_AS, &limit) < 0 ||
	    limit.rlim_cur == RLIM_INFINITY ||
	    !read_pages(root, &all, &here, &shared))
		return room;
	all *= (uint64_t)sysconf(_SC_PAGESIZE);
	return least(room, limit.rlim_cur > all ? limit.rlim_cur - all : 0);
}

uint64_t
memory_room(const char *root)
{
	uint64_t room = least(system_room(root), groups_room(root, false));
	struct rlimit limit;

	if (getrlimit(RLIMIT_AS, &limit) == 0 &&
	    limit.rlim_cur != RLIM_INFINITY)
		room = least(room, limit.rlim_cur);
	return room;
}
