#include "curve_key.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zmq.h>

#include "err.h"
#include "own.h"

#define HEAD "quarry key 1\n"
#define FILE_MAX 1024 /* bytes of a key's file */

int
curve_key_make(struct curve_key *out, struct err *e)
{
	if (zmq_curve_keypair(out->public, out->secret) == 0)
		return 0;
	return err_set(e, ERR_FATAL, 0,
	    "this libzmq makes no CURVE keys (%s): install one with libsodium",
	    zmq_strerror(errno));
}

bool
curve_key_valid(const char *s)
{
	uint8_t bytes[32];

	return strlen(s) == CURVE_KEY_LEN && zmq_z85_decode(bytes, s) != NULL;
}

bool
curve_key_name_valid(const char *s)
{
	size_t len = strlen(s);

	if (len == 0 || len > CURVE_KEY_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)s[i]) &&
		    strchr("._-@", s[i]) == NULL)
			return false;
	return true;
}

/* A new file with that text, durable; none is left after a failure. */
static int
write_new(const char *path, mode_t mode, const char *text, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	size_t len = strlen(text);
	int sys;

	if (fd < 0)
		return err_set(e, ERR_USAGE, errno, "%s", path);
	if (write(fd, text, len) == (ssize_t)len && fsync(fd) == 0) {
		close(fd);
		return 0;
	}
	sys = errno;
	close(fd);
	unlink(path);
	return err_set(e, ERR_FATAL, sys, "write %s", path);
}

int
curve_key_write_public(
    const char *key, const char *file, const char *name, struct err *e)
{
	char text[FILE_MAX];

	snprintf(text, sizeof(text), "%s %s\n", key, name);
	return write_new(file, 0644, text, e);
}

int
curve_key_write(const struct curve_key *key, const char *file, const char *name,
    struct err *e)
{
	AUTO(own_freep) char *public_file = NULL;
	char text[FILE_MAX];
	int rc;

	if (asprintf(&public_file, "%s.pub", file) < 0) {
		public_file = NULL;
		return err_set(e, ERR_FATAL, ENOMEM, "key");
	}
	snprintf(text, sizeof(text), HEAD "public %s\nsecret %s\n", key->public,
	    key->secret);
	rc = write_new(file, 0600, text, e);
	explicit_bzero(text, sizeof(text));
	if (rc < 0)
		return -1;
	if (curve_key_write_public(key->public, public_file, name, e) == 0)
		return 0;
	unlink(file); /* a pair of files, or none */
	return -1;
}

/*
 * Whether others may read or write the file.  systemd (LoadCredential) and
 * Kubernetes (fsGroup) hand a secret to a user as a file of root's, mode 0440,
 * by an ACL, whose mask is what the group's bits show, or by a group.  That
 * root has chosen; of a file of this user's own it is a mistake.
 */
static bool
is_exposed(const struct stat *st)
{
	bool handed = st->st_uid == 0 && geteuid() != 0;

	return (st->st_mode & (handed ? 037 : 077)) != 0;
}

/* The whole of a small file, as a string.  private: its owner's alone. */
static int
read_small(
    const char *path, bool private, char text[static FILE_MAX], struct err *e)
{
	AUTO(own_closep) int fd = -1;
	struct stat st;
	ssize_t n;

	/* Not to wait, should it be a fifo. */
	if ((fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)) < 0 ||
	    fstat(fd, &st) < 0)
		return err_set(e, ERR_USAGE, errno, "key file %.200s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_USAGE, 0,
		    "key file %.200s: not a regular file", path);
	if (private && is_exposed(&st))
		return err_set(e, ERR_USAGE, 0,
		    "key file %.200s: others may read or write it: chmod 600 "
		    "it, or make a new key if they have",
		    path);
	if ((n = read(fd, text, FILE_MAX - 1)) < 0)
		return err_set(
		    e, ERR_USAGE, errno, "read key file %.200s", path);
	text[n] = '\0';
	if (n == FILE_MAX - 1 || strlen(text) != (size_t)n)
		return err_set(
		    e, ERR_USAGE, 0, "key file %.200s: not a key's file", path);
	return 0;
}

