/*
 * Reads folders of the file system into the tree of the root layer: the trees
 * of contents as directories and links to the store, and rootTree as it is.
 * One thread.
 */
#ifndef ROOT_SCAN_H
#define ROOT_SCAN_H

#include <stddef.h>

struct err;
struct request;
struct root_tree;

struct root_scan {
	struct root_tree *tree;
	const struct request *request;
	const char *store_root;
	size_t conflicts; /* between contents, so far */
};

/* One of the request's contents, a store path. */
int root_scan_contents(
    struct root_scan *scan, const char *store_path, struct err *e);

/* The request's rootTree, over what is there. */
int root_scan_tree(struct root_scan *scan, const char *folder, struct err *e);

/* Says how many conflicts were not shown one by one. */
void root_scan_finish(const struct root_scan *scan);

#endif
