#include "python.h"

#include <jansson.h>

#include "err.h"
#include "image/image.h"
#include "image/image_json.h"
#include "text/json_file.h"
#include "own.h"
#include "text/python_json.h"

#define LAYERS_MAX 5
#define PATHS_MAX 4
#define IMAGES 300

static const char run_oracle[] =
    "import os, sys\n"
    "sys.path.insert(0, os.path.join(os.environ['QUARRY_TESTS'], 'oracle'))\n"
    "sys.dont_write_bytecode = True\n"
    "import image_json\n"
    "image_json.main()\n";

struct made {
	struct image image;
	struct image_layer layer[LAYERS_MAX];
	const char *paths[LAYERS_MAX][PATHS_MAX];
	const char *names[LAYERS_MAX];
	json_t *config, *base_config;
};

static const char *const path_pool[] = {
    "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-a",
    "/nix/store/zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz-hello-2.12", "0000/layer.tar",
    "it's/\"layer\".tar", "\xff\xfe", "\xc3\xa9t\xc3\xa9", "line\nbreak\\",
    "\xf0\x9f\x98\x80"};

static json_t *
random_env(uint64_t *seed)
{
	static const char *const pool[] = {"A=1", "A=2", "B=", "B", "PATH=/bin",
	    "PATH=/a:/b=c", "=x", "", "\xc3\xa9=1"};
	json_t *list = json_array();
	size_t n = python_random(seed) % 6;

	for (size_t i = 0; i < n; i++)
		json_array_append_new(
		    list, json_string(pool[python_random(seed) % 9]));
	return list;
}

static json_t *
random_config(uint64_t *seed)
{
	json_t *config = json_object();
	unsigned with = (unsigned)python_random(seed) % 16;

	if (with & 1)
		json_object_set_new(config, "Cmd", json_pack("[s]", "/bin/sh"));
	if (with & 2)
		json_object_set_new(
		    config, "Env", with & 4 ? random_env(seed) : json_null());
	if (with & 8)
		json_object_set_new(config, "Labels",
		    json_pack(
			"{s:s,s:f,s:n}", "z", "\xe2\x82\xac", "a", 0.1, "m"));
	return config;
}

static void
fill_digest(uint64_t *seed, struct digest *d)
{
	for (size_t i = 0; i < DIGEST_SIZE; i++)
		d->b[i] = (uint8_t)python_random(seed);
}

static void
make_random(uint64_t *seed, struct made *m)
{
	static const char *const names[] = {
	    "a", "a/b", "ghcr.io/a/b", "localhost/a", "h:5000/a", "library/x"};
	unsigned choice = (unsigned)python_random(seed);

	memset(m, 0, sizeof(*m));
	m->config = random_config(seed);
	m->base_config = choice & 1 ? random_config(seed) : NULL;
	m->image = (struct image){
	    .name = names[(choice >> 8) % 6],
	    .tag = choice & 2 ? "v1.0" : NULL,
	    .created = "2024-05-06T07:08:09.500000+02:00",
	    .architecture = choice & 4 ? "amd64" : "arm64",
	    .os = "linux",
	    .config = m->config,
	    .base_config = m->base_config,
	    .layer = m->layer,
	    .n_layers = (choice >> 16) % (LAYERS_MAX + 1),
	};
	for (size_t i = 0; i < m->image.n_layers; i++) {
		struct image_layer *layer = &m->layer[i];

		layer->media_type =
		    encoding_media_type(python_random(seed) % 3);
		layer->paths = m->paths[i];
		layer->n_paths = python_random(seed) % (PATHS_MAX + 1);
		for (size_t j = 0; j < layer->n_paths; j++)
			layer->paths[j] = path_pool[python_random(seed) % 8];
		m->names[i] = path_pool[python_random(seed) % 8];
		fill_digest(seed, &layer->result.diff_id);
		fill_digest(seed, &layer->result.digest);
		layer->result.size = python_random(seed) >> 20;
	}
}

static json_t *
digest_json(const struct digest *d)
{
	char text[80] = "sha256:";

	digest_hex(d, text + 7);
	return json_string(text);
}

