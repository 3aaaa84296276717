#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cmocka.h>

#include "err.h"
#include "image/image_name.h"
#include "text/iso_time.h"
#include "options/options.h"
#include "request/request.h"

#define HASH "0123456789abcdfghijklmnpqrsvwxyz-"
#define S "/nix/store/" HASH

static const struct options no_options = {.command = COMMAND_BUILD};

static struct request *
parse_with(const char *text, const struct options *o)
{
	struct err e = ERR_INIT;
	struct request *r = NULL;

	if (request_parse("r.json", text, strlen(text), o, &r, &e) < 0)
		fail_msg("%s: %s", text, e.text);
	return r;
}

static struct request *
parse(const char *text)
{
	return parse_with(text, &no_options);
}

static void
fails_with(const char *text, const struct options *o, const char *want)
{
	struct err e = ERR_INIT;
	struct request *r = NULL;

	if (request_parse("r.json", text, strlen(text), o, &r, &e) == 0) {
		request_free(r);
		fail_msg("%s: was taken", text);
	}
	assert_null(r);
	assert_int_equal(e.kind, ERR_USAGE);
	if (strstr(e.text, want) == NULL)
		fail_msg("%s: '%s' is not in '%s'", text, want, e.text);
	assert_null(strchr(e.text, '\n'));
}

static void
defaults(void **state)
{
	struct request *r = parse("{\"name\": \"a\"}");
	struct utsname host;

	(void)state;
	assert_string_equal(r->name, "a");
	assert_null(r->tag);
	assert_int_equal(r->n_contents, 0);
	assert_int_equal(r->n_paths, 0);
	assert_true(json_is_object(r->config));
	assert_int_equal(json_object_size(r->config), 0);
	assert_string_equal(r->created, "1970-01-01T00:00:01+00:00");
	assert_int_equal(r->mtime, 1);
	assert_int_equal(r->uid, 0);
	assert_int_equal(r->gid, 0);
	assert_string_equal(r->uname, "root");
	assert_string_equal(r->gname, "root");
	assert_int_equal(uname(&host), 0);
	if (strcmp(host.machine, "x86_64") == 0)
		assert_string_equal(r->architecture, "amd64");
	if (strcmp(host.machine, "aarch64") == 0)
		assert_string_equal(r->architecture, "arm64");
	assert_string_equal(r->os, "linux");
	assert_int_equal(r->max_layers, 100);
	assert_int_equal(r->strategy, STRATEGY_POPULARITY);
	assert_null(r->from_image);
	assert_true(r->include_store_paths);
	assert_int_equal(r->n_directories, 0);
	assert_null(r->root_tree);
	assert_string_equal(r->store_dir, "/nix/store");
	assert_false(r->planned);
	request_free(r);
}

static void
every_key(void **state)
{
	struct request *r =
	    parse("{\"name\": \"ghcr.io:443/a/b__c\", \"tag\": \"v1.0\","
		  "\"contents\": [\"" S "a\", \"" S "b/\", \"" S "a\"],"
		  "\"paths\": \"" S "p\","
		  "\"config\": {\"Env\": [\"A=1\"], \"Cmd\": null},"
		  "\"created\": \"2024-05-06T07:08:09.5+02:00\","
		  "\"mtime\": \"2001-09-09T01:46:40Z\","
		  "\"uid\": 1000, \"gid\": \"100\", \"uname\": \"me\","
		  "\"gname\": \"us\", \"architecture\": \"riscv64\","
		  "\"maxLayers\": 1, \"strategy\": \"size\","
		  "\"fromImage\": \"base.tar\", \"includeStorePaths\": false,"
		  "\"directories\": [{\"path\": \"/tmp\", \"mode\": \"1777\"},"
		  "{\"path\": \"/home/me/\", \"mode\": 700, \"uid\": 7},"
		  "{\"path\": \"/nix\", \"gid\": 8}],"
		  "\"rootTree\": \"tree\", \"storeDir\": \"/nix/store\"}");

	(void)state;
	assert_string_equal(r->name, "ghcr.io:443/a/b__c");
	assert_string_equal(r->tag, "v1.0");
	assert_int_equal(r->n_contents, 2);
	assert_string_equal(r->contents[0], S "a");
	assert_string_equal(r->contents[1], S "b");
	assert_int_equal(r->n_paths, 1);
	assert_string_equal(r->paths[0], S "p");
	assert_int_equal(json_object_size(r->config), 2);
	assert_string_equal(r->created, "2024-05-06T07:08:09.500000+02:00");
	assert_int_equal(r->mtime, 1000000000);
	assert_int_equal(r->uid, 1000);
	assert_int_equal(r->gid, 100);
	assert_string_equal(r->uname, "me");
	assert_string_equal(r->gname, "us");
	assert_string_equal(r->architecture, "riscv64");
	assert_int_equal(r->max_layers, 1);
	assert_int_equal(r->strategy, STRATEGY_SIZE);
	assert_string_equal(r->from_image, "base.tar");
	assert_false(r->include_store_paths);
	assert_int_equal(r->n_directories, 3);
	assert_string_equal(r->directory[0].path, "/tmp");
	assert_int_equal(r->directory[0].mode, 01777);
	assert_int_equal(r->directory[0].uid, 1000);
	assert_string_equal(r->directory[1].path, "/home/me");
	assert_int_equal(r->directory[1].mode, 0700);
	assert_int_equal(r->directory[1].uid, 7);
	assert_int_equal(r->directory[1].gid, 100);
	assert_int_equal(r->directory[2].mode, 0755);
	assert_int_equal(r->directory[2].gid, 8);
	assert_string_equal(r->root_tree, "tree");
	request_free(r);
}

