/*
 * Reads archives of base images with libarchive: takes a tar apart, and
 * unpacks a layer to find what it holds.  Only the formats and filters named
 * in it are ever tried.  One thread.
 */
#ifndef BASE_ARCHIVE_H
#define BASE_ARCHIVE_H

struct base_file;
struct base_files;
struct err;

/*
 * Writes the members of the archive path as files into folder, which is the
 * scratch's, and adds them to files.  ERR_USAGE; ERR_FATAL where the disk is
 * full.
 */
int base_archive_read(const char *path, const char *folder,
    struct base_files *files, struct err *e);

/* Finds a layer's diff_id, tar_size and media_type; file->digest is known. */
int base_archive_unpack(
    struct base_files *files, struct base_file *file, struct err *e);

#endif
