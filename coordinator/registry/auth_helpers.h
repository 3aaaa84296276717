/*
 * What credential helpers have said, so that each is asked once for a server in
 * a run, however many repositories there are.  It owns the answers, which are
 * secret; who asks while another one does waits for the same answer.  Any
 * thread.
 */
#ifndef AUTH_HELPERS_H
#define AUTH_HELPERS_H

struct auth;
struct auth_helpers;
struct err;

int auth_helpers_new(struct auth_helpers **out, struct err *e);
void auth_helpers_free(struct auth_helpers *all);

/*
 * As auth_helper_ask: what it said, or how it failed, the first time.  all
 * NULL: nothing is remembered.
 */
int auth_helpers_ask(struct auth_helpers *all, const char *name,
    const char *server, struct auth *out, struct err *e);

#endif
