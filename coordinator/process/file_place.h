/*
 * The place where a file or folder will appear: its folder, and what to do so
 * that it has the mode and the durability that people expect of it.  Usable
 * in any thread.
 */
#ifndef FILE_PLACE_H
#define FILE_PLACE_H

#include <stdbool.h>
#include <sys/types.h>

struct err;

/*
 * Splits path: *place is path with symlinks resolved where something is
 * there, *folder what holds it.  Both are the caller's.  ERR_USAGE.
 */
int file_place(const char *path, char **place, char **folder, struct err *e);

/*
 * path without symlinks, "." and "..", the caller's; neither it nor its folders
 * need be there.  NULL: no memory, or no place.
 */
char *file_place_real(const char *path);

/* Whether both are one place, by name or by where symlinks lead. */
bool file_place_same(const char *a, const char *b);

/* Whether path is somewhere below folder, by where symlinks lead. */
bool file_place_below(const char *path, const char *folder);

/* Whether something is mounted at path itself: nothing is renamed to there. */
bool file_place_mounted(const char *path);

/* The mode of what is there, or else what wanted is under the umask. */
mode_t file_place_mode(const char *path, mode_t wanted);

/* Makes the names in folder durable.  ERR_FATAL. */
int file_place_sync(const char *folder, struct err *e);

/*
 * The same for place, which has just got its name in folder, and is whole: if
 * that fails the error says that it is there.
 */
int file_place_settle(const char *place, const char *folder, struct err *e);

#endif
