#include "nar_reader.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "own.h"
#include "store_path.h"
#include "tree_walk.h"

/* The longest of the format's own words. */
#define WORD_MAX 32

/*
 * nar     = "nix-archive-1" node
 * node    = "(" "type" ( regular / symlink / directory ) ")"
 * regular = "regular" [ "executable" "" ] "contents" content
 * symlink = "symlink" "target" target
 * directory = "directory" *( "entry" "(" "name" name "node" node ")" )
 * Each string is its length, its bytes, and zeros up to a multiple of 8.
 */
enum state {
	AT_MAGIC,
	AT_NODE, /* its "(" */
	AT_TYPE,
	AT_KIND,
	AT_REGULAR, /* "executable" or "contents" */
	AT_EXECUTABLE,
	AT_CONTENTS,
	AT_TARGET,
	AT_LINK,
	AT_NODE_END,
	AT_DIRECTORY, /* "entry" or ")" */
	AT_ENTRY,
	AT_NAME_WORD,
	AT_NAME,
	AT_NODE_WORD,
	AT_ENTRY_END,
	AT_END
};

/* How far the string is that the state wants. */
enum part { IN_LENGTH, IN_BYTES, IN_PADDING };

struct frame {
	size_t name_len; /* of the directory's own name, in name */
	size_t last_len; /* of its last entry's, after name_len and '/' */
};

struct nar_reader {
	enum state state;
	enum part part;
	bool in_content; /* the string is a file's, and not kept */
	bool executable;
	uint64_t left; /* bytes of the NAR that may still come */
	uint64_t len, done;
	uint8_t length[8];
	struct frame frame[NAR_DEPTH_MAX];
	size_t depth;	 /* open directories */
	size_t name_len; /* of the current node's name, in name */
	size_t base;
	size_t root_len; /* of the store path */
	char word[NAR_TARGET_MAX + 1];
	char name[TAR_NAME_MAX + 1];
};

int
nar_reader_new(struct nar_reader **out, struct err *e)
{
	if ((*out = calloc(1, sizeof(**out))) == NULL)
		return err_set(e, ERR_RETRY, errno, "NAR reader");
	return 0;
}

void
nar_reader_free(struct nar_reader *r)
{
	free(r);
}

void
nar_reader_freep(struct nar_reader **r)
{
	nar_reader_free(*r);
	*r = NULL;
}

void
nar_reader_start(struct nar_reader *r, const char *store_path, uint64_t size)
{
	r->state = AT_MAGIC;
	r->part = IN_LENGTH;
	r->in_content = false;
	r->left = size;
	r->done = 0;
	r->depth = 0;
	r->name_len = strlen(store_path);
	memcpy(r->name, store_path, r->name_len + 1);
	r->root_len = r->name_len;
	r->base = (size_t)(store_path_base(r->name) - r->name);
}

static int
bad(const struct nar_reader *r, const char *why, struct err *e)
{
	char shown[TREE_SHOWN_MAX];

	tree_show("", r->name + r->root_len, shown);
	return err_set(e, ERR_RETRY, 0, "NAR: %s%s%s", shown,
	    *shown != '\0' ? ": " : "", why);
}

static const char *
wanted_word(enum state state)
{
	switch (state) {
	case AT_MAGIC:
		return "nix-archive-1";
	case AT_NODE:
	case AT_ENTRY:
		return "(";
	case AT_TYPE:
		return "type";
	case AT_CONTENTS:
		return "contents";
	case AT_TARGET:
		return "target";
	case AT_NODE_END:
	case AT_ENTRY_END:
		return ")";
	case AT_NAME_WORD:
		return "name";
	case AT_NODE_WORD:
		return "node";
	case AT_EXECUTABLE:
		return "";
	case AT_KIND:
	case AT_REGULAR:
	case AT_DIRECTORY:
	case AT_NAME:
	case AT_LINK:
	case AT_END:
		break;
	}
	return NULL;
}

/* The length of the next string is known: is it one that may come here? */
static int
take_length(struct nar_reader *r, struct err *e)
{
	uint64_t len = 0, max = WORD_MAX;

	for (size_t i = 0; i < sizeof(r->length); i++)
		len |= (uint64_t)r->length[i] << 8 * i;
	if (r->in_content)
		max = UINT64_MAX;
	else if (r->state == AT_NAME)
		max = NAR_NAME_MAX;
	else if (r->state == AT_LINK)
		max = NAR_TARGET_MAX;
	/* First this: then padding cannot overflow. */
	if (len > r->left || len + -len % 8 > r->left)
		return bad(r, "holds more than NarSize says", e);
	if (len > max)
		return bad(r,
		    r->state == AT_NAME	      ? "an entry's name is too long"
			: r->state == AT_LINK ? "links to a name too long"
					      : "is not as a NAR is",
		    e);
	r->len = len;
	r->done = 0;
	return 0;
}

