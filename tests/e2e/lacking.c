/*
 * To be preloaded into quarry or quarry-worker: one of the calls by which the
 * program itself (not a library) asks for memory or a thread fails.
 *
 *	LACK_PROGRAM	its name: others are left alone
 *	LACK_WHAT	memory, or threads
 *	LACK_AT		which call fails, 1 is the first
 *	LACK_ALL	set: all after it fail, too
 *	LACK_FILE	made when a call fails
 */
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <dlfcn.h>

/* The C library's own, under the names that it has for this. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

static uintptr_t text, text_end; /* of the program; 0: it is another one */
static unsigned long at;
static bool all, threads;
static const char *mark;
static atomic_ulong calls;

static int
find_text(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type != PT_LOAD || (p->p_flags & PF_X) == 0)
			continue;
		text = info->dlpi_addr + p->p_vaddr;
		text_end = text + p->p_memsz;
	}
	return 1; /* the first one is the program */
}

__attribute__((constructor)) static void
begin(void)
{
	const char *program = getenv("LACK_PROGRAM");
	const char *what = getenv("LACK_WHAT"), *n = getenv("LACK_AT");

	mark = getenv("LACK_FILE");
	if (program == NULL || what == NULL || n == NULL || mark == NULL ||
	    strcmp(program, program_invocation_short_name) != 0)
		return;
	threads = *what == 't';
	all = getenv("LACK_ALL") != NULL;
	at = strtoul(n, NULL, 10);
	dl_iterate_phdr(find_text, NULL);
}

static bool
lacks(bool thread, const void *caller)
{
	uintptr_t from = (uintptr_t)caller;
	unsigned long n;
	int fd;

	if (text == 0 || thread != threads || from < text || from >= text_end)
		return false;
	n = atomic_fetch_add(&calls, 1) + 1;
	if (n < at || (n > at && !all))
		return false;
	fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
	errno = ENOMEM;
	return true;
}

#define LACKS() lacks(false, __builtin_return_address(0))

void *
malloc(size_t size)
{
	return LACKS() ? NULL : __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
	return LACKS() ? NULL : __libc_calloc(n, size);
}

void *
realloc(void *p, size_t size)
{
	return LACKS() ? NULL : __libc_realloc(p, size);
}

void *
reallocarray(void *p, size_t n, size_t size)
{
	size_t bytes;

	if (LACKS())
		return NULL;
	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_realloc(p, bytes);
}

static char *
copy(const char *s, size_t len)
{
	char *p = __libc_malloc(len + 1);

	if (p == NULL)
		return NULL;
	memcpy(p, s, len);
	p[len] = '\0';
	return p;
}

char *
strdup(const char *s)
{
	return LACKS() ? NULL : copy(s, strlen(s));
}

char *
strndup(const char *s, size_t n)
{
	return LACKS() ? NULL : copy(s, strnlen(s, n));
}

static int
format(char **out, const char *fmt, va_list args)
{
	va_list again;
	int len;

	va_copy(again, args);
	len = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (len < 0 || (*out = __libc_malloc((size_t)len + 1)) == NULL)
		return -1;
	return vsnprintf(*out, (size_t)len + 1, fmt, args);
}

int
asprintf(char **out, const char *fmt, ...)
{
	va_list args;
	int len = -1;

	if (LACKS())
		return -1;
	va_start(args, fmt);
	len = format(out, fmt, args);
	va_end(args);
	return len;
}

/* What _FORTIFY_SOURCE makes of it. */
int __asprintf_chk(char **out, int flag, const char *fmt, ...);
int
__asprintf_chk(char **out, int flag, const char *fmt, ...)
{
	va_list args;
	int len = -1;

	(void)flag;
	if (LACKS())
		return -1;
	va_start(args, fmt);
	len = format(out, fmt, args);
	va_end(args);
	return len;
}

int
pthread_create(pthread_t *thread, const pthread_attr_t *attr,
    void *(*run)(void *), void *arg)
{
	static int (*real)(
	    pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

	if (lacks(true, __builtin_return_address(0)))
		return EAGAIN;
	if (real == NULL) {
		void *found = dlsym(RTLD_NEXT, "pthread_create");

		memcpy(&real, &found, sizeof(real));
	}
	return real(thread, attr, run, arg);
}
