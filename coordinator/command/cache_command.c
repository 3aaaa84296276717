#include "command/cache_command.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "digest.h"
#include "err.h"
#include "text/human.h"
#include "text/json_text.h"
#include "cache/layer_cache_list.h"
#include "log.h"
#include "options/options.h"
#include "own.h"
#include "text/stream_end.h"

static void
print_line(const struct layer_cache_entry *l)
{
	char key[DIGEST_HEX_LEN + 1], digest[DIGEST_TEXT_SIZE];
	char size[HUMAN_MAX], when[32] = "?";
	time_t used = (time_t)l->used;
	struct tm tm;

	digest_hex(&l->key, key);
	digest_text(&l->result.digest, digest);
	human_bytes(l->result.size, size);
	if (localtime_r(&used, &tm) != NULL)
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
	printf("%.12s  %s  %10s  %s\n", key, when, l->good ? size : "-",
	    l->good ? digest : "damaged");
}

static int
print_json(
    const struct layer_cache_list *list, const char *where, struct err *e)
{
	json_t *layers = json_array();
	json_t *root;
	int rc;

	for (size_t i = list->n; i-- > 0;) {
		const struct layer_cache_entry *l = &list->entry[i];
		char key[DIGEST_HEX_LEN + 1], digest[DIGEST_TEXT_SIZE];
		char diff_id[DIGEST_TEXT_SIZE];

		digest_hex(&l->key, key);
		digest_text(&l->result.digest, digest);
		digest_text(&l->result.diff_id, diff_id);
		json_array_append_new(layers,
		    json_pack("{s:s, s:b, s:I, s:s, s:s, s:I, s:I}", "key", key,
			"good", l->good, "used", (json_int_t)l->used, "digest",
			digest, "diff_id", diff_id, "size",
			(json_int_t)l->result.size, "tar_size",
			(json_int_t)l->result.tar_size));
	}
	root = json_pack("{s:o, s:I, s:I, s:o}", "folder", json_text(where),
	    "blobs", (json_int_t)list->blobs, "bytes", (json_int_t)list->bytes,
	    "layers", layers);
	if (root == NULL)
		return err_set(e, ERR_FATAL, ENOMEM, "layer cache");
	rc = json_dumpf(root, stdout, JSON_INDENT(2));
	json_decref(root);
	putchar('\n');
	return rc < 0 ? err_set(e, ERR_FATAL, errno, "standard output") : 0;
}

static int
list(const struct options *o, struct err *e)
{
	struct layer_cache_list found;
	AUTO(own_freep) char *where = NULL;
	char bytes[HUMAN_MAX];
	int rc = 0;

	if (layer_cache_list_read(o->cache_dir, &found, &where, e) < 0)
		return -1;
	if (o->json) {
		rc = print_json(&found, where, e);
	} else {
		if (found.n > 0)
			printf("%-12s  %-16s  %10s  %s\n", "LAYER", "USED",
			    "SIZE", "BLOB");
		for (size_t i = found.n; i-- > 0;)
			print_line(&found.entry[i]);
		human_bytes(found.bytes, bytes);
		printf("%zu layers, %zu blobs, %s in %s\n", found.n,
		    found.blobs, bytes, where);
	}
	layer_cache_list_clear(&found);
	return rc;
}

static void
tell(const char *path, const char *what)
{
	log_line(LOG_WARNING, "%s: %s: removed", path, what);
}

static int
verify(const struct options *o, struct err *e)
{
	size_t good, bad;

	if (layer_cache_verify(o->cache_dir, o->deep, tell, &good, &bad, e) < 0)
		return -1;
	printf("%zu layers are good%s, %zu are not\n", good,
	    o->deep ? "" : " by their size (--deep reads them)", bad);
	if (bad > 0)
		return err_set(e, ERR_FATAL, 0,
		    "layer cache: %zu layers were damaged, and are removed",
		    bad);
	return 0;
}

static int
prune(const struct options *o, struct err *e)
{
	const struct layer_cache_bounds bounds = {
	    .bytes = o->max_size,
	    .unused = o->unused_days == SIZE_MAX
		? -1
		: (int64_t)o->unused_days * 86400,
	};
	struct layer_cache_pruned gone;
	char bytes[HUMAN_MAX], left[HUMAN_MAX];

	if (layer_cache_prune(o->cache_dir, &bounds, &gone, e) < 0)
		return -1;
	human_bytes(gone.bytes, bytes);
	human_bytes(gone.left, left);
	printf("%zu layers and %zu blobs removed, %s freed, %s left\n",
	    gone.records, gone.blobs, bytes, left);
	return 0;
}

int
cache_command_run(const struct options *o, struct err *e)
{
	static const struct {
		const char *name;
		int (*run)(const struct options *o, struct err *e);
	} verbs[] = {{"list", list}, {"verify", verify}, {"prune", prune}};
	int rc;

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(o->cache_verb, verbs[i].name) != 0)
			continue;
		rc = verbs[i].run(o, e);
		return rc < 0 ? -1 : stream_end(stdout, "standard output", e);
	}
	return err_set(e, ERR_USAGE, 0,
	    "cache: '%.40s' is none of list, verify and prune", o->cache_verb);
}