/* The description that the oracle reads, on one line. */
static void
describe(FILE *f, const struct made *m)
{
	const struct image *image = &m->image;
	json_t *layers = json_array(), *doc;
	char *text;
	size_t len;
	FILE *line;

	for (size_t i = 0; i < image->n_layers; i++) {
		const struct image_layer *l = &image->layer[i];
		json_t *paths = json_array();

		for (size_t j = 0; j < l->n_paths; j++)
			json_array_append_new(
			    paths, json_string_nocheck(l->paths[j]));
		json_array_append_new(layers,
		    json_pack("{s:o,s:o,s:o,s:s,s:I,s:o}", "diff_id",
			digest_json(&l->result.diff_id), "paths", paths,
			"digest", digest_json(&l->result.digest), "media_type",
			l->media_type, "size", (json_int_t)l->result.size,
			"name", json_string_nocheck(m->names[i])));
	}
	doc = json_pack("{s:s,s:s?,s:s,s:s,s:s,s:O,s:O?,s:o}", "name",
	    image->name, "tag", image->tag, "created", image->created,
	    "architecture", image->architecture, "os", image->os, "config",
	    m->config, "base_config", m->base_config, "layers", layers);
	assert_non_null(doc);
	line = open_memstream(&text, &len);
	python_json_put(line, doc);
	fclose(line);
	for (size_t i = 0; i < len; i++)
		fputc(text[i] == '\n' ? ' ' : text[i], f);
	fputc('\n', f);
	free(text);
	json_decref(doc);
}

static void
same(const char **theirs, const char *mine, size_t len)
{
	assert_int_equal(strlen(mine), len);
	if (strcmp(mine, *theirs) != 0)
		fail_msg("%s\noracle: %s", mine, *theirs);
	*theirs += len + 1;
}

static void
as_oracle(void **state)
{
	AUTO(own_freep) char *in = NULL;
	AUTO(own_freep) char *out = NULL;
	struct made *m = calloc(IMAGES, sizeof(*m));
	size_t in_len;
	FILE *f = open_memstream(&in, &in_len);
	uint64_t seed = 3;
	const char *p;

	(void)state;
	for (size_t i = 0; i < IMAGES; i++) {
		make_random(&seed, &m[i]);
		describe(f, &m[i]);
	}
	fclose(f);
	p = out = python_run(run_oracle, in, in_len, NULL);
	for (size_t i = 0; i < IMAGES; i++) {
		struct image *image = &m[i].image;
		AUTO(own_freep) char *docker = NULL;
		AUTO(own_freep) char *index = NULL;
		char *config = json_dumps(m[i].config, 0);
		size_t docker_len, index_len;
		struct err e = ERR_INIT;
		struct digest d;

		if (image_json_make(image, &e) < 0)
			fail_msg("%s", e.text);
		digest_of(image->config_json, image->config_len, &d);
		assert_true(digest_equal(&d, &image->id));
		digest_of(image->manifest_json, image->manifest_len, &d);
		assert_true(digest_equal(&d, &image->manifest_digest));
		assert_int_equal(image_json_docker_manifest(image, m[i].names,
				     "c.json", &docker, &docker_len, &e),
		    0);
		assert_int_equal(
		    image_json_index(image, &index, &index_len, &e), 0);
		same(&p, image->config_json, image->config_len);
		same(&p, docker, docker_len);
		same(&p, image->manifest_json, image->manifest_len);
		same(&p, index, index_len);
		image_json_free(image);
		/* The request's config is as it was. */
		free(in);
		in = json_dumps(m[i].config, 0);
		assert_string_equal(in, config);
		free(config);
		json_decref(m[i].config);
		json_decref(m[i].base_config);
	}
	free(m);
}

/* The bytes of a small image, once, in full. */
static void
by_hand(void **state)
{
	const char *paths[] = {"/nix/store/a", "/nix/store/b"};
	struct image_layer layer = {.paths = paths, .n_paths = 2};
	json_t *config = json_pack("{s:[s],s:[s]}", "Env", "A=2", "Cmd", "x");
	json_t *base = json_pack(
	    "{s:[s,s],s:[s]}", "Env", "A=1", "B=1", "Cmd", "not ours");
	struct image image = {.name = "n",
	    .created = "1970-01-01T00:00:01+00:00",
	    .architecture = "amd64",
	    .os = "linux",
	    .config = config,
	    .base_config = base,
	    .layer = &layer,
	    .n_layers = 1};
	char hex[DIGEST_HEX_LEN + 1];
	struct err e = ERR_INIT;

	(void)state;
	layer.media_type = encoding_media_type(ENCODING_NONE);
	memset(layer.result.diff_id.b, 0xab, DIGEST_SIZE);
	assert_int_equal(image_json_make(&image, &e), 0);
	assert_string_equal(image.config_json,
	    "{\n"
	    "    \"created\": \"1970-01-01T00:00:01+00:00\",\n"
	    "    \"architecture\": \"amd64\",\n"
	    "    \"os\": \"linux\",\n"
	    "    \"config\": {\n"
	    "        \"Env\": [\n"
	    "            \"A=2\",\n"
	    "            \"B=1\"\n"
	    "        ],\n"
	    "        \"Cmd\": [\n"
	    "            \"x\"\n"
	    "        ]\n"
	    "    },\n"
	    "    \"rootfs\": {\n"
	    "        \"diff_ids\": [\n"
	    "            \"sha256:abababababababababababababababababababababab"
	    "abababababababababab\"\n"
	    "        ],\n"
	    "        \"type\": \"layers\"\n"
	    "    },\n"
	    "    \"history\": [\n"
	    "        {\n"
	    "            \"created\": \"1970-01-01T00:00:01+00:00\",\n"
	    "            \"comment\": \"store paths: ['/nix/store/a', "
	    "'/nix/store/b']\"\n"
	    "        }\n"
	    "    ]\n"
	    "}");
	digest_hex(&image.id, hex);
	assert_memory_equal(hex, image.tag, 32);
	assert_int_equal(strlen(image.tag), 32);
	image_json_free(&image);
	assert_null(image.tag);
	json_decref(config);
	json_decref(base);
}

