#include "registry/registry_place.h"

#include <errno.h>
#include <stdlib.h>

#include "registry/auth_file.h"
#include "err.h"
#include "http.h"
#include "log.h"
#include "own.h"
#include "registry/registry_options.h"
#include "registry.h"
#include "registry_auth.h"
#include "registry_name.h"

struct registry_place {
	char *base;
	struct http_tls *tls;
	struct registry_auth *auth;
	long stall_s;
};

static int
make_auth(struct registry_place *p, const struct registry_name *name,
    const struct registry_options *o, struct err *e)
{
	AUTO(auth_clear) struct auth found = {0};
	struct registry_auth_config config = {
	    .base = p->base,
	    .realms = o->token_servers,
	    .n_realms = o->n_token_servers,
	};

	if (auth_file_find(o->auth_file, name->host, name->repo, &found, e) < 0)
		return -1;
	config.user = found.user;
	config.password = found.password;
	config.identity = found.identity;
	return registry_auth_new(&config, &p->auth, e);
}

int
registry_place_open(const struct registry_name *name,
    const struct registry_options *o, struct registry_place **out,
    struct err *e)
{
	AUTO(registry_place_freep)
	struct registry_place *p = calloc(1, sizeof(*p));
	const char *server = registry_name_server(name->host);
	bool plain = o->insecure || registry_is_loopback(server);

	if (p == NULL)
		return err_set(e, ERR_FATAL, errno, "registry");
	p->stall_s = o->stall_s;
	if (http_tls_new(o->cert_dir, !o->insecure, &p->tls, e) < 0 ||
	    registry_find(server, plain, p->tls, o->stall_s, &p->base, e) < 0)
		return -1;
	if (o->insecure)
		log_line(LOG_WARNING,
		    "--tls-verify=false: %s may be anybody, and everybody "
		    "between can read and change what it gets",
		    p->base);
	if (make_auth(p, name, o, e) < 0)
		return -1;
	*out = STEAL(&p);
	return 0;
}

void
registry_place_free(struct registry_place *p)
{
	if (p == NULL)
		return;
	registry_auth_free(p->auth);
	http_tls_free(p->tls);
	free(p->base);
	free(p);
}

void
registry_place_freep(struct registry_place **p)
{
	registry_place_free(*p);
	*p = NULL;
}

const char *
registry_place_base(const struct registry_place *p)
{
	return p->base;
}

int
registry_place_session(struct registry_place *p, const char *repo, bool pull,
    const atomic_bool *cancel, struct registry **out, struct err *e)
{
	const struct registry_config config = {
	    .base = p->base,
	    .repo = repo,
	    .auth = p->auth,
	    .tls = p->tls,
	    .cancel = cancel,
	    .stall_s = p->stall_s,
	    .pull = pull,
	};

	return registry_new(&config, out, e);
}
