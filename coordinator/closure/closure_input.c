#include "closure/closure_input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "closure/closure.h"
#include "err.h"

int
closure_input_open(struct closure_input *in, int fd, struct err *e)
{
	closure_input_memory(in, NULL, 0);
	if ((in->buf = malloc(CLOSURE_INPUT_WINDOW)) == NULL)
		return err_set(e, ERR_FATAL, 0, "closure: out of memory");
	in->owns_buf = true;
	in->fd = fd;
	return 0;
}

void
closure_input_memory(struct closure_input *in, char *data, size_t len)
{
	*in = (struct closure_input){
	    .buf = data,
	    .len = len,
	    .mark = CLOSURE_INPUT_NO_MARK,
	    .chunk = CLOSURE_INPUT_WINDOW,
	    .fd = -1,
	};
}

void
closure_input_close(struct closure_input *in)
{
	if (in->owns_buf)
		free(in->buf);
	in->buf = NULL;
	in->owns_buf = false;
}

int
closure_input_more(struct closure_input *in, struct err *e)
{
	size_t keep = in->mark < in->pos ? in->mark : in->pos, room;
	ssize_t n;

	if (in->fd < 0)
		return 0;
	if (keep > 0) {
		memmove(in->buf, in->buf + keep, in->len - keep);
		in->len -= keep;
		in->pos -= keep;
		in->base += keep;
		if (in->mark != CLOSURE_INPUT_NO_MARK)
			in->mark = 0;
	}
	room = CLOSURE_INPUT_WINDOW - in->len;
	if (room == 0)
		return err_set(e, ERR_USAGE, 0,
		    "no end of a name or of white space in %zu bytes",
		    CLOSURE_INPUT_WINDOW);
	if (room > in->chunk)
		room = in->chunk;
	do
		n = read(in->fd, in->buf + in->len, room);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_set(e, ERR_FATAL, errno, "cannot read");
	if (n == 0) {
		in->fd = -1;
		return 0;
	}
	in->len += (size_t)n;
	if (in->base + in->len > CLOSURE_INPUT_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "longer than %llu bytes, too much for a closure",
		    (unsigned long long)CLOSURE_INPUT_MAX);
	return 1;
}

int
closure_input_need(struct closure_input *in, size_t n, struct err *e)
{
	while (in->len - in->pos < n) {
		int more = closure_input_more(in, e);

		if (more <= 0)
			return more;
	}
	return 1;
}

uint64_t
closure_input_at(const struct closure_input *in)
{
	return in->base + in->pos;
}

int
closure_input_line(
    struct closure_input *in, struct closure_text *line, struct err *e)
{
	size_t seen = 0, left;
	char *end;
	int more;

	for (;;) {
		left = in->len - in->pos;
		end = left > seen
		    ? memchr(in->buf + in->pos + seen, '\n', left - seen)
		    : NULL;
		if (end != NULL)
			left = (size_t)(end - in->buf) - in->pos;
		if (left > CLOSURE_INPUT_TOKEN_MAX)
			return err_set(e, ERR_USAGE, 0,
			    "a line longer than %zu bytes",
			    CLOSURE_INPUT_TOKEN_MAX);
		if (end != NULL)
			break;
		seen = left;
		if ((more = closure_input_more(in, e)) < 0)
			return -1;
		if (more == 0 && left == 0)
			return 0;
		if (more == 0)
			return err_set(e, ERR_USAGE, 0,
			    "the file ends within this line: truncated?");
	}
	*line = (struct closure_text){in->buf + in->pos, left};
	in->pos += left + 1;
	return 1;
}
