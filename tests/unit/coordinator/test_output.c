#include "output/output.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "err.h"
#include "image/image.h"
#include "image/image_json.h"
#include "own.h"
#include "process/scratch.h"
#include "tar_header.h"

/* The JSON is somebody else's: here only that it arrives where it should. */
int
image_json_docker_manifest(const struct image *image,
    const char *const *layer_name, const char *config_name, char **out,
    size_t *len, struct err *e)
{
	FILE *f = open_memstream(out, len);

	(void)e;
	assert_non_null(f);
	fprintf(f, "config %s\n", config_name);
	for (size_t i = 0; i < image->n_layers; i++)
		fprintf(f, "layer %s\n", layer_name[i]);
	assert_int_equal(fclose(f), 0);
	return 0;
}

int
image_json_index(
    const struct image *image, char **out, size_t *len, struct err *e)
{
	(void)e;
	*len = (size_t)asprintf(out, "index %s", image->tag);
	return 0;
}

/* Link seams: what some file systems and kernels do not offer. */
static bool poor_kernel;

int
renameat2(
    int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	if (poor_kernel) {
		errno = EINVAL;
		return -1;
	}
	return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

ssize_t
copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t len,
    unsigned flags)
{
	if (poor_kernel) {
		errno = EXDEV;
		return -1;
	}
	return syscall(SYS_copy_file_range, in, in_at, out, out_at, len, flags);
}

ssize_t
sendfile(int out, int in, off_t *at, size_t len)
{
	if (poor_kernel) {
		errno = EINVAL;
		return -1;
	}
	return syscall(SYS_sendfile, out, in, at, len);
}

static const char *python;
static char *folder; /* each test's own */
static bool folder_fails;

int
fsync(int fd)
{
	struct stat st, its;

	if (folder_fails && fstat(fd, &st) == 0 && stat(folder, &its) == 0 &&
	    st.st_ino == its.st_ino) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

static struct scratch *scratch;
#define N_LAYERS 5
static const char *base_names[] = {"b0/layer.tar", "b1/layer.tar"};
static const char *no_paths[] = {""};
static char base_file[2][256];
static char *content[N_LAYERS]; /* what the worker writes */
static const size_t content_size[N_LAYERS] = {10240, 3000, 10240, 512, 77777};
static struct image_layer layers[N_LAYERS];
static struct image image;
static char config_json[] = "{the config}";
static char manifest_json[] = "{the manifest}";

static void
write_file(const char *path, const void *data, size_t len, off_t at)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, len, at), len);
	close(fd);
}

/* Base layers 0, 1 and 0 again; then two that workers make. */
static void
make_image(void)
{
	static const int base_of[N_LAYERS] = {0, 1, 0, -1, -1};

	memset(layers, 0, sizeof(layers));
	for (size_t i = 0; i < N_LAYERS; i++) {
		struct image_layer *l = &layers[i];
		int base = base_of[i];

		free(content[i]);
		content[i] = malloc(content_size[i]);
		memset(content[i], base >= 0 ? 'A' + base : 'a' + (int)i,
		    content_size[i]);
		l->kind = base >= 0 ? IMAGE_BASE : IMAGE_STORE;
		l->paths = base >= 0 ? &base_names[base] : no_paths;
		l->n_paths = 1;
		l->result.size = l->result.tar_size = content_size[i];
		digest_of(content[i], content_size[i], &l->result.digest);
		l->result.diff_id = l->result.digest;
		if (base < 0)
			continue;
		snprintf(base_file[base], sizeof(base_file[base]), "%s/base%d",
		    folder, base);
		l->file = base_file[base];
		write_file(l->file, content[i], content_size[i], 0);
	}
	image = (struct image){.tag = "v1",
	    .mtime = 1234567,
	    .layer = layers,
	    .n_layers = N_LAYERS,
	    .config_json = config_json,
	    .config_len = strlen(config_json),
	    .manifest_json = manifest_json,
	    .manifest_len = strlen(manifest_json)};
	digest_of(config_json, strlen(config_json), &image.id);
	digest_of(manifest_json, strlen(manifest_json), &image.manifest_digest);
}

