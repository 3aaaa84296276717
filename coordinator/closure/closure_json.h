/*
 * Reads closures as JSON: what `nix path-info --json` prints (an array of
 * objects, or an object keyed by store path), the same as the value of any
 * key of an object (newer Nix wraps it so), and .attrs.json, whose keys may
 * hold several graphs.  Keys that say nothing about the graph are skipped.
 * One thread; all is borrowed.
 */
#ifndef CLOSURE_JSON_H
#define CLOSURE_JSON_H

struct closure_builder;
struct closure_input;
struct err;

/* Adds what is in the document.  Errors begin with the byte offset. */
int closure_json_read(struct closure_input *in, const char *store_dir,
    struct closure_builder *b, struct err *e);

#endif
