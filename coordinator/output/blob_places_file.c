#include "output/blob_places_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "digest.h"
#include "log.h"
#include "output/blob_places.h"
#include "own.h"
#include "registry_name.h"

#define HEAD "quarry-registry-places 1\n"
#define LINE_SIZE 1024
#define SIZE_MAX_ADDED ((off_t)32 << 20) /* nothing is added to more */

static char *
join(const char *folder, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

/* "https://HOST[:PORT]", or http. */
static bool
is_base(const char *s, size_t len)
{
	size_t scheme = strncmp(s, "https://", 8) == 0 ? 8
	    : strncmp(s, "http://", 7) == 0	       ? 7
						       : 0;

	if (scheme == 0 || len <= scheme || len - scheme > REGISTRY_HOST_MAX)
		return false;
	for (size_t i = scheme; i < len; i++)
		if (s[i] <= ' ' || s[i] >= 0x7f || s[i] == '/')
			return false;
	return true;
}

/* False: no line of ours. */
static bool
take_line(struct blob_places *p, char *line)
{
	char *base, *repo, *end = strchr(line, '\n');
	struct digest blob;

	if (end == NULL || (base = strchr(line, ' ')) == NULL ||
	    (repo = strchr(base + 1, ' ')) == NULL)
		return false;
	*end = *base++ = *repo++ = '\0';
	if (!digest_from_hex(line, strlen(line), &blob) ||
	    !is_base(base, strlen(base)) ||
	    !registry_name_is_repo(repo, strlen(repo)))
		return false;
	return blob_places_hint(p, base, repo, &blob);
}

void
blob_places_load(struct blob_places *p, const char *folder)
{
	AUTO(own_freep) char *path = join(folder, BLOB_PLACES_FILE);
	AUTO(own_fclosep) FILE *f = path != NULL ? fopen(path, "re") : NULL;
	char line[LINE_SIZE];

	if (path != NULL)
		blob_places_set_file(p, path);
	if (f == NULL || fgets(line, sizeof(line), f) == NULL ||
	    strcmp(line, HEAD) != 0)
		return;
	for (size_t n = 0;
	     n < BLOB_PLACES_FILE_MAX && fgets(line, sizeof(line), f) != NULL;
	     n++)
		if (!take_line(p, line)) {
			log_line(LOG_DEBUG, "%s is damaged after %zu lines",
			    path, n + 1);
			return;
		}
}

static void
put_line(
    void *arg, const char *base, const char *repo, const struct digest *blob)
{
	char hex[DIGEST_HEX_LEN + 1];

	digest_hex(blob, hex);
	fprintf(arg, "%s %s %s\n", hex, base, repo);
}

void
blob_places_add(
    struct blob_places *p, const char *base, const struct digest *blob)
{
	char line[sizeof(HEAD) + LINE_SIZE], hex[DIGEST_HEX_LEN + 1];
	AUTO(own_closep) int fd = -1;
	const char *repo, *file;
	struct stat st;
	int n;

	if (!blob_places_keep(p, base, blob, &repo, &file))
		return;
	fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > SIZE_MAX_ADDED) {
		log_line(LOG_DEBUG, "%s: %s", file, strerror(errno));
		return;
	}
	digest_hex(blob, hex);
	n = snprintf(line, sizeof(line), "%s%s %s %s\n",
	    st.st_size == 0 ? HEAD : "", hex, base, repo);
	/* At once: others add to it, too. */
	if (n < (int)sizeof(line) && write(fd, line, (size_t)n) < 0)
		log_line(LOG_DEBUG, "%s: %s", file, strerror(errno));
}

/* False: errno says why. */
static bool
write_all(struct blob_places *p, const char *path)
{
	AUTO(own_fclosep) FILE *f = fopen(path, "wxe");
	size_t n;

	if (f == NULL)
		return false;
	fputs(HEAD, f);
	n = blob_places_all(p, false, BLOB_PLACES_FILE_MAX, put_line, f);
	blob_places_all(p, true, BLOB_PLACES_FILE_MAX - n, put_line, f);
	return fflush(f) == 0 && ferror(f) == 0;
}

void
blob_places_save(struct blob_places *p, const char *folder)
{
	AUTO(own_freep) char *path = join(folder, BLOB_PLACES_FILE);
	AUTO(own_freep) char *name = NULL;

	if (blob_places_all(p, false, 1, NULL, NULL) == 0 || path == NULL)
		return;
	/* What is left there is removed with the next prune. */
	if (asprintf(&name, "%s/trash/places-%ld", folder, (long)getpid()) <
	    0) {
		name = NULL;
		return;
	}
	unlink(name);
	if (write_all(p, name) && rename(name, path) == 0)
		return;
	log_line(LOG_DEBUG, "%s: %s", path, strerror(errno));
	unlink(name);
}