static int
setup(void **state)
{
	char name[] = "/tmp/test-output-XXXXXX";
	struct err e = ERR_INIT;

	(void)state;
	if (mkdtemp(name) == NULL || (folder = strdup(name)) == NULL)
		return -1;
	setenv("TMPDIR", folder, 1);
	make_image();
	return scratch_new(&scratch, &e);
}

/* Fails where an output left something behind. */
static int
teardown(void **state)
{
	char command[512];
	int left;

	(void)state;
	snprintf(command, sizeof(command),
	    "test -z \"$(find %s -name '.quarry-*')\"", folder);
	left = system(command);
	scratch_freep(&scratch);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	if (system(command) != 0)
		return -1;
	free(folder);
	for (size_t i = 0; i < N_LAYERS; i++) {
		free(content[i]);
		content[i] = NULL;
	}
	return left;
}

static char *
in_folder(const char *name)
{
	char *path;

	assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
	return path;
}

/* Runs Python text with the folder as sys.argv[1]; 0 is success. */
static int
run_python(const char *text)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execlp(python, python, "-c", text, folder, NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static struct output *
open_output(enum output_kind kind, const char *path)
{
	struct output_target target = {kind, path};
	struct output *o = NULL;
	struct err e = ERR_INIT;

	if (output_open(&target, scratch, &o, &e) < 0)
		fail_msg("%s", e.text);
	return o;
}

/* What the worker does with layer i. */
static void
work(struct output *o)
{
	for (size_t i = 0; i < N_LAYERS; i++) {
		AUTO(own_freep) char *path = NULL;
		struct layer_output sink = {0};
		char hex[DIGEST_HEX_LEN + 1];

		if (layers[i].kind == IMAGE_BASE || !output_sink(o, i, &sink))
			continue;
		if (sink.kind == LAYER_TO_FILE) {
			assert_int_equal(access(sink.path, W_OK), 0);
			write_file(sink.path, content[i], content_size[i],
			    (off_t)sink.offset);
			if (output_needs_sizes(o))
				assert_int_equal(sink.size, content_size[i]);
			continue;
		}
		digest_hex(&layers[i].result.digest, hex);
		assert_true(asprintf(&path, "%s/%s", sink.path, hex) > 0);
		write_file(path, content[i], content_size[i], 0);
	}
}

static void
make_output(struct output *o)
{
	struct err e = ERR_INIT;

	assert_int_equal(output_layout(o, &image, &e), 0);
	work(o);
	if (output_commit(o, &image, NULL, &e) < 0)
		fail_msg("%s", e.text);
}

/* Python's tarfile, given the same, must have written the same bytes. */
#define PYTHON_DOCKER                                                          \
	"import sys, io, tarfile, hashlib\n"                                   \
	"d = sys.argv[1] + '/'\n"                                              \
	"want = io.BytesIO()\n"                                                \
	"t = tarfile.open(fileobj=want, mode='w|')\n"                          \
	"def put(name, data):\n"                                               \
	"    i = tarfile.TarInfo(name); i.size = len(data)\n"                  \
	"    i.mtime = 1234567\n"                                              \
	"    t.addfile(i, io.BytesIO(data))\n"                                 \
	"def own(data):\n"                                                     \
	"    n = hashlib.sha256(data).hexdigest() + '/layer.tar'\n"            \
	"    put(n, data); return n\n"                                         \
	"put('b0/layer.tar', b'A' * 10240)\n"                                  \
	"put('b1/layer.tar', b'B' * 3000)\n"                                   \
	"l = ['b0/layer.tar', 'b1/layer.tar', 'b0/layer.tar']\n"               \
	"l += [own(b'd' * 512), own(b'e' * 77777)]\n"                          \
	"c = hashlib.sha256(b'{the config}').hexdigest() + '.json'\n"          \
	"put(c, b'{the config}')\n"                                            \
	"m = 'config %s\\n' % c + ''.join('layer %s\\n' % x for x in l)\n"     \
	"put('manifest.json', m.encode())\n"                                   \
	"t.close()\n"                                                          \
	"got = open(d + 'out.tar', 'rb').read()\n"                             \
	"sys.exit(got != want.getvalue())\n"

static void
test_docker_file(void **state)
{
	AUTO(own_freep) char *path = in_folder("out.tar");
	AUTO(output_freep) struct output *o = NULL;
	struct stat st;

	(void)state;
	write_file(path, "the old one", 11, 0);
	chmod(path, 0640);
	o = open_output(OUTPUT_DOCKER_ARCHIVE, path);
	assert_false(output_takes_blobs(o));
	assert_true(output_needs_sizes(o));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 11); /* not touched yet */
	make_output(o);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(run_python(PYTHON_DOCKER), 0);
}