static void
nulls_and_times(void **state)
{
	struct request *r =
	    parse("{\"name\": \"a\", \"tag\": null, \"config\": "
		  "null, \"fromImage\": null, \"rootTree\": "
		  "null, \"mtime\": -5}");
	struct iso_time created;
	struct err e = ERR_INIT;

	(void)state;
	assert_null(r->tag);
	assert_null(r->from_image);
	assert_int_equal(json_object_size(r->config), 0);
	assert_int_equal(r->mtime, -5);
	request_free(r);

	r = parse("{\"name\": \"a\", \"created\": \"now\", \"mtime\": "
		  "\"now\"}");
	assert_int_equal(iso_time_parse(r->created, &created, &e), 0);
	assert_int_equal(iso_time_seconds(&created), r->mtime);
	assert_true(r->mtime > 1700000000);
	request_free(r);

	r = parse("{\"name\": \"a\", \"created\": \"@86400\"}");
	assert_string_equal(r->created, "1970-01-02T00:00:00+00:00");
	assert_int_equal(r->mtime, 1);
	request_free(r);
}

static void
command_line_wins(void **state)
{
	const char *contents[] = {S "c"}, *paths[] = {S "q"};
	struct options o = {.command = COMMAND_BUILD,
	    .name = "b",
	    .tag = "t",
	    .created = "2000-01-01",
	    .mtime = "@7",
	    .uid = "5",
	    .gid = "6",
	    .uname = "u",
	    .gname = "g",
	    .architecture = "arm64",
	    .max_layers = "3",
	    .strategy = "popularity",
	    .from_image = "f",
	    .include_store_paths = "true",
	    .root_tree = "t",
	    .store_paths = contents,
	    .n_store_paths = 1,
	    .paths = paths,
	    .n_paths = 1};
	struct request *r;
	struct err e = ERR_INIT;

	(void)state;
	r = parse_with("{\"name\": \"a\", \"strategy\": \"size\", \"uid\": 1, "
		       "\"includeStorePaths\": false, \"maxLayers\": 9, "
		       "\"paths\": [\"" S "p\"], \"directories\": [{\"path\": "
		       "\"/d\"}], \"created\": \"now\"}",
	    &o);
	assert_string_equal(r->name, "b");
	assert_string_equal(r->tag, "t");
	assert_string_equal(r->created, "2000-01-01T00:00:00+00:00");
	assert_int_equal(r->mtime, 7);
	assert_int_equal(r->uid, 5);
	assert_int_equal(r->gid, 6);
	assert_int_equal(r->directory[0].uid, 5);
	assert_string_equal(r->architecture, "arm64");
	assert_int_equal(r->max_layers, 3);
	assert_int_equal(r->strategy, STRATEGY_POPULARITY);
	assert_string_equal(r->from_image, "f");
	assert_true(r->include_store_paths);
	assert_int_equal(r->n_paths, 2);
	assert_string_equal(r->paths[1], S "q");
	request_free(r);

	/* Without a file: the command line alone. */
	assert_int_equal(request_make(&o, &r, &e), 0);
	assert_int_equal(r->n_contents, 1);
	assert_string_equal(r->contents[0], S "c");
	request_free(r);

	/* A plan needs no name. */
	o = (struct options){.command = COMMAND_PLAN};
	assert_int_equal(request_make(&o, &r, &e), 0);
	assert_null(r->name);
	request_free(r);
}