/* The node is an entry with all that is known of it. */
static void
set_entry(const struct nar_reader *r, enum tar_type type, uint32_t mode,
    struct tree_entry *out)
{
	*out = (struct tree_entry){.type = type,
	    .depth = r->depth,
	    .name = r->name,
	    .base = r->base,
	    .target = type == TAR_SYMLINK ? r->word : "",
	    .mode = mode,
	    .size = type == TAR_REGULAR ? r->len : 0,
	    .fd = -1};
}

static int
open_directory(struct nar_reader *r, struct tree_entry *out, struct err *e)
{
	if (r->depth == NAR_DEPTH_MAX)
		return bad(r, "is nested too deep (64 directories)", e);
	set_entry(r, TAR_DIRECTORY, 0555, out);
	r->frame[r->depth++] =
	    (struct frame){.name_len = r->name_len, .last_len = 0};
	r->state = AT_DIRECTORY;
	return 0;
}

/* A node is complete, its own ")" included. */
static void
close_node(struct nar_reader *r)
{
	r->state = r->depth == 0 ? AT_END : AT_ENTRY_END;
}

static int
take_name(struct nar_reader *r, struct err *e)
{
	struct frame *f = &r->frame[r->depth - 1];
	size_t len = (size_t)r->len;
	const char *last = r->name + f->name_len + 1;
	char *end = r->name + f->name_len;

	if (len == 0 || memchr(r->word, '/', len) != NULL ||
	    strcmp(r->word, ".") == 0 || strcmp(r->word, "..") == 0) {
		*end = '\0';
		return bad(r, "holds an entry whose name is none", e);
	}
	if (f->last_len > 0) {
		r->name[f->name_len + 1 + f->last_len] = '\0';
		if (strcmp(last, r->word) >= 0)
			return bad(r, "the entry after it is out of order", e);
	}
	/* A directory gets a '/' in the tar. */
	if (f->name_len + 1 + len + 1 > TAR_NAME_MAX) {
		*end = '\0';
		return bad(r, "holds an entry whose whole name is too long", e);
	}
	*end = '/';
	memcpy(end + 1, r->word, len + 1);
	f->last_len = len;
	r->name_len = f->name_len + 1 + len;
	r->base = f->name_len + 1;
	r->state = AT_NODE_WORD;
	return 0;
}

static int
take_link(struct nar_reader *r, struct tree_entry *out, struct err *e)
{
	if (r->len == 0)
		return bad(r, "links to what is no name", e);
	set_entry(r, TAR_SYMLINK, 0777, out);
	r->state = AT_NODE_END;
	return 0;
}

static int
take_kind(
    struct nar_reader *r, struct tree_entry *out, bool *entry, struct err *e)
{
	if (strcmp(r->word, "directory") == 0) {
		*entry = true;
		return open_directory(r, out, e);
	}
	r->executable = false;
	if (strcmp(r->word, "regular") == 0)
		r->state = AT_REGULAR;
	else if (strcmp(r->word, "symlink") == 0)
		r->state = AT_TARGET;
	else
		return bad(r, "is of an unknown type", e);
	return 0;
}

/* After the one word that can come, the state that follows. */
static int
take_word(struct nar_reader *r, struct err *e)
{
	if (strcmp(r->word, wanted_word(r->state)) != 0)
		return bad(r, "is not as a NAR is", e);
	switch (r->state) {
	case AT_NODE_END:
		close_node(r);
		break;
	case AT_ENTRY_END:
		r->state = AT_DIRECTORY;
		break;
	case AT_NODE_WORD:
		r->state = AT_NODE;
		break;
	case AT_EXECUTABLE:
		r->executable = true;
		r->state = AT_CONTENTS;
		break;
	case AT_CONTENTS:
		r->in_content = true;
		break;
	case AT_MAGIC:
	case AT_NODE:
	case AT_TYPE:
	case AT_TARGET:
	case AT_ENTRY:
	case AT_NAME_WORD:
		r->state++;
		break;
	case AT_KIND:
	case AT_REGULAR:
	case AT_LINK:
	case AT_DIRECTORY:
	case AT_NAME:
	case AT_END:
		break;
	}
	return 0;
}