/* Sizes were not known before: the same archive. */
static void
test_docker_staged(void **state)
{
	AUTO(own_freep) char *path = in_folder("out.tar");
	AUTO(output_freep) struct output *o = NULL;

	(void)state;
	o = open_output(OUTPUT_DOCKER_ARCHIVE, path);
	output_stage(o);
	assert_false(output_needs_sizes(o));
	make_output(o);
	assert_int_equal(run_python(PYTHON_DOCKER), 0);
}

static void
test_docker_stream(void **state)
{
	AUTO(own_freep) char *path = in_folder("fifo");
	AUTO(own_freep) char *copy = in_folder("out.tar");
	AUTO(output_freep) struct output *o = NULL;
	pid_t pid;
	int status;

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	if ((pid = fork()) == 0) {
		assert_non_null(freopen(path, "r", stdin));
		assert_non_null(freopen(copy, "w", stdout));
		execlp("cat", "cat", NULL);
		_exit(127);
	}
	o = open_output(OUTPUT_DOCKER_ARCHIVE, path);
	assert_false(output_needs_sizes(o));
	make_output(o);
	output_freep(&o);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(run_python(PYTHON_DOCKER), 0);
}

/* The reader of the pipe has gone: an error, not a signal's death. */
static void
test_closed_pipe(void **state)
{
	AUTO(own_freep) char *path = in_folder("fifo");
	struct output *o;
	struct err e = ERR_INIT;
	int fd;

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_true((fd = open(path, O_RDONLY | O_NONBLOCK)) >= 0);
	o = open_output(OUTPUT_DOCKER_ARCHIVE, path);
	close(fd);
	assert_int_equal(output_layout(o, &image, &e), 0);
	work(o);
	assert_int_equal(output_commit(o, &image, NULL, &e), -1);
	assert_int_equal(e.sys, EPIPE);
	assert_int_equal(e.kind, ERR_FATAL);
	assert_non_null(strstr(e.text, path));
	output_free(o);
}

static void
test_given_up(void **state)
{
	AUTO(own_freep) char *tar = in_folder("out.tar");
	AUTO(own_freep) char *dir = in_folder("out");
	AUTO(own_freep) char *oci = in_folder("oci.tar");
	struct output *o[3];
	struct err e = ERR_INIT;

	(void)state;
	o[0] = open_output(OUTPUT_DOCKER_ARCHIVE, tar);
	o[1] = open_output(OUTPUT_OCI, dir);
	o[2] = open_output(OUTPUT_OCI_ARCHIVE, oci);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(output_layout(o[i], &image, &e), 0);
		work(o[i]);
		output_free(o[i]);
	}
	assert_int_equal(access(tar, F_OK), -1);
	assert_int_equal(access(dir, F_OK), -1);
	assert_int_equal(access(oci, F_OK), -1);
}

