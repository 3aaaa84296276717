/* Key files: what is written is read again, and nothing else is. */
#include "curve_key.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "err.h"

static char folder[] = "/tmp/test-curve-key-XXXXXX";

static int
make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) == NULL ? -1 : 0;
}

static int
remove_folder(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", folder);
	return system(command);
}

static const char *
in_folder(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static const char *
put(const char *name, mode_t mode, const char *text)
{
	const char *path = in_folder(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	return path;
}

static void
written_and_read(void **state)
{
	struct curve_key key, again;
	char public[CURVE_KEY_LEN + 1];
	struct err e = ERR_INIT;
	struct stat st;

	(void)state;
	assert_int_equal(curve_key_make(&key, &e), 0);
	assert_true(curve_key_valid(key.public));
	assert_int_equal(curve_key_write(&key, in_folder("w1"), "w1", &e), 0);
	assert_int_equal(stat(in_folder("w1"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(curve_key_read(in_folder("w1"), &again, &e), 0);
	assert_string_equal(again.public, key.public);
	assert_string_equal(again.secret, key.secret);
	assert_int_equal(curve_key_public(in_folder("w1.pub"), public, &e), 0);
	assert_string_equal(public, key.public);
	assert_int_equal(curve_key_public(key.public, public, &e), 0);
	assert_string_equal(public, key.public);
	curve_key_clear(&again);
	assert_string_equal(again.secret, "");
}

/* As user and group nobody: 0 if the key is taken. */
static int
read_as_nobody(const char *path)
{
	struct curve_key key;
	struct err e = ERR_INIT;
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (setgroups(0, NULL) < 0 || setgid(65534) < 0 ||
		    setuid(65534) < 0)
			_exit(2);
		_exit(curve_key_read(path, &key, &e) < 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 2);
	return WEXITSTATUS(status);
}

/* What root lets a group read is the group's to use: systemd, Kubernetes. */
static void
handed_by_root(void **state)
{
	static const struct {
		uid_t owner;
		mode_t mode;
		int status;
	} cases[] = {
	    {0, 0440, 0},
	    {0, 0640, 0},
	    {0, 0400, 1}, /* not readable at all */
	    {0, 0460, 1},
	    {0, 0444, 1},
	    {65534, 0400, 0}, /* systemd, where there are no ACLs */
	    {65534, 0440, 1},
	};
	struct curve_key key;
	struct err e = ERR_INIT;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(folder, 0755), 0);
	assert_int_equal(curve_key_make(&key, &e), 0);
	assert_int_equal(
	    curve_key_write(&key, in_folder("handed"), "x", &e), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *path = in_folder("handed");

		assert_int_equal(chown(path, cases[i].owner, 65534), 0);
		assert_int_equal(chmod(path, cases[i].mode), 0);
		assert_int_equal(read_as_nobody(path), cases[i].status);
	}
}

/* A key in use is not lost to a second keygen; no half of a pair is left. */
static void
not_replaced(void **state)
{
	struct curve_key key;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(curve_key_make(&key, &e), 0);
	assert_int_equal(curve_key_write(&key, in_folder("twice"), "x", &e), 0);
	assert_int_equal(
	    curve_key_write(&key, in_folder("twice"), "x", &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_int_equal(e.sys, EEXIST);
	err_clear(&e);
	put("half.pub", 0644, "");
	assert_int_equal(curve_key_write(&key, in_folder("half"), "x", &e), -1);
	assert_int_equal(access(in_folder("half"), F_OK), -1);
}

static void
refused(void **state)
{
	static const char good[] = "quarry key 1\npublic %s\nsecret %s\n";
	char text[256], public[CURVE_KEY_LEN + 1];
	struct curve_key key, other, out;
	const struct {
		const char *text, *why;
		mode_t mode;
	} bad[] = {
	    {"", "not a key pair", 0600},
	    {"quarry key 2\n", "not a key pair", 0600},
	    {"quarry key 1\npublic x\nsecret y\n", "not a key pair", 0600},
	    {text, "others may read", 0640},
	    {text, "others may read", 0602},
	};
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(curve_key_make(&key, &e), 0);
	assert_int_equal(curve_key_make(&other, &e), 0);
	snprintf(text, sizeof(text), good, key.public, key.secret);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *path = put("bad", bad[i].mode, bad[i].text);

		assert_int_equal(curve_key_read(path, &out, &e), -1);
		assert_int_equal(e.kind, ERR_USAGE);
		assert_non_null(strstr(e.text, bad[i].why));
		assert_null(strstr(e.text, key.secret));
		err_clear(&e);
	}
	snprintf(text, sizeof(text), good, key.public, other.secret);
	assert_int_equal(
	    curve_key_read(put("no-pair", 0600, text), &out, &e), -1);
	assert_non_null(strstr(e.text, "not a pair"));
	err_clear(&e);
	/* A pair's file is no public key: it would be handed around. */
	assert_int_equal(
	    curve_key_public(put("pair", 0600, text), public, &e), -1);
	assert_non_null(strstr(e.text, "no public key"));
	err_clear(&e);
	assert_int_equal(curve_key_read(in_folder("none"), &out, &e), -1);
	assert_int_equal(e.sys, ENOENT);
	err_clear(&e);
	assert_int_equal(curve_key_read(folder, &out, &e), -1);
}

static void
lines(void **state)
{
	static const char key[] = "1#34567890123456789012345678901234567890";
	char out[CURVE_KEY_LEN + 1], name[CURVE_KEY_NAME_MAX + 1], line[200];
	const struct {
		const char *text;
		int rc;
		const char *name;
	} cases[] = {
	    {"", 0, ""},
	    {" \t\n", 0, ""},
	    {"# a comment\n", 0, ""},
	    {"#\n", 0, ""},
	    {"%s\n", 1, ""},
	    {"  %s  worker-1 \r\n", 1, "worker-1"},
	    {"%s worker one\n", 1, "worker"},
	    {"%s w/1\n", -1, ""},
	    {"%sX\n", -1, ""},
	    {"#%s\n", 0, ""},
	    {"x%s\n", -1, ""},
	    {"short w\n", -1, ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *at = strstr(cases[i].text, "%s");
		int before = at == NULL ? 0 : (int)(at - cases[i].text);

		snprintf(line, sizeof(line), "%.*s%s%s", before, cases[i].text,
		    at == NULL ? "" : key, at == NULL ? cases[i].text : at + 2);
		assert_int_equal(curve_key_line(line, out, name), cases[i].rc);
		if (cases[i].rc == 1) {
			assert_string_equal(out, key);
			assert_string_equal(name, cases[i].name);
		}
	}
}

/* A pair as one word is that pair again, and half of another is none. */
static void
words(void **state)
{
	struct curve_key key, other, again;
	char word[CURVE_KEY_PAIR_LEN + 2];
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(curve_key_make(&key, &e), 0);
	assert_int_equal(curve_key_make(&other, &e), 0);
	curve_key_pair(&key, word);
	assert_int_equal(strlen(word), CURVE_KEY_PAIR_LEN);
	assert_int_equal(curve_key_parse_pair(word, &again, &e), 0);
	assert_string_equal(again.public, key.public);
	assert_string_equal(again.secret, key.secret);
	for (int i = 0; i < 4; i++) {
		curve_key_pair(&key, word);
		if (i == 0)
			memcpy(word, other.public, CURVE_KEY_LEN);
		else if (i == 1)
			word[CURVE_KEY_PAIR_LEN - 1] = '\0';
		else if (i == 2)
			strcat(word, "0");
		else
			word[3] = '"';
		assert_int_equal(curve_key_parse_pair(word, &again, &e), -1);
		assert_int_equal(e.kind, ERR_USAGE);
		assert_null(
		    strstr(e.text, key.secret)); /* nothing given away */
		err_clear(&e);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(written_and_read),
	    cmocka_unit_test(handed_by_root),
	    cmocka_unit_test(not_replaced),
	    cmocka_unit_test(refused),
	    cmocka_unit_test(lines),
	    cmocka_unit_test(words),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
