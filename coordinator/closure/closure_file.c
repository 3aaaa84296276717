#include "closure/closure_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "closure/closure.h"
#include "closure/closure_input.h"
#include "closure/closure_json.h"
#include "closure/closure_text.h"
#include "err.h"
#include "own.h"

/* Tells JSON from text by the first byte that is no white space. */
static int
read_any(struct closure_input *in, const char *store_dir,
    struct closure_builder *b, struct err *e)
{
	size_t at = 0;
	int more = 1;

	while (more > 0) {
		for (; at < in->len; at++)
			if (strchr(" \t\r\n", in->buf[at]) == NULL ||
			    in->buf[at] == '\0')
				break;
		if (at < in->len)
			break;
		if ((more = closure_input_more(in, e)) < 0)
			return -1;
	}
	if (at == in->len)
		return err_set(e, ERR_USAGE, 0, "empty: a closure is wanted");
	if (in->buf[at] == '{' || in->buf[at] == '[')
		return closure_json_read(in, store_dir, b, e);
	if (at == 0 && in->buf[0] == '/')
		return closure_text_read(in, b, e);
	return err_set(e, ERR_USAGE, 0,
	    "byte %zu: not a closure: wanted is the JSON of nix path-info, an "
	    ".attrs.json, or registration text",
	    at);
}

int
closure_file_take(struct closure_input *in, const char *store_dir,
    struct closure **out, struct err *e)
{
	AUTO(closure_builder_freep) struct closure_builder *b = NULL;

	if (closure_builder_new(store_dir, &b, e) < 0 ||
	    read_any(in, store_dir, b, e) < 0)
		return -1;
	return closure_finish(&b, out, e);
}

int
closure_file_parse(const char *name, char *data, size_t len,
    const char *store_dir, struct closure **out, struct err *e)
{
	struct closure_input in;

	closure_input_memory(&in, data, len);
	if (closure_file_take(&in, store_dir, out, e) < 0)
		return err_ctx(e, "%s", name);
	return 0;
}

/* *owned is for the caller to close; standard input is not. */
static int
open_file(const char *name, int *owned, int *fd, struct err *e)
{
	struct stat st;

	*fd = STDIN_FILENO;
	if (strcmp(name, "-") != 0) {
		*owned = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
		if ((*fd = *owned) < 0)
			return err_set(e, ERR_USAGE, errno, "cannot open");
	}
	if (fstat(*fd, &st) < 0)
		return err_set(e, ERR_USAGE, errno, "cannot read");
	if (S_ISDIR(st.st_mode))
		return err_set(e, ERR_USAGE, EISDIR, "cannot read");
	return 0;
}

int
closure_file_read(const char *name, const char *store_dir, struct closure **out,
    struct err *e)
{
	AUTO(closure_input_close) struct closure_input in = {.fd = -1};
	AUTO(own_closep) int owned = -1;
	const char *shown = strcmp(name, "-") == 0 ? "standard input" : name;
	int fd;

	if (open_file(name, &owned, &fd, e) < 0 ||
	    closure_input_open(&in, fd, e) < 0 ||
	    closure_file_take(&in, store_dir, out, e) < 0)
		return err_ctx(e, "%s", shown);
	return 0;
}
