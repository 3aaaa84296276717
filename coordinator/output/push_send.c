#include "output/push_send.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/base_registry.h"
#include "digest.h"
#include "err.h"
#include "own.h"
#include "output/push.h"
#include "registry/registry_place.h"
#include "process/scratch.h"

/* An unnamed file. */
static int
temp_file(int *fd, struct err *e)
{
	AUTO(own_freep) char *path = NULL;

	if (asprintf(&path, "%s/.quarry-XXXXXX", scratch_temp()) < 0) {
		path = NULL;
		return err_set(e, ERR_FATAL, errno, "push");
	}
	if ((*fd = mkostemp(path, O_CLOEXEC)) < 0)
		return err_set(e, ERR_FATAL, errno, "make %s", path);
	unlink(path);
	return 0;
}

/* From where it is, if it is not here. */
static int
fetch(const struct push_send *to, const struct push_blob *b, int fd,
    struct err *e)
{
	AUTO(registry_freep) struct registry *from = NULL;
	const char *base = registry_place_base(to->place);
	char text[DIGEST_TEXT_SIZE];

	if (b->source != NULL && b->from == NULL &&
	    strcmp(base_registry_base(b->source), base) != 0)
		return base_registry_get(b->source, &b->digest, b->size, fd, e);
	if (b->from == NULL) {
		digest_text(&b->digest, text);
		return err_set(e, ERR_FATAL, 0,
		    "%s/%s: it has lost %s, which an image there is made of",
		    base, to->repo, text);
	}
	if (registry_place_session(
		to->place, b->from, true, to->cancel, &from, e) < 0)
		return -1;
	return registry_get_blob(from, &b->digest, b->size, fd, e);
}

/* What the registry does not mount goes by way of this machine. */
static int
relay(const struct push_send *to, const struct push_blob *b,
    enum registry_way *way, struct err *e)
{
	AUTO(own_closep) int fd = -1;
	struct registry_blob blob = {.digest = &b->digest, .size = b->size};

	if (temp_file(&fd, e) < 0 || fetch(to, b, fd, e) < 0)
		return -1;
	blob.fd = fd;
	return registry_push_blob(to->session, &blob, way, e);
}

int
push_send(const struct push_send *to, const struct push_blob *b,
    enum registry_way *way, struct err *e)
{
	struct registry_blob blob = {
	    .digest = &b->digest,
	    .size = b->size,
	    .fd = -1,
	    .data = b->data,
	    .from = b->from,
	    .absent = b->file == NULL && b->data == NULL,
	};
	AUTO(own_closep) int fd = -1;

	if (b->file != NULL) {
		fd = open(b->file, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return err_set(e, ERR_FATAL, errno, "%s", b->file);
	}
	blob.fd = fd;
	if (registry_push_blob(to->session, &blob, way, e) < 0)
		return -1;
	return *way == REGISTRY_LACKED ? relay(to, b, way, e) : 0;
}
