/*
 * Programs that know passwords: docker-credential-NAME, by the protocol of
 * docker's credential helpers ("get" with the server on standard input, JSON
 * on standard output).
 */
#ifndef AUTH_HELPER_H
#define AUTH_HELPER_H

struct auth;
struct err;

#define AUTH_HELPER_MS 60000
#define AUTH_HELPER_ANSWER_MAX 65536

/*
 * Asks the helper `name` for `server`.  A helper that does not know it leaves
 * *out as it is.  ERR_USAGE: it cannot be run, or does not behave.  What it
 * says goes nowhere else.
 */
int auth_helper_ask(
    const char *name, const char *server, struct auth *out, struct err *e);

#endif
