#include "store_path.h"

#include <string.h>

#include "err.h"

static bool
is_hash_digit(char c)
{
	return (c >= '0' && c <= '9') ||
	    (c >= 'a' && c <= 'z' && c != 'e' && c != 'o' && c != 't' &&
		c != 'u');
}

static bool
is_name_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
	    (c >= 'A' && c <= 'Z') || c == '+' || c == '-' || c == '.' ||
	    c == '_' || c == '?' || c == '=';
}

size_t
store_path_base_len(const char *s, size_t len)
{
	size_t i;

	if (len < STORE_PATH_HASH_LEN + 2)
		return 0;
	for (i = 0; i < STORE_PATH_HASH_LEN; i++)
		if (!is_hash_digit(s[i]))
			return 0;
	if (s[i++] != '-' || !is_name_char(s[i]) || s[i] == '.')
		return 0;
	while (i < len && is_name_char(s[i]))
		i++;
	if (i > STORE_PATH_HASH_LEN + 1 + STORE_PATH_NAME_MAX)
		return 0;
	return i;
}

int
store_path_check(const char *path, const char *store_dir, struct err *e)
{
	size_t dir_len = strlen(store_dir), len = strlen(path);
	const char *base = path + dir_len + 1;

	if (len > STORE_PATH_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "store path %.80s...: longer than %d bytes", path,
		    STORE_PATH_MAX);
	if (strncmp(path, store_dir, dir_len) != 0 || path[dir_len] != '/')
		return err_set(e, ERR_USAGE, 0,
		    "%s: not in the store directory %s", path, store_dir);
	if (strchr(base, '/') != NULL)
		return err_set(e, ERR_USAGE, 0,
		    "%s: not a store path: one component after %s is wanted",
		    path, store_dir);
	if (store_path_base_len(base, strlen(base)) != strlen(base) ||
	    *base == '\0')
		return err_set(e, ERR_USAGE, 0,
		    "%s: not a store path: %s/ must be followed by 32 digits "
		    "of Nix's base 32, '-' and a name",
		    path, store_dir);
	return 0;
}

int
store_dir_check(const char *store_dir, struct err *e)
{
	const char *p = store_dir;
	size_t n;

	if (*p != '/' || p[1] == '\0' || strlen(p) > 512)
		goto bad;
	while (*p == '/') {
		n = strcspn(++p, "/");
		if (n == 0 || (n == 1 && p[0] == '.') ||
		    (n == 2 && p[0] == '.' && p[1] == '.'))
			goto bad;
		for (size_t i = 0; i < n; i++)
			if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
				goto bad;
		p += n;
	}
	return 0;
bad:
	return err_set(e, ERR_USAGE, 0,
	    "store directory '%.200s': not a clean absolute path", store_dir);
}

const char *
store_path_base(const char *path)
{
	return strrchr(path, '/') + 1;
}

const char *
store_path_name(const char *path)
{
	return store_path_base(path) + STORE_PATH_HASH_LEN + 1;
}

/* FNV-1a. */
uint64_t
store_path_key(const char *base)
{
	uint64_t key = UINT64_C(0xcbf29ce484222325);

	for (; *base != '\0'; base++)
		key = (key ^ (unsigned char)*base) * UINT64_C(0x100000001b3);
	return key;
}

void
store_path_keys_put(const uint64_t *key, size_t n, uint8_t *out)
{
	for (size_t i = 0; i < n; i++)
		for (int b = 0; b < STORE_PATH_KEY_SIZE; b++)
			*out++ = (uint8_t)(key[i] >> (56 - 8 * b));
}

void
store_path_keys_get(const uint8_t *in, size_t n, uint64_t *key)
{
	for (size_t i = 0; i < n; i++) {
		key[i] = 0;
		for (int b = 0; b < STORE_PATH_KEY_SIZE; b++)
			key[i] = key[i] << 8 | *in++;
	}
}
