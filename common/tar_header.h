/*
 * Tar headers, to the byte: dialect pax as Python's tarfile writes it, gnu as
 * GNU tar 1.34 does.  Pure; usable in any thread.  Layers and the outer
 * archives are made of these.
 */
#ifndef TAR_HEADER_H
#define TAR_HEADER_H

#include <stddef.h>
#include <stdint.h>

enum tar_dialect { TAR_PAX = 0, TAR_GNU = 1 };

enum tar_type { TAR_REGULAR = '0', TAR_SYMLINK = '2', TAR_DIRECTORY = '5' };

#define TAR_BLOCK 512
#define TAR_RECORD 10240
/* name and link: bytes at most (Linux' PATH_MAX for each, and a margin). */
#define TAR_NAME_MAX 8192
/* No header, extended header included, is larger. */
#define TAR_HEADER_MAX ((size_t)4 * (TAR_NAME_MAX + 1024))

struct tar_entry {
	enum tar_type type;
	const char *name; /* without a directory's final '/' */
	const char *link; /* symlink: target; else "" */
	uint32_t mode;	  /* the low 12 bits are used */
	uint64_t uid, gid;
	const char *uname, *gname; /* pax only: gnu is --numeric-owner */
	uint64_t size;		   /* regular files: bytes; else 0 */
	int64_t mtime;		   /* seconds since 1970 */
};

/*
 * Writes the entry's header blocks, extended header or long-name blocks
 * first, into out (TAR_HEADER_MAX bytes).  Returns how many bytes: a multiple
 * of TAR_BLOCK.  Name and link must be at most TAR_NAME_MAX bytes.
 */
size_t tar_header_put(
    enum tar_dialect dialect, const struct tar_entry *entry, uint8_t *out);

/* Zero bytes that follow size bytes of content. */
size_t tar_padding(uint64_t size);

/* Zero bytes that end an archive of which size bytes are written. */
size_t tar_end(uint64_t size);

#endif
