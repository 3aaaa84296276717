#include "closure/closure.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "closure/closure_arena.h"
#include "err.h"
#include "own.h"
#include "store_path.h"

/* 32 bits of the hash part's hash, and a node's number + 1 (0: free). */
struct slot {
	uint32_t tag, node;
};

/* A path that was added, or that was only referred to so far. */
struct node {
	const char *path; /* its length without the directory is before it */
	uint64_t nar_size;
	size_t ref_start; /* into ref, which holds numbers of nodes */
	uint32_t n_refs;
	uint32_t graph; /* the last that added it, or 0 */
};

struct closure_builder {
	char *store_dir;
	size_t dir_len;
	struct closure_arena *arena;
	struct node *node;
	struct digest *nar_hash; /* n_nodes as well, if has_hash */
	size_t n_nodes, cap_nodes, cap_hashes, n_added;
	uint32_t *ref;
	size_t n_refs, cap_refs;
	struct slot *slot;
	size_t n_slots; /* a power of two */
	uint64_t size_sum, seed[2];
	uint32_t graph;
	bool has_hash, has_size; /* what the first entry had */
};

static int
no_memory(struct err *e)
{
	return err_set(e, ERR_FATAL, 0, "closure: out of memory");
}

/* Room for want elements of size at *p (a pointer to any pointer). */
static int
reserve(void *p, size_t *cap, size_t want, size_t size, struct err *e)
{
	size_t n = *cap + *cap / 2;
	void *mem;

	if (want <= *cap)
		return 0;
	if (n < want)
		n = want < 64 ? 64 : want;
	memcpy(&mem, p, sizeof(mem));
	if ((mem = reallocarray(mem, n, size)) == NULL)
		return no_memory(e);
	memcpy(p, &mem, sizeof(mem));
	*cap = n;
	return 0;
}

const char *
closure_text_show(
    const struct closure_text *t, char buf[static CLOSURE_SHOWN_MAX])
{
	size_t n = t->len, dots = 0;

	if (n > CLOSURE_SHOWN_MAX - 4) {
		n = CLOSURE_SHOWN_MAX - 4;
		dots = 3;
	}
	for (size_t i = 0; i < n; i++)
		buf[i] = t->s[i] >= ' ' && t->s[i] < 0x7f ? t->s[i] : '*';
	memcpy(buf + n, "...", dots);
	buf[n + dots] = '\0';
	return buf;
}

int
closure_builder_new(
    const char *store_dir, struct closure_builder **out, struct err *e)
{
	AUTO(closure_builder_freep) struct closure_builder *b = NULL;

	if ((b = calloc(1, sizeof(*b))) == NULL ||
	    (b->store_dir = strdup(store_dir)) == NULL ||
	    (b->arena = closure_arena_new()) == NULL ||
	    (b->slot = calloc(1024, sizeof(*b->slot))) == NULL)
		return no_memory(e);
	/* A closure's author must not know which paths share a slot. */
	if (getentropy(b->seed, sizeof(b->seed)) < 0)
		return err_set(e, ERR_FATAL, errno, "closure: random numbers");
	b->n_slots = 1024;
	b->dir_len = strlen(store_dir);
	b->graph = 1;
	*out = STEAL(&b);
	return 0;
}

void
closure_builder_freep(struct closure_builder **bp)
{
	struct closure_builder *b = *bp;

	*bp = NULL;
	if (b == NULL)
		return;
	free(b->store_dir);
	closure_arena_free(b->arena);
	free(b->node);
	free(b->nar_hash);
	free(b->ref);
	free(b->slot);
	free(b);
}

void
closure_builder_next_graph(struct closure_builder *b)
{
	b->graph++;
}