#define CUSTOM "\"customisation_layer\": \"" S "custom\""

static void
reference(void **state)
{
	struct request *r = parse(
	    "{\"architecture\": \"arm64\", \"config\": {\"Cmd\": [\"x\"]}, "
	    "\"os\": \"linux\", \"created\": \"2024-01-02T03:04:05Z\", "
	    "\"mtime\": \"1970-01-01T00:00:09+00:00\", \"uid\": \"1\", "
	    "\"gid\": 2, \"uname\": \"u\", \"gname\": \"g\", \"store_dir\": "
	    "\"/nix/store\", \"from_image\": null, \"store_layers\": [[\"" S
	    "a\"], [\"" S "b\", \"" S "c\"]], " CUSTOM
	    ", \"repo_tag\": \"host:5000/a/b:1.2\"}");
	const struct options o = {.command = COMMAND_BUILD, .max_layers = "7"};

	(void)state;
	assert_true(r->planned);
	assert_string_equal(r->name, "host:5000/a/b");
	assert_string_equal(r->tag, "1.2");
	assert_int_equal(r->n_layers, 2);
	assert_int_equal(r->layer[1].n, 2);
	assert_string_equal(r->layer[1].path[1], S "c");
	assert_string_equal(r->customisation_layer, S "custom");
	assert_int_equal(r->uid, 1);
	assert_int_equal(r->gid, 2);
	assert_int_equal(r->mtime, 9);
	assert_string_equal(r->architecture, "arm64");
	request_free(r);

	/* An old one: no mtime, no os. */
	r = parse("{\"created\": \"1970-01-01T00:01:01Z\", \"store_layers\": "
		  "[], " CUSTOM ", \"repo_tag\": \"a:b\"}");
	assert_int_equal(r->mtime, 61);
	assert_string_equal(r->os, "linux");
	assert_int_equal(r->n_layers, 0);
	request_free(r);
	fails_with("{\"store_layers\": [], " CUSTOM ", \"repo_tag\": \"a:b\"}",
	    &o, "--max-layers: the request's layers are planned already");
}

