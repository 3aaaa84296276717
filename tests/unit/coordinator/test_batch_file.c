/* Requests of a batch: arrays, JSON lines, and what each has of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "batch/batch_file.h"
#include "batch/batch_target.h"
#include "err.h"
#include "own.h"

static struct batch_file *
parse(const char *text)
{
	struct batch_file *f = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(
	    batch_file_parse("b.json", text, strlen(text), &f, &e), 0);
	return f;
}

static void
refused(const char *text, const char *want)
{
	struct batch_file *f = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(
	    batch_file_parse("b.json", text, strlen(text), &f, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_null(f);
	if (strstr(e.text, want) == NULL)
		fail_msg("'%s' lacks '%s'", e.text, want);
}

static void
arrays_and_lines(void **state)
{
	AUTO(batch_file_freep)
	struct batch_file *array = parse(" [{\"name\":\"a\"},\n 7]");
	AUTO(batch_file_freep)
	struct batch_file *lines =
	    parse("\n{\"name\":\"a\"}\r\n\n  {\"name\":\"b\"}");

	(void)state;
	assert_int_equal(array->n, 2);
	assert_string_equal(array->entry[0].title, "b.json: request 1");
	assert_true(json_is_integer(array->entry[1].doc));
	assert_int_equal(lines->n, 2);
	assert_string_equal(lines->entry[0].title, "b.json: line 2");
	assert_string_equal(lines->entry[1].title, "b.json: line 4");
	assert_string_equal(
	    json_string_value(json_object_get(lines->entry[1].doc, "name")),
	    "b");
}

static void
what_is_no_batch(void **state)
{
	(void)state;
	refused("", "holds no request");
	refused(" \n\n", "holds no request");
	refused("[]", "holds no request");
	refused("[{}", "b.json: line 1");
	refused("{", "b.json: line 1: column");
	refused("\n7\n{\n", "b.json: line 2");
	refused("{\n\"name\": \"a\"\n}\n", "one request a line");
	refused("{\"a\":1,\"a\":2}\n", "b.json: line 1");
}

/* What is wrong with a line is its own. */
static void
lines_that_are_wrong(void **state)
{
	AUTO(batch_file_freep)
	struct batch_file *f = parse("{\n{}\n{}{}\nnull\n{\"a\":1,\"a\":2}");

	(void)state;
	assert_int_equal(f->n, 5);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(f->entry[i].doc != NULL, i == 1);
		assert_int_equal(f->entry[i].fault != NULL, i != 1);
	}
	assert_string_equal(f->entry[2].title, "b.json: line 3");
	assert_non_null(strstr(f->entry[2].fault, "column 3"));
	assert_non_null(strstr(f->entry[4].fault, "duplicate"));
}

static struct err
extra(const char *text, struct batch_extra *out)
{
	json_t *doc = json_loads(text, 0, NULL);
	struct err e = ERR_INIT;

	if (batch_extra_take(doc, out, &e) == 0)
		assert_null(json_object_get(doc, "to"));
	json_decref(doc);
	return e;
}

static void
what_a_request_has_besides(void **state)
{
	struct batch_extra x;
	struct err e;

	(void)state;
	e = extra("{\"to\":\"oci:a\",\"closure\":\"c\",\"name\":\"n\"}", &x);
	assert_int_equal(e.kind, ERR_NONE);
	assert_string_equal(x.closure, "c");
	assert_int_equal(x.n_to, 1);
	assert_string_equal(x.to[0], "oci:a");
	batch_extra_clear(&x);
	e = extra("{\"to\":[\"oci:a\",\"none\"]}", &x);
	assert_int_equal(x.n_to, 2);
	assert_null(x.closure);
	batch_extra_clear(&x);
	e = extra("{}", &x);
	assert_int_equal(x.n_to, 0);
	e = extra("{\"to\":[\"a\",7]}", &x);
	assert_string_equal(
	    e.text, "to: a string is wanted, not a whole number");
	e = extra("{\"to\":[]}", &x);
	assert_non_null(strstr(e.text, "1 to 8 outputs"));
	e = extra(
	    "{\"to\":[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\"]}",
	    &x);
	assert_non_null(strstr(e.text, "not 9"));
	e = extra("{\"closure\":\"\"}", &x);
	assert_non_null(strstr(e.text, "closure: a string is wanted"));
	e = extra("{\"closure\":null}", &x);
	assert_non_null(strstr(e.text, "not null"));
}

static void
expands(const char *template, const char *tag, const char *want)
{
	AUTO(own_freep) char *out = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(
	    batch_target_expand(template, "team/app", tag, &out, &e), 0);
	assert_string_equal(out, want);
}

static void
words_in_braces(void **state)
{
	char *out = NULL;
	struct err e = ERR_INIT;

	(void)state;
	expands("oci:out/{name}", "1", "oci:out/team/app");
	expands("docker://h/{name}:{tag}", "1", "docker://h/team/app:1");
	expands("docker://h/{name}:{tag}", NULL, "docker://h/team/app:{tag}");
	expands("{name}{name}}", NULL, "team/appteam/app}");
	expands("none", "1", "none");
	assert_true(batch_target_wants_tag("x{tag}"));
	assert_false(batch_target_wants_tag("x{name}"));
	assert_int_equal(
	    batch_target_expand("oci:{nmae}/x", "a", "1", &out, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_non_null(strstr(e.text, "'{nmae}' is not known"));
	err_clear(&e);
	assert_int_equal(batch_target_expand("oci:{", "a", "1", &out, &e), -1);
	assert_null(out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(arrays_and_lines),
	    cmocka_unit_test(what_is_no_batch),
	    cmocka_unit_test(lines_that_are_wrong),
	    cmocka_unit_test(what_a_request_has_besides),
	    cmocka_unit_test(words_in_braces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