static uint64_t
mix(uint64_t a, uint64_t b)
{
	unsigned __int128 m = (unsigned __int128)a * b;

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static uint32_t
hash_tag(const struct closure_builder *b, const char *hash_part)
{
	uint64_t w[4];

	_Static_assert(sizeof(w) == STORE_PATH_HASH_LEN, "hash part");
	memcpy(w, hash_part, sizeof(w));
	return (uint32_t)mix(mix(w[0] ^ b->seed[0] ^ 0xa0761d6478bd642fU,
				 w[1] ^ 0xe7037ed1a0b428dbU) ^
		0x8ebc6af09c88c6e3U,
	    mix(w[2] ^ b->seed[1] ^ 0x589965cc75374cc3U,
		w[3] ^ 0x1d8e4e27c47d124fU) ^
		0xeb44accab455d165U);
}

static int
grow_slots(struct closure_builder *b, struct err *e)
{
	size_t n = b->n_slots * 2;
	struct slot *slot = calloc(n, sizeof(*slot));

	if (slot == NULL)
		return no_memory(e);
	for (size_t i = 0; i < b->n_slots; i++) {
		size_t at = b->slot[i].tag & (n - 1);

		if (b->slot[i].node == 0)
			continue;
		while (slot[at].node != 0)
			at = (at + 1) & (n - 1);
		slot[at] = b->slot[i];
	}
	free(b->slot);
	b->slot = slot;
	b->n_slots = n;
	return 0;
}

static const char *
node_base(const struct closure_builder *b, const struct node *node)
{
	return node->path + b->dir_len + 1;
}

/* Copies a checked HASH-NAME into a new node. */
static int
new_node(struct closure_builder *b, const char *base, size_t len, struct err *e)
{
	struct node *node;
	char *s;

	if (b->n_nodes == CLOSURE_PATHS_MAX)
		return err_set(e, ERR_USAGE, 0, "more than %zu store paths",
		    CLOSURE_PATHS_MAX);
	if (reserve(&b->node, &b->cap_nodes, b->n_nodes + 1, sizeof(*b->node),
		e) < 0)
		return -1;
	if ((s = closure_arena_take(b->arena, b->dir_len + len + 3)) == NULL)
		return no_memory(e);
	_Static_assert(
	    STORE_PATH_HASH_LEN + 1 + STORE_PATH_NAME_MAX <= UINT8_MAX,
	    "length in a byte");
	*s++ = (char)len;
	memcpy(s, b->store_dir, b->dir_len);
	s[b->dir_len] = '/';
	memcpy(s + b->dir_len + 1, base, len);
	s[b->dir_len + 1 + len] = '\0';
	node = &b->node[b->n_nodes++];
	memset(node, 0, sizeof(*node));
	node->path = s;
	return 0;
}

/* Says what is wrong with a text that is not a store path. */
static int
bad_path(const struct closure_builder *b, const struct closure_text *t,
    struct err *e)
{
	char shown[CLOSURE_SHOWN_MAX], path[CLOSURE_SHOWN_MAX + STORE_PATH_MAX];

	closure_text_show(t, shown);
	if (t->len == 0)
		return err_set(e, ERR_USAGE, 0, "an empty store path");
	if (shown[0] == '/')
		snprintf(path, sizeof(path), "%s", shown);
	else
		snprintf(path, sizeof(path), "%s/%s", b->store_dir, shown);
	if (store_path_check(path, b->store_dir, e) < 0)
		return -1;
	return err_set(e, ERR_USAGE, 0, "%s: not a store path", shown);
}

/* The number of the node of t, a store path or HASH-NAME. */
static int
intern(struct closure_builder *b, const struct closure_text *t, uint32_t *out,
    struct err *e)
{
	const char *base = t->s;
	size_t len = t->len, at;
	uint32_t tag;

	if (len > b->dir_len && t->s[0] == '/' && t->s[b->dir_len] == '/' &&
	    memcmp(t->s, b->store_dir, b->dir_len) == 0) {
		base += b->dir_len + 1;
		len -= b->dir_len + 1;
	}
	if (len < STORE_PATH_HASH_LEN || len > UINT8_MAX)
		return bad_path(b, t, e);
	tag = hash_tag(b, base);
	at = tag & (b->n_slots - 1);
	for (; b->slot[at].node != 0; at = (at + 1) & (b->n_slots - 1)) {
		const struct node *node = &b->node[b->slot[at].node - 1];
		const char *had = node_base(b, node);

		if (b->slot[at].tag != tag ||
		    memcmp(had, base, STORE_PATH_HASH_LEN) != 0)
			continue;
		*out = b->slot[at].node - 1;
		if ((uint8_t)node->path[-1] == len &&
		    memcmp(had, base, len) == 0)
			return 0; /* equal to one that was checked */
		if (store_path_base_len(base, len) != len)
			return bad_path(b, t, e);
		return err_set(e, ERR_USAGE, 0,
		    "%s and %.*s: two names for one hash part", node->path,
		    (int)len, base);
	}
	if (store_path_base_len(base, len) != len)
		return bad_path(b, t, e);
	if (new_node(b, base, len, e) < 0)
		return -1;
	*out = (uint32_t)b->n_nodes - 1;
	b->slot[at] = (struct slot){tag, *out + 1};
	return b->n_nodes * 2 > b->n_slots ? grow_slots(b, e) : 0;
}

/* Hashes and sizes: all entries have them or none has. */
static int
check_uniform(
    struct closure_builder *b, const struct closure_entry *entry, struct err *e)
{
	char shown[CLOSURE_SHOWN_MAX];

	if (b->n_added == 0) {
		b->has_hash = entry->has_hash;
		b->has_size = entry->has_size;
	}
	if (b->has_hash != entry->has_hash || b->has_size != entry->has_size)
		return err_set(e, ERR_USAGE, 0,
		    "%s: %s %s, unlike the paths before it",
		    closure_text_show(&entry->path, shown),
		    (b->has_hash && !entry->has_hash) ||
			    (b->has_size && !entry->has_size)
			? "lacks a"
			: "has a",
		    b->has_hash != entry->has_hash ? "narHash" : "narSize");
	if (entry->has_size && entry->nar_size > CLOSURE_NAR_SIZE_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "%s: narSize %llu is more than %llu bytes",
		    closure_text_show(&entry->path, shown),
		    (unsigned long long)entry->nar_size,
		    (unsigned long long)CLOSURE_NAR_SIZE_MAX);
	return 0;
}

static int
add_refs(struct closure_builder *b, const struct closure_entry *entry,
    uint32_t self, struct err *e)
{
	char shown[CLOSURE_SHOWN_MAX];
	uint32_t id;

	if (entry->n_refs > CLOSURE_REFS_MAX - b->n_refs)
		return err_set(e, ERR_USAGE, 0,
		    "more than %zu references in all", CLOSURE_REFS_MAX);
	if (reserve(&b->ref, &b->cap_refs, b->n_refs + entry->n_refs + 1,
		sizeof(*b->ref), e) < 0)
		return -1;
	for (size_t i = 0; i < entry->n_refs; i++) {
		if (intern(b, &entry->refs[i], &id, e) < 0)
			return err_ctx(e, "a reference of %s",
			    closure_text_show(&entry->path, shown));
		if (id != self)
			b->ref[b->n_refs++] = id;
	}
	return 0;
}

static int
compare_u32(const void *pa, const void *pb)
{
	uint32_t a, b;

	memcpy(&a, pa, sizeof(a));
	memcpy(&b, pb, sizeof(b));
	return a < b ? -1 : a > b;
}

/* Sorts, drops duplicates, returns how many are left. */
static size_t
sort_refs(uint32_t *ref, size_t n)
{
	size_t kept = 0;

	if (n > 32)
		qsort(ref, n, sizeof(*ref), compare_u32);
	else
		for (size_t i = 1; i < n; i++) {
			uint32_t r = ref[i];
			size_t k = i;

			for (; k > 0 && ref[k - 1] > r; k--)
				ref[k] = ref[k - 1];
			ref[k] = r;
		}
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || ref[i] != ref[kept - 1])
			ref[kept++] = ref[i];
	return kept;
}

