#include "look_ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "err.h"
#include "own.h"
#include "tree_walk.h"

#define BYTES_MAX ((uint64_t)64 << 20)
/* Of one large file: what is asked for before its reader gets there. */
#define INSIDE ((uint64_t)8 << 20)
/*
 * Whether the disk is at work is looked at once in so many entries, and
 * believed for so many looks: at first for few, as most layers are small.
 */
#define LOOK_ENTRIES 16
#define LOOKS_FIRST 2
#define LOOKS_COLD 32

struct slot {
	struct tree_entry entry;
	char *text; /* the entry's name and target */
	size_t cap;
};

struct look_ahead {
	struct tree_walk *walk;
	struct slot
	    slot[LOOK_AHEAD_FILES + 1]; /* a ring; one is the reader's */
	size_t files;			/* open at most */
	size_t first, n;
	uint64_t bytes; /* asked for and not yet handed out */
	bool ended;	/* the walk has, or has failed with: */
	struct err err;
	int fd;		/* of the entry handed out last */
	int entries;	/* handed out since the last look */
	int looks_left; /* for how many more the disk counts as at work */
	long reads, waits;
};

static void
count_disk(struct look_ahead *la)
{
	struct rusage now;

	if (getrusage(RUSAGE_THREAD, &now) < 0)
		return;
	la->reads = now.ru_inblock;
	la->waits = now.ru_nvcsw;
}

/*
 * Did this thread read from a disk since the last look, or at least wait (not
 * every file system counts its reads, but outputs make it wait as well)?
 */
static void
look_at_disk(struct look_ahead *la)
{
	long reads = la->reads, waits = la->waits;

	la->entries = 0;
	count_disk(la);
	if (la->reads != reads || la->waits != waits)
		la->looks_left = LOOKS_COLD;
	else if (la->looks_left > 0)
		la->looks_left--;
	if (la->reads != reads)
		tree_walk_scout(la->walk);
}

int
look_ahead_new(struct tree_walk *walk, size_t files, struct look_ahead **out,
    struct err *e)
{
	struct look_ahead *la;

	if ((la = calloc(1, sizeof(*la))) == NULL)
		return err_set(e, ERR_RETRY, errno, "look ahead");
	la->walk = walk;
	la->files = files == 0 ? 1 : files;
	if (la->files > LOOK_AHEAD_FILES)
		la->files = LOOK_AHEAD_FILES;
	la->fd = -1;
	la->looks_left = LOOKS_FIRST;
	count_disk(la);
	*out = la;
	return 0;
}

void
look_ahead_free(struct look_ahead *la)
{
	if (la == NULL)
		return;
	for (; la->n > 0; la->n--) {
		own_closep(&la->slot[la->first].entry.fd);
		la->first = (la->first + 1) % (LOOK_AHEAD_FILES + 1);
	}
	own_closep(&la->fd);
	for (size_t i = 0; i <= LOOK_AHEAD_FILES; i++)
		free(la->slot[i].text);
	free(la);
}

void
look_ahead_freep(struct look_ahead **la)
{
	look_ahead_free(*la);
	*la = NULL;
}

static uint64_t
asked(const struct tree_entry *entry)
{
	if (entry->fd < 0)
		return 0;
	return entry->size < INSIDE ? entry->size : INSIDE;
}

/* Keeps an entry of the walk, whose strings do not last. */
static int
keep(struct slot *slot, const struct tree_entry *entry, struct err *e)
{
	size_t name = strlen(entry->name) + 1;
	size_t target = strlen(entry->target) + 1;

	if (name + target > slot->cap) {
		char *text = realloc(slot->text, name + target + 128);

		if (text == NULL)
			return err_set(e, ERR_RETRY, errno, "look ahead");
		slot->text = text;
		slot->cap = name + target + 128;
	}
	memcpy(slot->text, entry->name, name);
	memcpy(slot->text + name, entry->target, target);
	slot->entry = *entry;
	slot->entry.name = slot->text;
	slot->entry.target = slot->text + name;
	return 0;
}

/* Takes one more entry of the walk; false if there is none to take now. */
static bool
fill_one(struct look_ahead *la)
{
	struct slot *slot =
	    &la->slot[(la->first + la->n) % (LOOK_AHEAD_FILES + 1)];
	struct tree_entry entry;
	int rc;

	rc = tree_walk_next(la->walk, &entry, &la->err);
	if (rc < 0 && (la->err.sys == EMFILE || la->err.sys == ENFILE) &&
	    la->n > 0) {
		/* Those that wait hold files enough: first read some. */
		err_clear(&la->err);
		return false;
	}
	if (rc <= 0) {
		la->ended = true;
		return false;
	}
	if (keep(slot, &entry, &la->err) < 0) {
		own_closep(&entry.fd);
		la->ended = true;
		return false;
	}
	la->n++;
	la->bytes += asked(&entry);
	if (la->looks_left > 0 && asked(&entry) > 0)
		posix_fadvise(
		    entry.fd, 0, (off_t)asked(&entry), POSIX_FADV_WILLNEED);
	return true;
}

/* In batches: opening and reading each find their own in the CPU's cache. */
static void
fill(struct look_ahead *la)
{
	size_t files = la->looks_left > 0 ? la->files : 1;

	if (la->n > 0 && la->n >= files / 2)
		return;
	while (!la->ended && la->n < files &&
	    (la->n == 0 || la->bytes < BYTES_MAX) && fill_one(la))
		;
}

int
look_ahead_next(struct look_ahead *la, struct tree_entry *out, struct err *e)
{
	own_closep(&la->fd);
	if (++la->entries >= LOOK_ENTRIES)
		look_at_disk(la);
	fill(la);
	if (la->n == 0) {
		if (la->err.kind == ERR_NONE)
			return 0;
		*e = la->err;
		return -1;
	}
	*out = la->slot[la->first].entry;
	la->first = (la->first + 1) % (LOOK_AHEAD_FILES + 1);
	la->n--;
	la->bytes -= asked(out);
	la->fd = out->fd;
	return 1;
}

void
look_ahead_inside(struct look_ahead *la, uint64_t offset, uint64_t size)
{
	uint64_t at = offset + INSIDE - LOOK_AHEAD_STEP;

	if (offset == 0)
		return;
	look_at_disk(la);
	if (la->looks_left > 0 && at < size)
		posix_fadvise(la->fd, (off_t)at, (off_t)LOOK_AHEAD_STEP,
		    POSIX_FADV_WILLNEED);
}