static const struct {
	const char *text, *want;
} bad[] = {
    {"", "r.json: is empty"},
    {" \n\t", "r.json: is empty"},
    {"{", "r.json: line 1"},
    {"\x7f"
     "ELF\x01",
	"r.json: line 1"},
    {"{\"name\": \"a\"} x", "end of file expected"},
    {"{\"name\": \"a\", \"name\": \"b\"}", "duplicate object key"},
    {"{\"config\": {\"a\": 1, \"a\": 2}}", "duplicate object key"},
    {"{\"name\": \"\xff\"}", "r.json: line 1"},
    {"{\"name\": \"a\\u0000\"}", "r.json: line 1"},
    {"{\"uid\": 123456789012345678901234567890}", "too big integer"},
    {"[]", "r.json: an object is wanted, not an array"},
    {"\"name\"", "r.json: line 1"},
    {"{}", "r.json: the image has no name"},
    {"{\"nmae\": 1}", "key 'nmae' is not known; the nearest is 'name'"},
    {"{\"max_layers\": 1}", "the nearest is 'maxLayers'"},
    {"{\"copyToRoot\": []}", "'copyToRoot' is not known"},
    {"{\"customisation_layer\": \"x\"}", "is not known"},
    {"{\"name\": 1}", "r.json: name: a string is wanted, not a whole number"},
    {"{\"name\": null}", "name: a string is wanted, not null"},
    {"{\"name\": \"\"}", "name: is empty"},
    {"{\"name\": \"Hello\"}", "'hello' would be one"},
    {"{\"name\": \"a:1\"}", "a tag is given on its own"},
    {"{\"name\": \"a//b\"}", "no name that registries take"},
    {"{\"tag\": \"a/b\"}", "tag: 'a/b' is no tag"},
    {"{\"contents\": 1}", "contents: an array of strings is wanted"},
    {"{\"contents\": [1]}", "contents: element 1: a store path is wanted"},
    {"{\"contents\": [\"/usr/bin\"]}", "/usr/bin: not in the store directory"},
    {"{\"contents\": [\"" S "a/../../../etc\"]}", "is inside a store path"},
    {"{\"contents\": [\"/nix/store/../x\"]}", "not a store path"},
    {"{\"contents\": [\"/nix/store/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee-x\"]}",
	"base 32"},
    {"{\"paths\": [\"" S "a/bin/x\"]}",
	"paths: " S "a/bin/x is inside a store path: " S "a itself is wanted"},
    {"{\"paths\": [\"\"]}", "not in the store directory"},
    {"{\"config\": []}", "config: an object is wanted, not an array"},
    {"{\"created\": \"yesterday\"}", "created: 'yesterday' is no time"},
    {"{\"created\": \"2023-02-29\"}", "is no time"},
    {"{\"created\": 1}", "created: a string is wanted"},
    {"{\"created\": \"@1x\"}", "seconds since 1970"},
    {"{\"mtime\": \"@99999999999999999999\"}", "seconds since 1970"},
    {"{\"mtime\": 253402300800}", "not in the years 1 to 9999"},
    {"{\"mtime\": 1.5}", "mtime: a whole number is wanted, not a number with"},
    {"{\"uid\": -1}", "uid: -1 is not in 0 to 4294967294"},
    {"{\"uid\": 4294967295}", "is not in 0 to 4294967294"},
    {"{\"gid\": \"x\"}", "gid: 'x' is not a whole number"},
    {"{\"gid\": \" 5\"}", "gid: ' 5' is not a whole number"},
    {"{\"gid\": \"+5\"}", "gid: '+5' is not a whole number"},
    {"{\"created\": \"@ 5\"}", "must be followed by seconds"},
    {"{\"gid\": []}", "gid: a whole number is wanted, not an array"},
    {"{\"uname\": \"\"}", "uname: is empty"},
    {"{\"gname\": \"a\\nb\"}", "gname: holds a control character"},
    {"{\"architecture\": \"\"}", "architecture: is empty"},
    {"{\"maxLayers\": 0}", "maxLayers: 0 is not in 1 to 65536"},
    {"{\"maxLayers\": -1}", "maxLayers: -1 is not in 1 to 65536"},
    {"{\"maxLayers\": 1000000000}", "maxLayers: 1000000000 is not in 1 to"},
    {"{\"maxLayers\": \"100\"}", "a whole number is wanted, not a string"},
    {"{\"maxLayers\": 1e2}", "a whole number is wanted, not a number with"},
    {"{\"strategy\": \"best\"}", "'best' is not known: popularity or size"},
    {"{\"fromImage\": 1}", "fromImage: a string is wanted"},
    {"{\"fromImage\": \"\"}", "fromImage: is empty"},
    {"{\"includeStorePaths\": \"yes\"}", "true or false is wanted, not a str"},
    {"{\"storeDir\": \"nix\"}", "store directory 'nix': not a clean"},
    {"{\"storeDir\": \"/nix/../x\"}", "not a clean absolute path"},
    {"{\"directories\": {}}", "directories: an array is wanted"},
    {"{\"directories\": [1]}", "element 1: an object is wanted"},
    {"{\"directories\": [{}]}", "path: an absolute path is wanted, not noth"},
    {"{\"directories\": [{\"path\": \"/t\", \"mod\": 1}]}",
	"nearest is 'mode'"},
    {"{\"directories\": [{\"path\": \"tmp\"}]}", "path 'tmp': an absolute"},
    {"{\"directories\": [{\"path\": \"/\"}]}", "not '/' itself"},
    {"{\"directories\": [{\"path\": \"/a//b\"}]}", "without '//'"},
    {"{\"directories\": [{\"path\": \"/a/../b\"}]}", "without '//'"},
    {"{\"directories\": [{\"path\": \"/a/.\"}]}", "without '//'"},
    {"{\"directories\": [{\"path\": \"/nix/store\"}]}", "in the store dir"},
    {"{\"directories\": [{\"path\": \"/nix/store/x\"}]}", "in the store dir"},
    {"{\"directories\": [{\"path\": \"/t\"}, {\"path\": \"/t/\"}]}", "twice"},
    {"{\"directories\": [{\"path\": \"/t\", \"mode\": 789}]}", "not an octal"},
    {"{\"directories\": [{\"path\": \"/t\", \"mode\": \"10000\"}]}", "0 to 77"},
    {"{\"directories\": [{\"path\": \"/t\", \"mode\": -7}]}", "not an octal"},
    {"{\"directories\": [{\"path\": \"/t\", \"mode\": \"\"}]}", "not an octal"},
    {"{\"directories\": [{\"path\": \"/t\", \"mode\": true}]}", "octal digits"},
    {"{\"directories\": [{\"path\": \"/t\", \"uid\": -1}]}", "/t: uid: -1"},
    {"{\"store_layers\": 1}", "store_layers: an array is wanted"},
    {"{\"store_layers\": [1]}", "store_layers: layer 1: an array"},
    {"{\"store_layers\": [[]]}", "layer 1 is empty"},
    {"{\"store_layers\": [[1]]}", "layer 1: element 1: a store path"},
    {"{\"store_layers\": []}", "'customisation_layer' is missing"},
    {"{\"store_layers\": [], \"maxLayers\": 1}", "'maxLayers' is not known"},
    {"{\"store_layers\": [[\"/x\"]], " CUSTOM "}", "not in the store dir"},
    {"{\"store_layers\": [[\"" S "a\"], [\"" S "a\"]], " CUSTOM "}",
	"is in layer 1 and in layer 2"},
    {"{\"store_layers\": [], " CUSTOM "}", "no name: repo_tag"},
    {"{\"store_layers\": [], \"repo_tag\": \"a\"}", "'a' has no tag"},
    {"{\"store_layers\": [], \"repo_tag\": \"h:1/a\"}", "has no tag"},
    {"{\"store_layers\": [], \"repo_tag\": \"A:b\"}", "'a' would be one"},
};