/* The path of another graph once more; its references are read from start. */
static int
check_same(struct closure_builder *b, const struct closure_entry *entry,
    struct node *node, size_t start, struct err *e)
{
	size_t n = sort_refs(b->ref + start, b->n_refs - start);
	const char *what = NULL;

	node->n_refs =
	    (uint32_t)sort_refs(b->ref + node->ref_start, node->n_refs);
	b->n_refs = start;
	if (entry->has_hash &&
	    !digest_equal(&entry->nar_hash, &b->nar_hash[node - b->node]))
		what = "narHash";
	else if (entry->has_size && entry->nar_size != node->nar_size)
		what = "narSize";
	else if (n != node->n_refs ||
	    (n > 0 &&
		memcmp(b->ref + start, b->ref + node->ref_start,
		    n * sizeof(*b->ref)) != 0))
		what = "references";
	if (what != NULL)
		return err_set(e, ERR_USAGE, 0,
		    "%s: two graphs give it different %s", node->path, what);
	node->graph = b->graph;
	return 0;
}

int
closure_add(
    struct closure_builder *b, const struct closure_entry *entry, struct err *e)
{
	size_t start = b->n_refs;
	struct node *node;
	uint32_t id;

	if (check_uniform(b, entry, e) < 0 ||
	    intern(b, &entry->path, &id, e) < 0)
		return -1;
	if (b->node[id].graph == b->graph)
		return err_set(e, ERR_USAGE, 0, "%s: here for the second time",
		    b->node[id].path);
	if (add_refs(b, entry, id, e) < 0)
		return -1;
	node = &b->node[id];
	if (node->graph != 0)
		return check_same(b, entry, node, start, e);
	if (entry->has_size &&
	    entry->nar_size > CLOSURE_NAR_SIZE_SUM_MAX - b->size_sum)
		return err_set(e, ERR_USAGE, 0,
		    "%s: the narSizes up to here are more than %llu bytes",
		    node->path, (unsigned long long)CLOSURE_NAR_SIZE_SUM_MAX);
	b->size_sum += entry->nar_size;
	node->nar_size = entry->nar_size;
	node->ref_start = start;
	node->n_refs = (uint32_t)(b->n_refs - start);
	node->graph = b->graph;
	b->n_added++;
	if (entry->has_hash) {
		if (reserve(&b->nar_hash, &b->cap_hashes, b->cap_nodes,
			sizeof(*b->nar_hash), e) < 0)
			return -1;
		b->nar_hash[id] = entry->nar_hash;
	}
	return 0;
}

