/*
 * Python as the second opinion of a unit test: runs a program over bytes and
 * hands back what it prints.
 */
#ifndef PYTHON_H
#define PYTHON_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* The caller frees the result, which ends in NUL. */
static inline char *
python_run(const char *program, const char *input, size_t len, size_t *out_len)
{
	const char *python = getenv("PYTHON");
	FILE *in = tmpfile(), *out = tmpfile();
	char *text;
	long size;
	pid_t pid;
	int status;

	assert_non_null(in);
	assert_non_null(out);
	assert_int_equal(fwrite(input, 1, len, in), len);
	rewind(in);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (python == NULL)
			python = "/usr/bin/python3";
		dup2(fileno(in), 0);
		dup2(fileno(out), 1);
		execl(python, python, "-c", program, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(fseek(out, 0, SEEK_END), 0);
	size = ftell(out);
	assert_true(size >= 0);
	text = malloc((size_t)size + 1);
	assert_non_null(text);
	rewind(out);
	assert_int_equal(fread(text, 1, (size_t)size, out), (size_t)size);
	text[size] = '\0';
	if (out_len != NULL)
		*out_len = (size_t)size;
	fclose(in);
	fclose(out);
	return text;
}

/* A small deterministic generator (xorshift). */
static inline uint64_t
python_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#endif
