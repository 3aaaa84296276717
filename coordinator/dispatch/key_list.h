/*
 * The public keys of those who may join: from a file with a key and a name on
 * each line ("# ..." is a comment), or from a folder whose *.pub files are
 * such files.  Read once, then const: usable in any thread.
 */
#ifndef KEY_LIST_H
#define KEY_LIST_H

#include <stddef.h>

struct err;
struct key_list;

#define KEY_LIST_MAX 1000000

/* ERR_USAGE names file and line; a key that comes twice is an error. */
int key_list_read(const char *path, struct key_list **out, struct err *e);
/* An empty list. */
int key_list_new(struct key_list **out, struct err *e);
void key_list_free(struct key_list *l);
void key_list_freep(struct key_list **l);

/* Adds a key to a list that no one else uses yet. */
int key_list_add(
    struct key_list *l, const char *key, const char *name, struct err *e);

size_t key_list_count(const struct key_list *l);

/* The key's name ("" where it has none), the list's own; NULL: not listed. */
const char *key_list_find(const struct key_list *l, const char *key);

#endif