/* A node that was referred to and never added: names both ends. */
static int
check_defined(const struct closure_builder *b, struct err *e)
{
	for (size_t i = 0; i < b->n_nodes; i++) {
		const struct node *node = &b->node[i];

		for (size_t k = 0; k < node->n_refs; k++) {
			const struct node *to =
			    &b->node[b->ref[node->ref_start + k]];

			if (to->graph == 0)
				return err_set(e, ERR_USAGE, 0,
				    "%s refers to %s, which is not in the "
				    "closure",
				    node->path, to->path);
		}
	}
	return 0;
}

/* The first 8 digits decide nearly always. */
struct sort_key {
	uint64_t head;
	uint32_t node;
};

static int
compare_keys(const void *pa, const void *pb, void *arg)
{
	const struct sort_key *a = pa, *b = pb;
	const struct node *node = arg;

	if (a->head != b->head)
		return a->head < b->head ? -1 : 1;
	return strcmp(node[a->node].path, node[b->node].path);
}

static int
sort_nodes(
    const struct closure_builder *b, struct sort_key **out, struct err *e)
{
	struct sort_key *key = malloc((b->n_nodes + 1) * sizeof(*key));

	if (key == NULL)
		return no_memory(e);
	for (size_t i = 0; i < b->n_nodes; i++) {
		uint64_t head;

		memcpy(&head, node_base(b, &b->node[i]), sizeof(head));
		key[i] = (struct sort_key){be64toh(head), (uint32_t)i};
	}
	qsort_r(key, b->n_nodes, sizeof(*key), compare_keys, b->node);
	*out = key;
	return 0;
}

static int
make_arrays(const struct closure_builder *b, struct closure *c, struct err *e)
{
	size_t n = b->n_nodes;

	c->n = n;
	c->path = malloc((n + 1) * sizeof(*c->path));
	c->ref_start = malloc((n + 1) * sizeof(*c->ref_start));
	c->ref = malloc((b->n_refs + 1) * sizeof(*c->ref));
	if (c->path == NULL || c->ref_start == NULL || c->ref == NULL)
		return no_memory(e);
	if (b->has_hash &&
	    (c->nar_hash = malloc((n + 1) * sizeof(*c->nar_hash))) == NULL)
		return no_memory(e);
	if (b->has_size &&
	    (c->nar_size = malloc((n + 1) * sizeof(*c->nar_size))) == NULL)
		return no_memory(e);
	return 0;
}

/* Writes the nodes in the order of key, and their references by rank. */
static void
fill_arrays(const struct closure_builder *b, const struct sort_key *key,
    const uint32_t *rank, struct closure *c)
{
	size_t n_refs = 0;

	for (size_t i = 0; i < c->n; i++) {
		const struct node *node = &b->node[key[i].node];
		const uint32_t *ref = b->ref + node->ref_start;

		c->path[i] = node->path;
		if (c->nar_hash != NULL)
			c->nar_hash[i] = b->nar_hash[key[i].node];
		if (c->nar_size != NULL)
			c->nar_size[i] = node->nar_size;
		c->ref_start[i] = n_refs;
		for (size_t k = 0; k < node->n_refs; k++)
			c->ref[n_refs + k] = rank[ref[k]];
		n_refs += sort_refs(c->ref + n_refs, node->n_refs);
	}
	c->ref_start[c->n] = n_refs;
}

int
closure_finish(struct closure_builder **bp, struct closure **out, struct err *e)
{
	AUTO(own_freep) struct sort_key *key = NULL;
	AUTO(own_freep) uint32_t *rank = NULL;
	AUTO(closure_freep) struct closure *c = NULL;
	struct closure_builder *b = *bp;

	if (check_defined(b, e) < 0)
		return -1;
	if ((c = calloc(1, sizeof(*c))) == NULL ||
	    (rank = malloc((b->n_nodes + 1) * sizeof(*rank))) == NULL)
		return no_memory(e);
	if (make_arrays(b, c, e) < 0 || sort_nodes(b, &key, e) < 0)
		return -1;
	for (size_t i = 0; i < b->n_nodes; i++)
		rank[key[i].node] = (uint32_t)i;
	if (b->n_nodes > 0)
		fill_arrays(b, key, rank, c);
	else
		c->ref_start[0] = 0;
	c->store_dir = STEAL(&b->store_dir);
	c->arena = STEAL(&b->arena);
	closure_builder_freep(bp);
	*out = STEAL(&c);
	return 0;
}
