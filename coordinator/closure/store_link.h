/*
 * Follows symlinks inside a store that may lie under another root: an
 * absolute target means what the image shows, not what this machine does.
 * Usable in any thread.
 */
#ifndef STORE_LINK_H
#define STORE_LINK_H

struct err;

#define STORE_LINK_MAX 40 /* as the kernel */

/*
 * *out: the file under store_root that path stands for, without symlinks; the
 * caller's.  ERR_USAGE: too many links, one that leaves the store, nothing
 * there.
 */
int store_link_resolve(const char *store_root, const char *store_dir,
    const char *path, char **out, struct err *e);

#endif