#define PYTHON_OCI_NAMES                                                       \
	"import sys, os, hashlib, tarfile\n"                                   \
	"d = sys.argv[1] + '/'\n"                                              \
	"h = lambda b: hashlib.sha256(b).hexdigest()\n"                        \
	"blobs = [b'{the config}', b'{the manifest}', b'A' * 10240,\n"         \
	"    b'B' * 3000, b'd' * 512, b'e' * 77777]\n"                         \
	"mark = b'{\"imageLayoutVersion\":\"1.0.0\"}'\n"

#define PYTHON_OCI                                                             \
	PYTHON_OCI_NAMES                                                       \
	"b = d + 'out/blobs/sha256/'\n"                                        \
	"assert sorted(os.listdir(d + 'out')) == ['blobs', 'index.json',\n"    \
	"    'oci-layout']\n"                                                  \
	"assert sorted(os.listdir(b)) == sorted(map(h, blobs))\n"              \
	"for x in os.listdir(b):\n"                                            \
	"    assert h(open(b + x, 'rb').read()) == x\n"                        \
	"    assert os.stat(b + x).st_mode & 0o777 == 0o644\n"                 \
	"assert open(d + 'out/index.json').read() == 'index v1'\n"             \
	"assert open(d + 'out/oci-layout', 'rb').read() == mark\n"             \
	"assert os.stat(d + 'out').st_mode & 0o777 == 0o755\n"

static void
test_oci_new(void **state)
{
	AUTO(own_freep) char *path = in_folder("out");
	AUTO(output_freep) struct output *o = NULL;

	(void)state;
	umask(022);
	o = open_output(OUTPUT_OCI, path);
	assert_true(output_takes_blobs(o));
	assert_false(output_needs_sizes(o));
	make_output(o);
	assert_int_equal(run_python(PYTHON_OCI), 0);
}

static void
test_oci_replaces(void **state)
{
	AUTO(own_freep) char *path = in_folder("out");
	AUTO(own_freep) char *mark = in_folder("out/oci-layout");
	AUTO(own_freep) char *old = in_folder("out/old");

	(void)state;
	umask(022);
	assert_int_equal(mkdir(path, 0755), 0);
	for (int round = 0; round < 2; round++) {
		/* First into an empty folder, then over a layout. */
		struct output *o = open_output(OUTPUT_OCI, path);

		if (round == 1) {
			assert_int_equal(access(mark, F_OK), 0);
			write_file(old, "x", 1, 0);
		}
		make_output(o);
		output_free(o);
		assert_int_equal(run_python(PYTHON_OCI), 0);
	}
}

/* Several builds have one place: the last one wins, and none fails. */
static void
test_oci_meanwhile(void **state)
{
	AUTO(own_freep) char *path = in_folder("out");
	AUTO(own_freep) char *old = in_folder("out/old");
	AUTO(own_freep) char *away = in_folder("away");
	struct output *o[3];

	(void)state;
	umask(022);
	o[0] = open_output(OUTPUT_OCI, path);
	o[1] = open_output(OUTPUT_OCI, path);
	make_output(o[0]);
	write_file(old, "x", 1, 0);
	make_output(o[1]);
	assert_int_equal(run_python(PYTHON_OCI), 0);
	/* A layout that was there is gone. */
	o[2] = open_output(OUTPUT_OCI, path);
	assert_int_equal(rename(path, away), 0);
	make_output(o[2]);
	assert_int_equal(run_python(PYTHON_OCI), 0);
	for (int i = 0; i < 3; i++)
		output_free(o[i]);
}

