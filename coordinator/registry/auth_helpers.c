#include "registry/auth_helpers.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "own.h"
#include "registry/auth_file.h"
#include "registry/auth_helper.h"

struct said {
	char *name, *server;
	struct auth auth;
	struct err err; /* in place of it, if set */
	struct said *next;
};

struct auth_helpers {
	pthread_mutex_t lock; /* also while one runs */
	struct said *said;    /* of as many registries as there are */
};

int
auth_helpers_new(struct auth_helpers **out, struct err *e)
{
	struct auth_helpers *all = calloc(1, sizeof(*all));

	if (all == NULL)
		return err_set(e, ERR_FATAL, errno, "credential helpers");
	pthread_mutex_init(&all->lock, NULL);
	*out = all;
	return 0;
}

static void
said_free(struct said *s)
{
	auth_clear(&s->auth);
	free(s->name);
	free(s->server);
	free(s);
}

void
auth_helpers_free(struct auth_helpers *all)
{
	struct said *s;

	if (all == NULL)
		return;
	while ((s = all->said) != NULL) {
		all->said = s->next;
		said_free(s);
	}
	pthread_mutex_destroy(&all->lock);
	free(all);
}

static int
copy(const char *from, char **to)
{
	return from == NULL || (*to = strdup(from)) != NULL ? 0 : -1;
}

static int
tell(const struct said *s, struct auth *out, struct err *e)
{
	if (s->err.kind != ERR_NONE) {
		*e = s->err;
		return -1;
	}
	if (copy(s->auth.user, &out->user) < 0 ||
	    copy(s->auth.password, &out->password) < 0 ||
	    copy(s->auth.identity, &out->identity) < 0) {
		auth_clear(out);
		return err_set(e, ERR_FATAL, ENOMEM, "credential helpers");
	}
	return 0;
}

static struct said *
find(const struct auth_helpers *all, const char *name, const char *server)
{
	struct said *s = all->said;

	while (s != NULL &&
	    (strcmp(s->name, name) != 0 || strcmp(s->server, server) != 0))
		s = s->next;
	return s;
}

/* NULL: out of memory. */
static struct said *
ask(struct auth_helpers *all, const char *name, const char *server)
{
	struct said *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->err = (struct err)ERR_INIT;
	if ((s->name = strdup(name)) == NULL ||
	    (s->server = strdup(server)) == NULL) {
		said_free(s);
		return NULL;
	}
	auth_helper_ask(name, server, &s->auth, &s->err);
	s->next = all->said;
	all->said = s;
	return s;
}

int
auth_helpers_ask(struct auth_helpers *all, const char *name, const char *server,
    struct auth *out, struct err *e)
{
	const struct said *s;
	int rc;

	if (all == NULL)
		return auth_helper_ask(name, server, out, e);
	pthread_mutex_lock(&all->lock);
	if ((s = find(all, name, server)) == NULL)
		s = ask(all, name, server);
	rc = s != NULL ? tell(s, out, e)
		       : err_set(e, ERR_FATAL, ENOMEM, "credential helpers");
	pthread_mutex_unlock(&all->lock);
	return rc;
}