static void
bad_requests(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		fails_with(bad[i].text, &no_options, bad[i].want);
}

static void
bad_command_line(void **state)
{
	static const struct {
		struct options o;
		const char *want;
	} cases[] = {
	    {{.max_layers = "ten"},
		"--max-layers: a whole number is wanted, "
		"not 'ten'"},
	    {{.max_layers = "+5"}, "--max-layers: a whole number"},
	    {{.max_layers = "0"}, "--max-layers: 0 is not in 1 to 65536"},
	    {{.max_layers = "1000000000"}, "--max-layers: 1000000000 is not"},
	    {{.max_layers = "99999999999999999999"}, "--max-layers"},
	    {{.include_store_paths = "no"},
		"true or false is wanted, not 'no'"},
	    {{.uid = "root"}, "--uid: 'root' is not a whole number"},
	    {{.mtime = "1"}, "--mtime: '1' is no time"},
	    {{.name = "A B"},
		"--name: 'A B' is no name that registries take, "
		"'a-b' would be one"},
	    {{.tag = ""}, "--tag: is empty"},
	    {{.uname = "\xff"}, "--uname: is not UTF-8"},
	    {{.architecture = "a\nb"}, "--architecture: holds a control"},
	    {{.store_dir = "/nix/store/"}, "not a clean absolute path"},
	    {{.config_file = "/nonexistent/c"}, "--config: /nonexistent/c: No"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		fails_with("{\"name\": \"a\"}", &cases[i].o, cases[i].want);
}

static void
limits(void **state)
{
	char deep[200], *big;
	size_t n = ((size_t)64 << 20) + 1;
	struct err e = ERR_INIT;
	struct request *r;

	(void)state;
	memset(deep, '[', 65);
	strcpy(deep + 65, "\"");
	fails_with(deep, &no_options, "nested deeper than 64");
	/* Brackets in a string do not nest. */
	memset(deep, '[', 65);
	memcpy(deep, "[\"\\\"", 4);
	fails_with(deep, &no_options, "line 1");
	assert_non_null(big = malloc(n));
	memset(big, ' ', n);
	assert_int_equal(
	    request_parse("r.json", big, n, &no_options, &r, &e), -1);
	assert_non_null(strstr(e.text, "larger than 64 MiB"));
	free(big);
}

static void
config_paths(void **state)
{
	struct request *r = parse(
	    "{\"name\": \"a\", \"config\": {"
	    "\"Env\": [\"PATH=" S "b/bin:" S "a/bin:/bin\", \"X=" S "b\"],"
	    "\"Cmd\": [[{\"" S "key\": 1}], \"see " S "c.\"],"
	    "\"Labels\": {\"l\": \"/nix/store/nothing /nix/store\"},"
	    "\"User\": \"" S "\", \"W\": \"/mnt" S "d'\", \"n\": 1.5}}");
	static const char *const want[] = {
	    S "b", S "a", S "key", S "c.", S "d"};
	struct err e = ERR_INIT;
	char **paths;
	size_t n;

	(void)state;
	assert_int_equal(request_config_paths(r, &paths, &n, &e), 0);
	assert_int_equal(n, 5);
	for (size_t i = 0; i < n; i++) {
		assert_string_equal(paths[i], want[i]);
		free(paths[i]);
	}
	free(paths);
	request_free(r);
}

static void
put_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

/* From files, and from standard input. */
static void
files(void **state)
{
	char dir[] = "/tmp/test_request.XXXXXX";
	struct options o = {.command = COMMAND_BUILD,
	    .request_file = "r.json",
	    .config_file = "c.json"};
	struct err e = ERR_INIT;
	struct request *r;
	int fds[2];

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	put_file("r.json", "{\"name\": \"a\", \"config\": {\"User\": \"u\"}}");
	put_file("c.json", "{\"Cmd\": [\"x\"]}");
	assert_int_equal(request_make(&o, &r, &e), 0);
	assert_int_equal(json_object_size(r->config), 1);
	assert_non_null(json_object_get(r->config, "Cmd"));
	request_free(r);

	put_file("c.json", "[]");
	assert_int_equal(request_make(&o, &r, &e), -1);
	assert_string_equal(
	    e.text, "--config: c.json: an object is wanted, not an array");
	err_clear(&e);

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "{\"name\": 1}", 11), 11);
	close(fds[1]);
	assert_int_equal(dup2(fds[0], 0), 0);
	close(fds[0]);
	o.request_file = "-";
	assert_int_equal(request_make(&o, &r, &e), -1);
	assert_string_equal(e.text,
	    "standard input: name: a string is wanted, "
	    "not a whole number");
	err_clear(&e);

	o.request_file = dir;
	assert_int_equal(request_make(&o, &r, &e), -1);
	assert_non_null(strstr(e.text, "Is a directory"));
	err_clear(&e);
	o.request_file = "gone";
	assert_int_equal(request_make(&o, &r, &e), -1);
	assert_string_equal(e.text, "gone: No such file or directory");
	unlink("r.json");
	unlink("c.json");
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void
names(void **state)
{
	static const char *const good[] = {"a", "a.b", "a_b", "a__b", "a---b",
	    "library/a", "localhost/a", "LOCALHOST:5/a", "Reg.Example.com/a/b",
	    "127.0.0.1:5000/a", "a/b/c", "a.b", "0"};
	static const char *const wrong[] = {"a..b", "a___b", "-a", "a-", ".a",
	    "a/", "/a", "a.-b", "A/b", "reg.io/", "reg.io:/a", "reg.io:x/a",
	    "reg.io:123456/a", "-reg.io/a", "reg..io/a", "a b", "a@b", "a\nb",
	    "\xc3\xa9", "[::1]:5/a"};
	char text[300];
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (image_name_check(good[i], &e) < 0)
			fail_msg("%s: %s", good[i], e.text);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		if (image_name_check(wrong[i], &e) == 0)
			fail_msg("%s: was taken", wrong[i]);
		err_clear(&e);
	}
	memset(text, 'a', sizeof(text));
	text[255] = '\0';
	assert_int_equal(image_name_check(text, &e), 0);
	text[255] = 'a';
	text[256] = '\0';
	assert_int_equal(image_name_check(text, &e), -1);
	err_clear(&e);
	text[129] = '\0';
	assert_int_equal(image_tag_check(text, &e), -1);
	err_clear(&e);
	text[128] = '\0';
	assert_int_equal(image_tag_check(text, &e), 0);
	assert_int_equal(image_tag_check("_A.b-9", &e), 0);
	assert_int_equal(image_tag_check("-a", &e), -1);
	assert_non_null(strstr(e.text, "'_a' would be one"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(defaults),
	    cmocka_unit_test(every_key),
	    cmocka_unit_test(nulls_and_times),
	    cmocka_unit_test(command_line_wins),
	    cmocka_unit_test(reference),
	    cmocka_unit_test(bad_requests),
	    cmocka_unit_test(bad_command_line),
	    cmocka_unit_test(limits),
	    cmocka_unit_test(config_paths),
	    cmocka_unit_test(files),
	    cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
