/*
 * Opens what lies deeper than the kernel takes in one path (PATH_MAX): folder
 * by folder, each part as long as it may be.  Usable in any thread.
 */
#ifndef LONG_PATH_H
#define LONG_PATH_H

/*
 * As open(path, flags), O_CLOEXEC implied; -1 with errno.  Of a long path the
 * folders where it is cut may be no symlinks.
 */
int long_path_open(const char *path, int flags);

#endif
