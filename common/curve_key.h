/*
 * CURVE keys: who a worker or a coordinator is.  A key is the 40 characters of
 * Z85 (ZeroMQ RFC 32) that libzmq takes.  A key pair's file is
 *
 *	quarry key 1
 *	public PUBLIC-KEY
 *	secret SECRET-KEY
 *
 * readable for its owner alone; a public key's file is one line: the key, a
 * space, and a name for people.  Where a pair has to be one word (a variable of
 * the environment) it is the public key with the secret one right behind it.
 * Usable in any thread.
 */
#ifndef CURVE_KEY_H
#define CURVE_KEY_H

#include <stdbool.h>

struct err;

#define CURVE_KEY_LEN 40
#define CURVE_KEY_PAIR_LEN (2 * CURVE_KEY_LEN)
#define CURVE_KEY_NAME_MAX 64 /* bytes: letters, digits, '.', '_', '-', '@' */

struct curve_key {
	char public[CURVE_KEY_LEN + 1];
	char secret[CURVE_KEY_LEN + 1];
};

/* A new pair.  ERR_FATAL: libzmq was built without CURVE. */
int curve_key_make(struct curve_key *out, struct err *e);

/* Whether s is a key, whatever it may unlock. */
bool curve_key_valid(const char *s);

/* Whether s can be the name of a key. */
bool curve_key_name_valid(const char *s);

/*
 * Writes FILE (the pair, mode 0600) and FILE.pub (the public key and name).
 * What is there already is not replaced: ERR_USAGE.
 */
int curve_key_write(const struct curve_key *key, const char *file,
    const char *name, struct err *e);

/* Writes a public key's file.  ERR_USAGE where there is one already. */
int curve_key_write_public(
    const char *key, const char *file, const char *name, struct err *e);

/*
 * The pair as one word, and back: ERR_USAGE where it is none (text not said,
 * it is a secret).
 */
void curve_key_pair(
    const struct curve_key *key, char out[static CURVE_KEY_PAIR_LEN + 1]);
int curve_key_parse_pair(
    const char *text, struct curve_key *out, struct err *e);

/*
 * Reads a pair's file.  ERR_USAGE where it is not one, or where others than
 * its owner may read or write it (of a file of root's, a group may read it).
 */
int curve_key_read(const char *file, struct curve_key *out, struct err *e);

/*
 * text is a public key itself, or else names a public key's file.  ERR_USAGE.
 */
int curve_key_public(
    const char *text, char out[static CURVE_KEY_LEN + 1], struct err *e);

/*
 * Reads one line of a list of public keys: a key, then perhaps a name.  1: out
 * and name (a copy; "" where there is none) are set; 0: the line is blank or a
 * comment ("# ..."); -1, no error set: neither.
 */
int curve_key_line(char *line, char out[static CURVE_KEY_LEN + 1],
    char name[static CURVE_KEY_NAME_MAX + 1]);

/* Overwrites the secret, so that it does not stay in memory. */
void curve_key_clear(struct curve_key *key);

#endif
