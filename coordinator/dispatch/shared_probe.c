#include "dispatch/shared_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "own.h"
#include "probe.h"
#include "protocol.h"

#define AGAIN_MS 50
#define NAME_SIZE 64
#define WHY_MAX 256

struct shared_probe {
	const char *folder;
	uint64_t id;
	int64_t until, next;
	int dir;
	char name[NAME_SIZE], answer[NAME_SIZE];
	uint8_t key[PROBE_KEY_SIZE];
	struct digest want;
	enum shared_probe_state state;
	char why[WHY_MAX];
};

static int
make_file(struct shared_probe *p, struct err *e)
{
	AUTO(own_closep) int fd = -1;
	uint8_t content[PROBE_SIZE];
	uint64_t id;

	if (getentropy(&id, sizeof(id)) < 0 ||
	    getentropy(p->key, sizeof(p->key)) < 0 ||
	    getentropy(content, sizeof(content)) < 0)
		return err_set(e, ERR_FATAL, errno, "random bytes");
	probe_answer(p->key, content, &p->want);
	snprintf(p->name, sizeof(p->name), PROBE_PREFIX "%016" PRIx64, id);
	snprintf(p->answer, sizeof(p->answer), "%s" PROBE_SUFFIX, p->name);
	fd = openat(p->dir, p->name,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	/* The worker may be another user; fsync: for who else has it open. */
	if (fd < 0 || fchmod(fd, 0644) < 0 ||
	    write(fd, content, sizeof(content)) != (ssize_t)sizeof(content) ||
	    fsync(fd) < 0)
		return err_set(
		    e, ERR_FATAL, errno, "write %s/%s", p->folder, p->name);
	return 0;
}

int
shared_probe_new(const char *folder, uint64_t id, int64_t until,
    struct shared_probe **out, struct err *e)
{
	struct shared_probe *p;

	if ((p = calloc(1, sizeof(*p))) == NULL)
		return err_set(e, ERR_FATAL, errno, "probe");
	p->folder = folder;
	p->id = id;
	p->until = until;
	p->dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->dir < 0)
		err_set(e, ERR_FATAL, errno, "%s", folder);
	if (p->dir < 0 || make_file(p, e) < 0) {
		shared_probe_free(p);
		return -1;
	}
	*out = p;
	return 0;
}

void
shared_probe_free(struct shared_probe *p)
{
	if (p == NULL)
		return;
	if (p->name[0] != '\0') {
		unlinkat(p->dir, p->name, 0);
		unlinkat(p->dir, p->answer, 0);
	}
	own_closep(&p->dir);
	free(p);
}

void
shared_probe_message(const struct shared_probe *p, struct msg *out)
{
	*out = (struct msg){.type = MSG_PROBE};
	out->probe.probe = p->id;
	out->probe.folder = p->folder;
	out->probe.name = p->name;
	memcpy(out->probe.key, p->key, sizeof(p->key));
}

static void
decide(struct shared_probe *p, enum shared_probe_state state, const char *why)
{
	p->state = state;
	snprintf(p->why, sizeof(p->why), "%s", why);
}

void
shared_probe_answered(struct shared_probe *p, const struct msg_probed *m)
{
	if (m->probe != p->id || p->state != SHARED_PROBE_WAITING)
		return;
	/* That it cannot is its own word; that it can is looked at. */
	if (m->sys != 0)
		decide(p, SHARED_PROBE_NO, m->text);
	p->next = 0;
}

/* Opened anew each time: on NFS that asks the server what has changed. */
static int
open_answer(const struct shared_probe *p)
{
	AUTO(own_closep)
	int dir = open(p->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return dir < 0 ? -1
		       : openat(dir, p->answer,
			     O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

enum shared_probe_state
shared_probe_look(struct shared_probe *p, int64_t now)
{
	AUTO(own_closep) int fd = -1;
	struct digest found;

	if (p->state != SHARED_PROBE_WAITING || now < p->next)
		return p->state;
	p->next = now + AGAIN_MS;
	fd = open_answer(p);
	/* Shorter: it is being written, or comes in pieces. */
	if (fd >= 0 && read(fd, found.b, sizeof(found.b)) == DIGEST_SIZE) {
		if (digest_equal(&found, &p->want))
			decide(p, SHARED_PROBE_YES, "");
		else
			decide(p, SHARED_PROBE_NO,
			    "its answer is that of another file");
	} else if (now >= p->until) {
		decide(p, SHARED_PROBE_NO, "no answer of it is seen there");
	}
	return p->state;
}

int64_t
shared_probe_next(const struct shared_probe *p)
{
	return p->state != SHARED_PROBE_WAITING ? INT64_MAX : p->next;
}

const char *
shared_probe_why(const struct shared_probe *p)
{
	return p->why;
}
