#include "image/image_name.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "err.h"

static bool
is_lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool
is_alnum(char c)
{
	return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

size_t
image_name_host_len(const char *name)
{
	size_t len = strcspn(name, "/");

	if (name[len] == '\0')
		return 0;
	if (memchr(name, '.', len) != NULL || memchr(name, ':', len) != NULL ||
	    (len == 9 && memcmp(name, "localhost", 9) == 0))
		return len;
	return 0;
}

static bool
is_label(const char *s, size_t len)
{
	if (len == 0 || !is_alnum(s[0]) || !is_alnum(s[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(s[i]) && s[i] != '-')
			return false;
	return true;
}

/* LABEL[.LABEL...][:PORT] */
static bool
is_host(const char *s, size_t len)
{
	const char *port = memchr(s, ':', len), *dot;
	size_t host = port != NULL ? (size_t)(port - s) : len, n;

	if (port != NULL && (len - host < 2 || len - host > 6))
		return false;
	for (size_t i = host + 1; i < len; i++)
		if (s[i] < '0' || s[i] > '9')
			return false;
	for (;;) {
		dot = memchr(s, '.', host);
		n = dot != NULL ? (size_t)(dot - s) : host;
		if (!is_label(s, n))
			return false;
		if (dot == NULL)
			return true;
		s += n + 1;
		host -= n + 1;
	}
}

/* [a-z0-9]+ joined by one '.', one or two '_', or any number of '-'. */
static bool
is_component(const char *s, size_t len)
{
	size_t i = 0, run;

	while (i < len && is_lower_alnum(s[i])) {
		while (i < len && is_lower_alnum(s[i]))
			i++;
		if (i == len)
			return true;
		for (run = 1; i + run < len && s[i + run] == s[i];)
			run++;
		if (!(s[i] == '-' || (s[i] == '.' && run == 1) ||
			(s[i] == '_' && run <= 2)))
			return false;
		i += run;
	}
	return false;
}

static bool
is_name(const char *name)
{
	size_t host = image_name_host_len(name), n;
	const char *p = name;

	if (strlen(name) > IMAGE_NAME_MAX)
		return false;
	if (host > 0) {
		if (!is_host(name, host))
			return false;
		p += host + 1;
	}
	for (;; p += n + 1) {
		n = strcspn(p, "/");
		if (!is_component(p, n))
			return false;
		if (p[n] == '\0')
			return true;
	}
}

static bool
is_tag_char(char c)
{
	return is_alnum(c) || c == '_' || c == '.' || c == '-';
}

static bool
is_tag(const char *tag)
{
	size_t len = strlen(tag);

	if (len < 1 || len > IMAGE_TAG_MAX || *tag == '.' || *tag == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_tag_char(tag[i]))
			return false;
	return true;
}

int
image_name_check(const char *name, struct err *e)
{
	char near[IMAGE_NAME_MAX + 1];
	size_t host = image_name_host_len(name), len = strlen(name);
	const char *last = strrchr(name, '/');

	if (is_name(name))
		return 0;
	if (len == 0)
		return err_set(e, ERR_USAGE, 0, "is empty");
	if (len > IMAGE_NAME_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "'%.60s...' is longer than the %d bytes that registries "
		    "take",
		    name, IMAGE_NAME_MAX);
	memcpy(near, name, len + 1);
	for (size_t i = host; i < len; i++) {
		near[i] = (char)tolower((unsigned char)near[i]);
		if (near[i] == ' ')
			near[i] = '-';
	}
	if (is_name(near))
		return err_set(e, ERR_USAGE, 0,
		    "'%s' is no name that registries take, '%s' would be one",
		    name, near);
	if (strchr(last != NULL ? last : name, ':') != NULL)
		return err_set(e, ERR_USAGE, 0,
		    "'%s' holds a ':': a tag is given on its own", name);
	return err_set(e, ERR_USAGE, 0,
	    "'%s' is no name that registries take: [HOST[:PORT]/]NAME[/NAME...]"
	    ", each NAME of a-z and 0-9 with single . _ or - in between",
	    name);
}

int
image_tag_check(const char *tag, struct err *e)
{
	char near[IMAGE_TAG_MAX + 1];
	size_t len = strlen(tag);

	if (is_tag(tag))
		return 0;
	if (len == 0)
		return err_set(e, ERR_USAGE, 0, "is empty");
	if (len > IMAGE_TAG_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "'%.60s...' is longer than the %d bytes that registries "
		    "take",
		    tag, IMAGE_TAG_MAX);
	memcpy(near, tag, len + 1);
	for (size_t i = 0; i < len; i++)
		if (!is_tag_char(near[i]))
			near[i] = '_';
	if (*near == '.' || *near == '-')
		*near = '_';
	return err_set(e, ERR_USAGE, 0,
	    "'%s' is no tag that registries take, '%s' would be one", tag,
	    near);
}