/* But for what is no layout. */
static void
test_oci_in_the_way(void **state)
{
	AUTO(own_freep) char *path = in_folder("out");
	AUTO(own_freep) char *file = in_folder("out/file");
	AUTO(output_freep) struct output *o = NULL;
	struct err e = ERR_INIT;

	(void)state;
	o = open_output(OUTPUT_OCI, path);
	assert_int_equal(output_layout(o, &image, &e), 0);
	work(o);
	assert_int_equal(mkdir(path, 0755), 0);
	write_file(file, "x", 1, 0);
	assert_int_equal(output_commit(o, &image, NULL, &e), -1);
	assert_non_null(strstr(e.text, "other things"));
	assert_int_equal(access(file, F_OK), 0);
}

static void
refused(enum output_kind kind, const char *path, const char *why)
{
	struct output_target target = {kind, path};
	struct output *o = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(output_open(&target, scratch, &o, &e), -1);
	assert_null(o);
	assert_int_equal(e.kind, ERR_USAGE);
	if (strstr(e.text, why) == NULL || strstr(e.text, path) == NULL)
		fail_msg("'%s' lacks '%s' or '%s'", e.text, why, path);
}

static void
test_bad_places(void **state)
{
	AUTO(own_freep) char *missing = in_folder("missing/out");
	AUTO(own_freep) char *file = in_folder("base0");
	AUTO(own_freep) char *below = in_folder("base0/out");

	(void)state;
	refused(OUTPUT_DOCKER_ARCHIVE, missing, "No such file");
	refused(OUTPUT_OCI_ARCHIVE, missing, "No such file");
	refused(OUTPUT_OCI, missing, "No such file");
	refused(OUTPUT_DOCKER_ARCHIVE, folder, "is a folder");
	refused(OUTPUT_OCI_ARCHIVE, folder, "is a folder");
	refused(OUTPUT_OCI, folder, "other things");
	refused(OUTPUT_OCI, file, "not a folder");
	refused(OUTPUT_OCI, below, "Not a directory");
	refused(OUTPUT_DOCKER_ARCHIVE, below, "Not a directory");
	refused(OUTPUT_DOCKER_ARCHIVE, "/proc/x.tar", "No such file");
	refused(OUTPUT_OCI, "/proc", "mount point");
}

#define PYTHON_OCI_ARCHIVE                                                     \
	PYTHON_OCI_NAMES                                                       \
	"t = tarfile.open(d + 'oci.tar')\n"                                    \
	"n = ['blobs/sha256/' + h(b) for b in blobs]\n"                        \
	"assert t.getnames() == ['oci-layout', 'index.json',\n"                \
	"    'manifest.json', 'blobs', 'blobs/sha256'] + n, t.getnames()\n"    \
	"for x, b in zip(n, blobs):\n"                                         \
	"    assert t.extractfile(x).read() == b\n"                            \
	"for x in t:\n"                                                        \
	"    assert (x.mtime, x.uid, x.gid) == (1234567, 0, 0)\n"              \
	"    assert x.mode == (0o755 if x.isdir() else 0o644)\n"               \
	"m = t.extractfile('manifest.json').read().decode().split()\n"         \
	"assert m[1::2] == [n[0], n[2], n[3], n[2], n[4], n[5]], m\n"

static void
test_oci_archive(void **state)
{
	AUTO(own_freep) char *path = in_folder("oci.tar");
	AUTO(output_freep) struct output *o = NULL;

	(void)state;
	o = open_output(OUTPUT_OCI_ARCHIVE, path);
	make_output(o);
	assert_int_equal(run_python(PYTHON_OCI_ARCHIVE), 0);
}

