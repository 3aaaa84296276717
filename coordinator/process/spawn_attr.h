/*
 * How other programs are started with posix_spawn: as if by a shell, whatever
 * this one has done with signals.
 */
#ifndef SPAWN_ATTR_H
#define SPAWN_ATTR_H

#include <spawn.h>

/*
 * No signal is blocked, and none is ignored (shells and Go programs rely on
 * SIGPIPE) but SIGHUP, which stays so under nohup.  flags: further
 * POSIX_SPAWN_ ones.  posix_spawnattr_destroy follows.
 */
void spawn_attr_init(posix_spawnattr_t *attr, int flags);

#endif
