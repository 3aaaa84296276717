#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "err.h"
#include "options/options.h"

#define ARGS_MAX 100
#define S "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-"

/* The real one is output.c's and has its own test. */
int
output_target_parse(const char *text, struct output_target *out, struct err *e)
{
	const char *place = strchr(text, ':');

	if (strcmp(text, "none") == 0) {
		out->kind = OUTPUT_NONE;
		out->path = "";
		return 0;
	}
	if (place == NULL)
		return err_set(e, ERR_USAGE, 0, "'%s' is no target", text);
	out->kind = strncmp(text, "docker-archive:", 15) == 0
	    ? OUTPUT_DOCKER_ARCHIVE
	    : strncmp(text, "docker:", 7) == 0 ? OUTPUT_REGISTRY
					       : OUTPUT_OCI;
	out->path = place + 1;
	return 0;
}

/* Splits at spaces; "''" is an empty argument. */
static int
parse(const char *line, struct options *o, struct err *e)
{
	static char copy[2048];
	char *argv[ARGS_MAX + 1] = {(char *)(uintptr_t) "quarry"};
	char *save = NULL, *word;
	int argc = 1;

	snprintf(copy, sizeof(copy), "%s", line);
	for (word = strtok_r(copy, " ", &save); word != NULL && argc < ARGS_MAX;
	     word = strtok_r(NULL, " ", &save))
		argv[argc++] = strcmp(word, "''") == 0 ? word + 2 : word;
	*e = (struct err)ERR_INIT;
	return options_parse(argc, argv, o, e);
}

static void
good(const char *line, struct options *o)
{
	struct err e;

	if (parse(line, o, &e) < 0)
		fail_msg("%s: %s", line, e.text);
}

static void
bad(const char *line, const char *text)
{
	struct options o;
	struct err e;

	if (parse(line, &o, &e) == 0)
		fail_msg("%s: was taken", line);
	assert_int_equal(e.kind, ERR_USAGE);
	if (strstr(e.text, text) == NULL)
		fail_msg("%s: '%s' is not in '%s'", line, text, e.text);
	assert_null(strchr(e.text, '\n'));
}

static void
defaults(void **state)
{
	struct options o;

	(void)state;
	good("build " S "a --to none", &o);
	assert_int_equal(o.command, COMMAND_BUILD);
	assert_null(o.request_file);
	assert_int_equal(o.n_store_paths, 1);
	assert_string_equal(o.store_paths[0], S "a");
	assert_null(o.name);
	assert_null(o.closure_file);
	assert_string_equal(o.store_root, "");
	assert_int_equal(o.slots, 0);
	assert_int_equal(o.workers, 1);
	assert_null(o.worker_program);
	assert_int_equal(o.n_outputs, 1);
	assert_int_equal(o.outputs[0].kind, OUTPUT_NONE);
	assert_int_equal(o.encoding.kind, ENCODING_NONE);
	assert_false(o.encoding_given);
	assert_int_equal(o.dialect, TAR_PAX);
	assert_int_equal(o.progress, PROGRESS_AUTO);
	assert_false(o.json || o.verbose || o.verify_store);
	options_free(&o);
}

static void
settings(void **state)
{
	struct options o;

	(void)state;
	good("build --name n --tag t --config c --created C --mtime m --uid 3 "
	     "--gid=4 --uname u --gname g --arch a --max-layers 5 "
	     "--strategy s --from-image f --path " S "p --path " S "q "
	     "--include-store-paths=false --root-tree r --store-dir d "
	     "--closure l --store-root /mnt --to oci:x",
	    &o);
	assert_string_equal(o.name, "n");
	assert_string_equal(o.tag, "t");
	assert_string_equal(o.config_file, "c");
	assert_string_equal(o.created, "C");
	assert_string_equal(o.mtime, "m");
	assert_string_equal(o.uid, "3");
	assert_string_equal(o.gid, "4");
	assert_string_equal(o.uname, "u");
	assert_string_equal(o.gname, "g");
	assert_string_equal(o.architecture, "a");
	assert_string_equal(o.max_layers, "5");
	assert_string_equal(o.strategy, "s");
	assert_string_equal(o.from_image, "f");
	assert_int_equal(o.n_paths, 2);
	assert_string_equal(o.paths[0], S "p");
	assert_string_equal(o.paths[1], S "q");
	assert_string_equal(o.include_store_paths, "false");
	assert_string_equal(o.root_tree, "r");
	assert_string_equal(o.store_dir, "d");
	assert_string_equal(o.closure_file, "l");
	assert_string_equal(o.store_root, "/mnt");
	options_free(&o);
}

