/*
 * Reads a closure from the files that people have (told apart by content):
 * JSON of nix path-info (array, object keyed by path, wrapped object), the
 * .attrs.json of exportReferencesGraph, closureInfo's registration text, the
 * classic exportReferencesGraph text.  See README, "Closures".
 */
#ifndef CLOSURE_FILE_H
#define CLOSURE_FILE_H

#include <stddef.h>

struct closure;
struct closure_input;
struct err;

/*
 * name: the file, or "-" for standard input; what errors call it.  Errors
 * are ERR_USAGE and give name and byte offset or line.
 */
int closure_file_read(const char *name, const char *store_dir,
    struct closure **out, struct err *e);

/* The same from memory; data need not end in NUL and may be changed. */
int closure_file_parse(const char *name, char *data, size_t len,
    const char *store_dir, struct closure **out, struct err *e);

/* The same from an input (closure_input.h); errors leave out the name. */
int closure_file_take(struct closure_input *in, const char *store_dir,
    struct closure **out, struct err *e);

/*
 * Asks Nix for the closure of n store paths: `nix path-info --json
 * --recursive`, or `nix-store --query` where that command is off or missing.
 * store_root: a store under another root, or "".  Starts child processes.
 */
int closure_nix_query(const char *const *paths, size_t n, const char *store_dir,
    const char *store_root, struct closure **out, struct err *e);

#endif