/* Whether both are keys, and of one pair. */
static bool
is_pair(const struct curve_key *key, bool *keys)
{
	char again[CURVE_KEY_LEN + 1];

	*keys = curve_key_valid(key->public) && curve_key_valid(key->secret) &&
	    zmq_curve_public(again, key->secret) == 0;
	return *keys && strcmp(again, key->public) == 0;
}

void
curve_key_pair(
    const struct curve_key *key, char out[static CURVE_KEY_PAIR_LEN + 1])
{
	snprintf(out, CURVE_KEY_PAIR_LEN + 1, "%s%s", key->public, key->secret);
}

int
curve_key_parse_pair(const char *text, struct curve_key *out, struct err *e)
{
	struct curve_key key = {{0}, {0}};
	bool keys;

	if (strlen(text) == CURVE_KEY_PAIR_LEN) {
		memcpy(key.public, text, CURVE_KEY_LEN);
		memcpy(key.secret, text + CURVE_KEY_LEN, CURVE_KEY_LEN);
	}
	if (is_pair(&key, &keys))
		*out = key;
	else
		err_set(e, ERR_USAGE, 0,
		    "not a key pair: %d characters, the public key and the "
		    "secret one of it, are wanted",
		    CURVE_KEY_PAIR_LEN);
	curve_key_clear(&key);
	return e->kind == ERR_NONE ? 0 : -1;
}

int
curve_key_read(const char *file, struct curve_key *out, struct err *e)
{
	struct curve_key key = {{0}, {0}};
	char text[FILE_MAX];
	int end = 0, n;
	bool keys, pair;

	if (read_small(file, true, text, e) < 0)
		return -1;
	n = sscanf(text, HEAD "public %40s secret %40s %n", key.public,
	    key.secret, &end);
	pair = is_pair(&key, &keys);
	if (n != 2 || strncmp(text, HEAD, strlen(HEAD)) != 0 ||
	    text[end] != '\0' || !keys)
		err_set(e, ERR_USAGE, 0,
		    "key file %.200s: not a key pair's file; quarry keygen "
		    "makes one",
		    file);
	else if (!pair)
		err_set(e, ERR_USAGE, 0,
		    "key file %.200s: its two keys are not a pair", file);
	else
		*out = key;
	explicit_bzero(text, sizeof(text));
	curve_key_clear(&key);
	return e->kind == ERR_NONE ? 0 : -1;
}

int
curve_key_public(
    const char *text, char out[static CURVE_KEY_LEN + 1], struct err *e)
{
	char content[FILE_MAX], name[CURVE_KEY_NAME_MAX + 1];
	char *line = content, *end;

	if (curve_key_valid(text)) {
		memcpy(out, text, CURVE_KEY_LEN + 1);
		return 0;
	}
	if (read_small(text, false, content, e) < 0)
		return err_ctx(e, "neither a key of %d characters nor a file",
		    CURVE_KEY_LEN);
	while (line != NULL) {
		if ((end = strchr(line, '\n')) != NULL)
			*end++ = '\0';
		switch (curve_key_line(line, out, name)) {
		case 1:
			return 0;
		case 0:
			line = end;
			continue;
		default:
			line = NULL;
		}
	}
	return err_set(e, ERR_USAGE, 0,
	    "key file %.200s: holds no public key (its name should end in "
	    ".pub)",
	    text);
}

int
curve_key_line(char *line, char out[static CURVE_KEY_LEN + 1],
    char name[static CURVE_KEY_NAME_MAX + 1])
{
	static const char blank[] = " \t\r\n";
	char *key = line + strspn(line, blank), *rest;

	/* No key begins so: its first five digits would be 2^32 or more. */
	if (*key == '\0' || *key == '#')
		return 0;
	rest = key + strcspn(key, blank);
	if (*rest != '\0')
		*rest++ = '\0';
	rest += strspn(rest, blank);
	rest[strcspn(rest, blank)] = '\0';
	if (!curve_key_valid(key) ||
	    (*rest != '\0' && !curve_key_name_valid(rest)))
		return -1;
	memcpy(out, key, CURVE_KEY_LEN + 1);
	memcpy(name, rest, strlen(rest) + 1);
	return 1;
}

void
curve_key_clear(struct curve_key *key)
{
	explicit_bzero(key->secret, sizeof(key->secret));
}