static void
work(void **state)
{
	struct options o;

	(void)state;
	good("build --verify-store --slots 7 --workers 2 --worker-program w "
	     "--to none --to oci:out --encoding zstd:9 --dialect gnu "
	     "--metadata-file m --progress json --verbose --store-root / "
	     "-- " S "a " S "b",
	    &o);
	assert_true(o.verify_store && o.verbose && o.encoding_given);
	assert_int_equal(o.slots, 7);
	assert_int_equal(o.workers, 2);
	assert_string_equal(o.worker_program, "w");
	assert_int_equal(o.n_outputs, 2);
	assert_string_equal(o.outputs[1].path, "out");
	assert_int_equal(o.encoding.kind, ENCODING_ZSTD);
	assert_int_equal(o.encoding.level, 9);
	assert_int_equal(o.dialect, TAR_GNU);
	assert_string_equal(o.metadata_file, "m");
	assert_int_equal(o.progress, PROGRESS_JSON);
	assert_string_equal(o.store_root, "");
	assert_int_equal(o.n_store_paths, 2);
	assert_string_equal(o.store_paths[1], S "b");
	options_free(&o);
	good("build --to none --substituter https://a --substituter file:///b "
	     "--trusted-key a:ZadmLjsF7VmAuWnrWGCdOI/QGU/n/wKNXu8xpODiWjM= "
	     "--no-require-sigs " S "a",
	    &o);
	assert_int_equal(o.caches.n_urls, 2);
	assert_string_equal(o.caches.url[1].text, "file:///b");
	assert_int_equal(o.caches.n_keys, 1);
	assert_true(o.caches.no_require_sigs);
	options_free(&o);
	good("plan --json --closure c", &o);
	assert_int_equal(o.command, COMMAND_PLAN);
	assert_true(o.json);
	options_free(&o);
}

