/*
 * Users and passwords for registries, where podman and docker keep them
 * (containers-auth.json(5)): the file that is named, REGISTRY_AUTH_FILE,
 * XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json,
 * ~/.docker/config.json; and programs that know them (credHelpers, credsStore:
 * docker-credential-NAME).  The first file that has something counts.
 */
#ifndef AUTH_FILE_H
#define AUTH_FILE_H

struct auth_helpers;
struct err;

struct auth {
	/* NULL: none.  The caller's. */
	char *user, *password;
	char *identity; /* a token that is good for tokens */
};

/*
 * file: what --authfile says, which must be there, or NULL.  host:
 * "HOST[:PORT]"; repo: an entry for "HOST/FOLDER" counts before "HOST".  No
 * entry is no error.  helpers: remembers what they say, or NULL.  ERR_USAGE
 * names the file or program, never a secret.
 */
int auth_file_find(const char *file, struct auth_helpers *helpers,
    const char *host, const char *repo, struct auth *out, struct err *e);
void auth_clear(struct auth *a);

#endif