static int
take_either(struct nar_reader *r, struct err *e)
{
	if (r->state == AT_REGULAR && strcmp(r->word, "executable") == 0) {
		r->state = AT_EXECUTABLE;
	} else if (r->state == AT_REGULAR) {
		r->state = AT_CONTENTS;
		return take_word(r, e);
	} else if (strcmp(r->word, "entry") == 0) {
		r->state = AT_ENTRY;
	} else if (strcmp(r->word, ")") == 0) {
		r->name_len = r->frame[--r->depth].name_len;
		r->name[r->name_len] = '\0';
		close_node(r);
	} else {
		return bad(r, "is not as a NAR is", e);
	}
	return 0;
}

/* A string is complete; *entry: it was the last of what makes one. */
static int
take_string(
    struct nar_reader *r, struct tree_entry *out, bool *entry, struct err *e)
{
	r->part = IN_LENGTH;
	r->done = 0;
	r->word[r->len] = '\0';
	if (strlen(r->word) != r->len)
		return bad(r, "a NUL is in a name", e);
	switch (r->state) {
	case AT_KIND:
		return take_kind(r, out, entry, e);
	case AT_LINK:
		*entry = true;
		return take_link(r, out, e);
	case AT_NAME:
		return take_name(r, e);
	case AT_REGULAR:
	case AT_DIRECTORY:
		return take_either(r, e);
	case AT_MAGIC:
	case AT_NODE:
	case AT_TYPE:
	case AT_EXECUTABLE:
	case AT_CONTENTS:
	case AT_TARGET:
	case AT_NODE_END:
	case AT_ENTRY:
	case AT_NAME_WORD:
	case AT_NODE_WORD:
	case AT_ENTRY_END:
	case AT_END:
		break;
	}
	return take_word(r, e);
}

/* How many bytes the current part of the string still wants. */
static uint64_t
part_left(const struct nar_reader *r)
{
	switch (r->part) {
	case IN_LENGTH:
		return sizeof(r->length) - r->done;
	case IN_BYTES:
		return r->len - r->done;
	case IN_PADDING:
		break;
	}
	return r->len + -r->len % 8 - r->done;
}

static int
check_zeros(
    const struct nar_reader *r, const uint8_t *data, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (data[i] != 0)
			return bad(r, "padding is not zero", e);
	return 0;
}

/* n bytes of the current part, no more than it wants. */
static int
take_bytes(struct nar_reader *r, const uint8_t *data, size_t n, struct err *e)
{
	r->left -= n;
	if (r->part == IN_PADDING && check_zeros(r, data, n, e) < 0)
		return -1;
	if (r->part == IN_LENGTH)
		memcpy(r->length + r->done, data, n);
	else if (r->part == IN_BYTES && !r->in_content)
		memcpy(r->word + r->done, data, n);
	r->done += n;
	return 0;
}

/*
 * The current part is complete: on to the next one that wants bytes, or to
 * the end of the string.
 */
static int
end_part(
    struct nar_reader *r, struct tree_entry *out, bool *entry, struct err *e)
{
	if (r->part == IN_LENGTH) {
		if (take_length(r, e) < 0)
			return -1;
		r->part = IN_BYTES;
		if (r->in_content) {
			set_entry(
			    r, TAR_REGULAR, r->executable ? 0555 : 0444, out);
			*entry = true;
			return 0;
		}
	}
	if (r->part == IN_BYTES && r->done == r->len)
		r->part = IN_PADDING;
	if (r->part != IN_PADDING || part_left(r) > 0)
		return 0;
	if (!r->in_content)
		return take_string(r, out, entry, e);
	r->in_content = false;
	r->part = IN_LENGTH;
	r->done = 0;
	r->state = AT_NODE_END;
	return 0;
}

int
nar_reader_next(struct nar_reader *r, const uint8_t *data, size_t len,
    size_t *used, enum nar_event *event, struct tree_entry *entry,
    struct err *e)
{
	bool found = false;
	size_t at = 0, n;

	*event = NAR_NEED_MORE;
	while (!found) {
		uint64_t want = part_left(r);
		bool content = r->in_content && r->part == IN_BYTES;

		*used = at;
		if (r->state == AT_END) {
			*event = NAR_END;
			return at == len ? 0 : bad(r, "more follows it", e);
		}
		if (want > 0 && at == len)
			return 0;
		if (want > 0 && r->left == 0)
			return bad(r, "holds more than NarSize says", e);
		n = want < len - at ? (size_t)want : len - at;
		if (n > r->left)
			n = (size_t)r->left;
		/* An entry was said before: content starts at data. */
		assert(!content || at == 0 || n == 0);
		if (take_bytes(r, data + at, n, e) < 0)
			return -1;
		at += n;
		*used = at;
		if (n == want && end_part(r, entry, &found, e) < 0)
			return -1;
		if (content && n > 0) {
			*event = NAR_CONTENT;
			return 0;
		}
	}
	*event = NAR_ENTRY;
	return 0;
}