/* A folder with a.json, a store-like file and a folder named d.json. */
static void
request_files(void **state)
{
	char dir[] = "/tmp/test_options.XXXXXX", line[1024], want[256];
	const char *hash = "0123456789abcdfghijklmnpqrsvwxyz";
	struct options o;
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_non_null(f = fopen("a.json", "w"));
	fclose(f);
	snprintf(line, sizeof(line), "%s-r.json", hash);
	assert_non_null(f = fopen(line, "w"));
	fclose(f);
	assert_int_equal(mkdir("d.json", 0700), 0);

	good("build a.json --to none", &o);
	assert_string_equal(o.request_file, "a.json");
	assert_int_equal(o.n_store_paths, 0);
	options_free(&o);
	good("plan -", &o);
	assert_string_equal(o.request_file, "-");
	options_free(&o);
	/* A request file that lies in a store is still a request file. */
	snprintf(line, sizeof(line), "plan %s/%s-r.json", dir, hash);
	snprintf(want, sizeof(want), "%s/%s-r.json", dir, hash);
	good(line, &o);
	assert_string_equal(o.request_file, want);
	options_free(&o);
	good("plan " S "gone.json", &o);
	assert_null(o.request_file);
	assert_int_equal(o.n_store_paths, 1);
	options_free(&o);

	bad("plan b.json", "request file b.json: No such file");
	bad("plan d.json", "request file d.json: not a regular file");
	bad("plan a.json " S "a", "a.json: a request file must be the only");
	bad("plan - " S "a", "must be the only");
	bad("plan hello", "'hello' is neither a store path nor a request");
	bad("plan ''", "neither a store path nor a request");
	assert_int_equal(symlink(S "a", "result"), 0);
	bad("plan result", "'result' is a link to " S "a: name that");
	snprintf(line, sizeof(line), "plan %s/result", dir);
	bad(line, "is a link to " S "a: name that");
	assert_int_equal(unlink("result"), 0);
	assert_int_equal(unlink("a.json"), 0);
	assert_int_equal(rmdir("d.json"), 0);
	assert_int_equal(unlink(want), 0);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void
wrong(void **state)
{
	static const struct {
		const char *line, *text;
	} cases[] = {
	    {"", "a command is missing"},
	    {"biuld", "'biuld' is no command; the nearest is 'build'"},
	    {"help paln", "the nearest is 'plan'"},
	    {"--name x build", "options follow the command"},
	    {"build --nmae x",
		"--nmae: not known to quarry build; the "
		"nearest is --name"},
	    {"build --max-layer=3x --maxlayers 4", "nearest is --max-layers"},
	    {"build -x", "-x: not known to quarry build"},
	    {"build -xn", "-x: not known"},
	    {"build --name", "--name: its argument is missing"},
	    {"build --verify-store=yes", "--verify-store takes no argument"},
	    {"build --un x --u x", "short for several options"},
	    {"build --json " S "a", "--json: not an option of quarry build"},
	    {"plan --to none " S "a", "--to: not an option of quarry plan"},
	    {"plan --slots 2 " S "a", "--slots: not an option of quarry plan"},
	    {"plan --slts 2 " S "a", "--slts: not known to quarry plan"},
	    {"build --slots 0", "--slots: '0' is not in 1 to 1024"},
	    {"build --slots 1025", "is not in 1 to 1024"},
	    {"build --slots -1", "is not in 1 to 1024"},
	    {"build --slots 2x", "is not in 1 to 1024"},
	    {"build --slots 99999999999999999999", "is not in 1 to 1024"},
	    {"build --workers ''", "--workers: '' is not in 1 to 1024"},
	    {"build --encoding lz4", "--encoding: encoding 'lz4'"},
	    {"build --dialect ustar", "--dialect: 'ustar' is not known"},
	    {"build --progress bra", "the nearest is 'bar'"},
	    {"build --to tar", "--to: 'tar' is no target"},
	    {"build --to a:1 --to a:2 --to a:3 --to a:4 --to a:5 --to a:6 "
	     "--to a:7 --to a:8 --to a:9",
		"no more than 8 outputs"},
	    {"build --substituter a", "--substituter: 'a': http://"},
	    {"build --trusted-key a", "--trusted-key: 'a': NAME:BASE64"},
	    {"build --substituter http://a --to none " S "a",
		"whose signatures count there"},
	    {"build --store-root ''", "--store-root: is empty"},
	    {"build " S "a", "--to is missing"},
	    {"build --to none", "nothing to build"},
	    {"plan", "nothing to plan"},
	    {"plan --name x --tag y", "nothing to plan"},
	    {"plan - --closure -", "standard input"},
	    {"plan --config - --closure -", "standard input"},
	    {"build - --to oci:- --to oci:-", "standard output"},
	    {"build - --to oci:- --metadata-file -", "standard output"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		bad(cases[i].line, cases[i].text);
}

static void
without_effect(void **state)
{
	static const struct {
		const char *line, *text;
	} cases[] = {
	    {"build --to oci:a --push-from coordinator " S "a",
		"--push-from goes with --to docker://"},
	    {"build --to oci:a --cache c --no-cache " S "a",
		"--cache c and --no-cache: one of them"},
	    {"build --to oci:a --cache-size 1G --no-cache " S "a",
		"--cache-size means nothing with --no-cache"},
	    {"batch r.json --cache c --no-cache",
		"--cache c and --no-cache: one of them"},
	    {"build --to docker://r:1/a --to oci:a --stream " S "a",
		"--stream is for registries"},
	    {"build --to docker://r:1/a --to docker://s:1/a --stream " S "a",
		"--stream is for one registry, not for r:1 and s:1"},
	    {"build --to docker://r:1/a --audit 5 --stream " S "a",
		"--audit does not go with --stream"},
	    {"build --to docker://r:1/a --cache c --stream " S "a",
		"--cache does not go with --stream"},
	    {"batch r.json --to docker://r:1/a --stream",
		"--stream: not an option of quarry batch"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		bad(cases[i].line, cases[i].text);
}

static void
empty_and_cache(void **state)
{
	(void)state;
	bad("build --cache ''", "--cache: is empty");
	bad("build --authfile ''", "--authfile: is empty");
	bad("build --token-server ''", "--token-server: is empty");
	bad("build --created ''", "--created: is empty");
	bad("plan --closure=", "--closure: is empty");
	bad("cache list --cache ''", "--cache: is empty");
	bad("cache list --deep", "--deep is an option of cache verify");
	bad("cache verify --json", "--json is an option of cache list");
	bad("cache verify --cache-size 1G", "of cache prune");
	bad("cache list --unused-days 1", "of cache prune");
	bad("cache prune --deep", "--deep is an option of cache verify");
}

static void
help(void **state)
{
	static const char *const names[] = {"name", "tag", "config", "created",
	    "mtime", "uid", "gid", "uname", "gname", "architecture", "arch",
	    "max-layers", "strategy", "from-image", "path",
	    "include-store-paths", "root-tree", "store-dir", "closure",
	    "store-root", "verbose", "help", "version"};
	static const char *const build_names[] = {"verify-store", "slots",
	    "workers", "worker-program", "to", "encoding", "dialect",
	    "metadata-file", "progress", "substituter", "trusted-key",
	    "no-require-sigs"};
	struct options o;
	char word[64];

	(void)state;
	good("--help", &o);
	assert_int_equal(o.command, COMMAND_HELP);
	assert_int_equal(o.help_for, COMMAND_HELP);
	good("help", &o);
	assert_int_equal(o.help_for, COMMAND_HELP);
	good("help plan", &o);
	assert_int_equal(o.help_for, COMMAND_PLAN);
	good("build --slots 3 --help --nonsense", &o);
	assert_int_equal(o.command, COMMAND_HELP);
	assert_int_equal(o.help_for, COMMAND_BUILD);
	options_free(&o);
	good("plan -h", &o);
	assert_int_equal(o.help_for, COMMAND_PLAN);
	options_free(&o);
	good("--version", &o);
	assert_int_equal(o.command, COMMAND_VERSION);
	good("build --version", &o);
	assert_int_equal(o.command, COMMAND_VERSION);
	options_free(&o);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(word, sizeof(word), "--%s", names[i]);
		assert_non_null(strstr(options_help(COMMAND_BUILD), word));
		assert_non_null(strstr(options_help(COMMAND_PLAN), word));
	}
	for (size_t i = 0; i < sizeof(build_names) / sizeof(char *); i++) {
		snprintf(word, sizeof(word), "--%s", build_names[i]);
		assert_non_null(strstr(options_help(COMMAND_BUILD), word));
	}
	assert_non_null(strstr(options_help(COMMAND_PLAN), "--json"));
	assert_non_null(strstr(options_help(COMMAND_HELP), "Exit status"));
}

/* Lines that a terminal of 80 columns does not break. */
static void
help_width(void **state)
{
	static const enum command all[] = {
	    COMMAND_BUILD, COMMAND_BATCH, COMMAND_PLAN, COMMAND_HELP};

	(void)state;
	for (size_t i = 0; i < 4; i++)
		for (const char *p = options_help(all[i]); *p != '\0';) {
			assert_true(strcspn(p, "\n") <= 80);
			p += strcspn(p, "\n") + 1;
		}
}

static void
batch(void **state)
{
	struct options o;

	(void)state;
	good("batch f --to oci:{name} --to docker://h/{name}:{tag} --tag 1 "
	     "--json --cache c --listen tcp://127.0.0.1:1 --slots 2 "
	     "--max-layers 9",
	    &o);
	assert_int_equal(o.command, COMMAND_BATCH);
	assert_string_equal(o.request_file, "f");
	assert_int_equal(o.n_store_paths, 0);
	assert_int_equal(o.n_outputs, 2);
	assert_string_equal(o.to[0], "oci:{name}");
	assert_string_equal(o.to[1], "docker://h/{name}:{tag}");
	assert_int_equal(o.encoding.kind, ENCODING_NONE);
	assert_true(o.json);
	assert_string_equal(o.tag, "1");
	assert_string_equal(o.max_layers, "9");
	assert_string_equal(o.listen, "tcp://127.0.0.1:1");
	options_free(&o);
	/* Requests may say where they go. */
	good("batch -", &o);
	options_free(&o);
	bad("batch", "one FILE");
	bad("batch a b", "one FILE");
	bad("batch f --name n", "not an option of quarry batch");
	bad("batch f --deep", "not an option of quarry batch");
	bad("batch - --closure -", "only one of");
	bad("batch f --config -", "--config -");
	bad("batch f --json --metadata-file -", "one of them");
	bad("batch f --local-slots 0", "--local-slots 0");
	bad("batch f --listen tcp://*:1", "--workers-keys");
	bad("build " S "a --to none --json", "but of quarry plan");
}

static void
launch(void **state)
{
	struct options o;

	(void)state;
	good("build " S "a --to none --launch srun", &o);
	assert_string_equal(o.launch, "srun");
	assert_null(o.listen);
	assert_null(o.advertise);
	options_free(&o);
	good("build " S
	     "a --to none --launch x --local-slots 0 --min-workers 2 "
	     "--listen tcp://10.0.0.1:* --advertise h --key k --workers-keys w",
	    &o);
	assert_string_equal(o.advertise, "h");
	options_free(&o);
	good("build " S "a --to none --launch x --key k", &o);
	options_free(&o);
	bad("build " S "a --to none --launch ''", "--launch: is empty");
	bad("build " S "a --to none --launch x --listen ipc:///s", "tcp://");
	bad("build " S "a --to none --launch x --workers-keys w",
	    "needs --key");
	bad("build " S "a --to none --launch x --listen-without-keys",
	    "--launch has keys");
	bad("build " S "a --to none --advertise h", "goes with --launch");
	bad("build " S "a --to none --format oci1", "neither oci nor docker");
	bad("build " S "a --to none --format docker", "goes with --to docker:");
	bad("build " S "a --to oci:x --format docker", "is for registries");
	bad("plan " S "a --launch x", "not an option of quarry plan");
}

static void
coordinator(void **state)
{
#define AT "a --to none --coordinator "
	struct options o;

	(void)state;
	good("build " S AT "tcp://10.0.0.1:47 --key k --server-key s", &o);
	assert_string_equal(o.coordinator, "tcp://10.0.0.1:47");
	assert_string_equal(o.server_key, "s");
	options_free(&o);
	good("build " S AT "tcp://127.0.0.1:47", &o);
	options_free(&o);
	good("build " S AT "ipc:///s --worker-program w --verify-store", &o);
	options_free(&o);
	bad("build " S AT "tcp://10.0.0.1:47", "are needed");
	bad("build " S AT "tcp://10.0.0.1:*", "--coordinator: ");
	bad("build " S AT "tcp://127.0.0.1:47 --key k", "go together");
	bad("build " S AT "ipc:///s --audit 1", "--audit does not go with");
	bad("build " S AT "ipc:///s --workers 2", "--workers does not go with");
	bad("build " S "a --to none --server-key s", "goes with --coordinator");
	bad("plan " S "a --coordinator ipc:///s",
	    "not an option of quarry plan");
#undef AT
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(defaults),
	    cmocka_unit_test(settings),
	    cmocka_unit_test(work),
	    cmocka_unit_test(request_files),
	    cmocka_unit_test(batch),
	    cmocka_unit_test(launch),
	    cmocka_unit_test(coordinator),
	    cmocka_unit_test(wrong),
	    cmocka_unit_test(without_effect),
	    cmocka_unit_test(empty_and_cache),
	    cmocka_unit_test(help),
	    cmocka_unit_test(help_width),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
