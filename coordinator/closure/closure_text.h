/*
 * Reads closures as lines of text: the registration that closureInfo and
 * `nix-store --dump-db` write (path, narHash, narSize, deriver or nothing,
 * number of references, references) and the classic exportReferencesGraph
 * (path, deriver or nothing, number of references, references; no hashes and
 * no sizes).  The second line tells which.  One thread; all is borrowed.
 */
#ifndef CLOSURE_TEXT_H
#define CLOSURE_TEXT_H

struct closure_builder;
struct closure_input;
struct err;

/* Adds what is in the text.  Errors begin with the line. */
int closure_text_read(
    struct closure_input *in, struct closure_builder *b, struct err *e);

#endif