static void
docker_format(void **state)
{
	struct image_layer layer[2] = {{.media_type = NULL}};
	json_t *config = json_object();
	struct image image = {.name = "n",
	    .created = "1970-01-01T00:00:01+00:00",
	    .architecture = "amd64",
	    .os = "linux",
	    .config = config,
	    .format = IMAGE_DOCKER,
	    .layer = layer,
	    .n_layers = 2};
	struct err e = ERR_INIT;
	const char *at;

	(void)state;
	layer[0].media_type = encoding_media_type(ENCODING_NONE);
	layer[1].media_type = encoding_media_type(ENCODING_GZIP);
	assert_int_equal(image_json_make(&image, &e), 0);
	assert_ptr_equal(strstr(image.manifest_json,
			     "{\"schemaVersion\":2,\"mediaType\":\"application/"
			     "vnd.docker.distribution.manifest.v2+json\","
			     "\"config\":{\"mediaType\":\"application/"
			     "vnd.docker.container.image.v1+json\","),
	    image.manifest_json);
	at = strstr(image.manifest_json,
	    "\"application/vnd.docker.image.rootfs.diff.tar\"");
	assert_non_null(at);
	assert_non_null(strstr(
	    at, "\"application/vnd.docker.image.rootfs.diff.tar.gzip\""));
	assert_null(strstr(image.manifest_json, "oci"));
	image_json_free(&image);
	layer[0].media_type = encoding_media_type(ENCODING_ZSTD);
	assert_int_equal(image_json_make(&image, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_non_null(strstr(e.text, "layer 1 is application/vnd.oci."));
	json_decref(config);
}

static void
bad_env(void **state)
{
	static const struct {
		const char *config, *base, *text;
	} cases[] = {
	    {"{}", "{\"Env\": {}}", "base image: Env: an array of strings"},
	    {"{}", "{\"Env\": [1]}", "base image: Env: element 1: a string"},
	    {"{\"Env\": \"A=1\"}", "{}", "config: Env: an array of strings"},
	    {"{\"Env\": [[]]}", "{}", "config: Env: element 1: a string"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *config = json_loads(cases[i].config, 0, NULL);
		json_t *base = json_loads(cases[i].base, 0, NULL);
		struct image image = {.name = "n",
		    .created = "c",
		    .architecture = "a",
		    .os = "o",
		    .config = config,
		    .base_config = base};
		struct err e = ERR_INIT;

		assert_int_equal(image_json_make(&image, &e), -1);
		assert_int_equal(e.kind, ERR_USAGE);
		if (strstr(e.text, cases[i].text) == NULL)
			fail_msg("%s", e.text);
		assert_null(image.config_json);
		/* Without a base nobody looks. */
		err_clear(&e);
		image.base_config = NULL;
		assert_int_equal(image_json_make(&image, &e), 0);
		image_json_free(&image);
		json_decref(config);
		json_decref(base);
	}
}

/* A million paths in one layer: linear, or the test's time is up. */
static void
large(void **state)
{
	size_t n = 1000000;
	const char **paths = calloc(n, sizeof(*paths));
	struct image_layer layer = {.n_paths = n};
	json_t *config = json_object();
	struct image image = {.name = "n",
	    .created = "c",
	    .architecture = "a",
	    .os = "o",
	    .config = config,
	    .layer = &layer,
	    .n_layers = 1};
	struct err e = ERR_INIT;

	(void)state;
	assert_non_null(paths);
	for (size_t i = 0; i < n; i++)
		paths[i] = path_pool[i & 1];
	layer.paths = paths;
	layer.media_type = encoding_media_type(ENCODING_NONE);
	assert_int_equal(image_json_make(&image, &e), 0);
	assert_true(image.config_len > n * 49);
	image_json_free(&image);
	json_decref(config);
	free(paths);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(as_oracle),
	    cmocka_unit_test(by_hand),
	    cmocka_unit_test(docker_format),
	    cmocka_unit_test(bad_env),
	    cmocka_unit_test(large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