/* Three that take the same blobs; committed in both orders. */
static void
shared(bool first_first)
{
	AUTO(own_freep) char *dir = in_folder("out");
	AUTO(own_freep) char *tar = in_folder("oci.tar");
	AUTO(output_freep) struct output *a = open_output(OUTPUT_OCI, dir);
	AUTO(output_freep)
	struct output *b = open_output(OUTPUT_OCI_ARCHIVE, tar);
	struct output *from = first_first ? a : b, *to = first_first ? b : a;
	struct layer_output sink;
	struct err e = ERR_INIT;

	output_share(to);
	assert_int_equal(output_layout(a, &image, &e), 0);
	assert_int_equal(output_layout(b, &image, &e), 0);
	assert_true(output_sink(from, 4, &sink));
	assert_false(output_sink(to, 4, &sink));
	work(from);
	work(to);
	if (output_commit(a, &image, a == to ? from : NULL, &e) < 0 ||
	    output_commit(b, &image, b == to ? from : NULL, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(run_python(PYTHON_OCI), 0);
	assert_int_equal(run_python(PYTHON_OCI_ARCHIVE), 0);
}

static void
test_shared(void **state)
{
	(void)state;
	umask(022);
	shared(true);
	shared(false);
}

/* A blob that a worker said it wrote is missing, or cut short. */
static void
test_blob_checked(void **state)
{
	AUTO(own_freep) char *dir = in_folder("out");

	(void)state;
	for (int cut = 0; cut < 2; cut++) {
		struct output *o = open_output(OUTPUT_OCI, dir);
		AUTO(own_freep) char *path = NULL;
		char hex[DIGEST_HEX_LEN + 1];
		struct layer_output sink;
		struct err e = ERR_INIT;

		assert_int_equal(output_layout(o, &image, &e), 0);
		work(o);
		assert_true(output_sink(o, 4, &sink));
		digest_hex(&layers[4].result.digest, hex);
		assert_true(asprintf(&path, "%s/%s", sink.path, hex) > 0);
		assert_int_equal(cut ? truncate(path, 9) : unlink(path), 0);
		assert_int_equal(output_commit(o, &image, NULL, &e), -1);
		assert_non_null(strstr(e.text, hex));
		output_free(o);
		assert_int_equal(access(dir, F_OK), -1);
	}
}

/* The same through the ways around what is not offered. */
static void
test_poor_kernel(void **state)
{
	AUTO(own_freep) char *tar = in_folder("out.tar");

	umask(022);
	poor_kernel = true;
	test_docker_file(state);
	unlink(tar);
	test_docker_stream(state);
	test_oci_archive(state);
	test_oci_replaces(state);
	poor_kernel = false;
}

/*
 * The disk fails when the output has its name: that is said, the old one is
 * gone, and what is there is whole.
 */
static void
test_late_fault(void **state)
{
	static const struct {
		enum output_kind kind;
		const char *name, *look;
	} cases[] = {{OUTPUT_OCI, "out", PYTHON_OCI},
	    {OUTPUT_OCI, "out", PYTHON_OCI},
	    {OUTPUT_DOCKER_ARCHIVE, "out.tar", PYTHON_DOCKER}};

	(void)state;
	umask(022);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		AUTO(own_freep) char *path = in_folder(cases[i].name);
		struct output *o = open_output(cases[i].kind, path);
		struct err e = ERR_INIT;

		assert_int_equal(output_layout(o, &image, &e), 0);
		work(o);
		folder_fails = true;
		assert_int_equal(output_commit(o, &image, NULL, &e), -1);
		folder_fails = false;
		assert_non_null(strstr(e.text, path));
		assert_non_null(strstr(e.text, "is whole and in its place"));
		output_free(o);
		assert_int_equal(run_python(cases[i].look), 0);
	}
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_docker_file),
	    TEST(test_docker_staged),
	    TEST(test_docker_stream),
	    TEST(test_closed_pipe),
	    TEST(test_given_up),
	    TEST(test_oci_new),
	    TEST(test_oci_replaces),
	    TEST(test_oci_meanwhile),
	    TEST(test_oci_in_the_way),
	    TEST(test_bad_places),
	    TEST(test_oci_archive),
	    TEST(test_shared),
	    TEST(test_blob_checked),
	    TEST(test_poor_kernel),
	    TEST(test_late_fault),
	};

	python = getenv("PYTHON") != NULL ? getenv("PYTHON") : "python3";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
