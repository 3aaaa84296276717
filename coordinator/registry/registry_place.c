#include "registry/registry_place.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "registry/auth_file.h"
#include "err.h"
#include "http.h"
#include "log.h"
#include "own.h"
#include "registry/registry_options.h"
#include "registry/registry_places.h"
#include "registry.h"
#include "registry_auth.h"
#include "registry_name.h"

struct registry_place {
	char *base;
	struct http_tls *tls;
	struct registry_auth *auth;
	long stall_s;
	bool kept; /* by options' opened */
};

static int
make_auth(struct registry_place *p, const struct auth *found,
    const struct registry_options *o, struct err *e)
{
	const struct registry_auth_config config = {
	    .base = p->base,
	    .realms = o->token_servers,
	    .n_realms = o->n_token_servers,
	    .user = found->user,
	    .password = found->password,
	    .identity = found->identity,
	};

	return registry_auth_new(&config, &p->auth, e);
}

static int
open_place(const char *host, const struct auth *auth,
    const struct registry_options *o, struct registry_place **out,
    struct err *e)
{
	AUTO(registry_place_freep)
	struct registry_place *p = calloc(1, sizeof(*p));
	const char *server = registry_name_server(host);
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
	if (make_auth(p, auth, o, e) < 0)
		return -1;
	*out = STEAL(&p);
	return 0;
}

/* The registry, and who asks there. */
static int
place_key(const char *host, const struct auth *auth, struct digest *out,
    struct err *e)
{
	AUTO(sha256_freep) struct sha256 *h = NULL;
	const char *part[] = {registry_name_server(host), auth->user,
	    auth->password, auth->identity};

	if (sha256_new(&h, e) < 0)
		return -1;
	for (size_t i = 0; i < sizeof(part) / sizeof(part[0]); i++) {
		const char *text = part[i] != NULL ? part[i] : "";

		sha256_update(h, part[i] != NULL ? "+" : "-", 1);
		sha256_update(h, text, strlen(text) + 1);
	}
	sha256_final(h, out);
	return 0;
}

int
registry_place_open(const struct registry_name *name,
    const struct registry_options *o, struct registry_place **out,
    struct err *e)
{
	AUTO(auth_clear) struct auth auth = {0};
	struct registry_place *p = NULL;
	struct digest key;
	int rc;

	if (auth_file_find(o->auth_file, registry_places_helpers(o->opened),
		name->host, name->repo, &auth, e) < 0)
		return -1;
	if (o->opened == NULL)
		return open_place(name->host, &auth, o, out, e);
	if (place_key(name->host, &auth, &key, e) < 0)
		return -1;
	if (registry_places_begin(o->opened, &key, out))
		return 0;
	rc = open_place(name->host, &auth, o, &p, e);
	if (p != NULL)
		p->kept = true;
	if (!registry_places_end(o->opened, &key, p) && p != NULL)
		p->kept = false; /* nobody else has it */
	if (rc == 0)
		*out = p;
	return rc;
}

void
registry_place_end(struct registry_place *p)
{
	if (p == NULL)
		return;
	registry_auth_free(p->auth);
	http_tls_free(p->tls);
	free(p->base);
	free(p);
}

void
registry_place_free(struct registry_place *p)
{
	if (p != NULL && !p->kept)
		registry_place_end(p);
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
registry_place_lend(const struct registry_place *p,
    struct registry_place_lent *out, struct err *e)
{
	/* Its key would have to go along. */
	if (http_tls_shows(p->tls))
		return err_set(e, ERR_FATAL, 0,
		    "%s is shown a client's certificate", p->base);
	*out = (struct registry_place_lent){
	    .authorities = http_tls_added(p->tls),
	    .insecure = !http_tls_verifies(p->tls),
	    .stall_s = p->stall_s,
	    .near = registry_is_loopback(strstr(p->base, "://") + 3),
	};
	return 0;
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
