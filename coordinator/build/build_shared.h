/*
 * How a build uses the shared cache: which layers others have made, and which
 * are put there when they are made.  It helps where it can; that it cannot is
 * a warning.  For build*.c.
 */
#ifndef BUILD_SHARED_H
#define BUILD_SHARED_H

struct build;
struct build_shared;
struct err;

/*
 * Layers that were not known are looked up; what is found is in the image
 * then, and fetched where an output needs its bytes.  ERR_USAGE: the way there
 * is no good.
 */
int build_shared_look_up(struct build *b, struct err *e);

/* Whose blobs those that were made now are (encoder_version.h). */
void build_shared_made_by(struct build *b, const char *library);

/* All layers are made: those that others may want are put there. */
int build_shared_put(struct build *b, struct err *e);

/* Says what came of it. */
void build_shared_tell(const struct build *b);

void build_shared_free(struct build_shared *s);

#endif
