/*
 * What OCI calls a machine's architecture (Go's names).  Pure, but for
 * architecture_here.
 */
#ifndef ARCHITECTURE_H
#define ARCHITECTURE_H

/* From uname's word for it; a word that is not known is taken as it is. */
const char *architecture_of(const char *machine);

#define ARCHITECTURE_HERE_SIZE 66
/* Of the machine that this runs on. */
void architecture_here(char out[static ARCHITECTURE_HERE_SIZE]);

#endif
