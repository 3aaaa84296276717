/*
 * Reads a NAR as it streams: bytes in, the entries of a layer out.  No NAR is
 * trusted: order, names, nesting, sizes and padding are checked as Nix checks
 * them, and all other bytes are refused.  Pure, and of a fixed size; one
 * thread at a time.
 */
#ifndef NAR_READER_H
#define NAR_READER_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct nar_reader;
struct tree_entry;

/* Nix's own limits: directories within each other, bytes of a name, a link. */
#define NAR_DEPTH_MAX 64
#define NAR_NAME_MAX 255
#define NAR_TARGET_MAX 4095

enum nar_event {
	NAR_NEED_MORE, /* all that was given is used up */
	NAR_ENTRY,     /* *entry is set; a file's content follows */
	NAR_CONTENT,   /* what was used is content, and *entry's size is left */
	NAR_END	       /* the NAR is complete; any byte after it is wrong */
};

int nar_reader_new(struct nar_reader **out, struct err *e);
void nar_reader_free(struct nar_reader *r);
void nar_reader_freep(struct nar_reader **r);

/* A NAR of the store path begins, of at most size bytes. */
void nar_reader_start(
    struct nar_reader *r, const char *store_path, uint64_t size);

/*
 * Goes on to the next event.  *used of the len bytes are done with; content is
 * found at data.  An entry's strings hold until the next call; its item, fd
 * and mark are not set.  ERR_RETRY names the entry and what is wrong.
 */
int nar_reader_next(struct nar_reader *r, const uint8_t *data, size_t len,
    size_t *used, enum nar_event *event, struct tree_entry *entry,
    struct err *e);

#endif
