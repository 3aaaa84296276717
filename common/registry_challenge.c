#include "registry_challenge.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static const char *
skip(const char *p, const char *what)
{
	return p + strspn(p, what);
}

static size_t
token_len(const char *p)
{
	size_t n = 0;

	while (isalnum((unsigned char)p[n]) ||
	    (p[n] != '\0' && strchr("!#$%&'*+-.^_`|~", p[n]) != NULL))
		n++;
	return n;
}

/* A token or a quoted string; past its end, or NULL if it has none. */
static const char *
take_value(const char *p, char *out, bool *fits)
{
	size_t n = 0;

	*fits = true;
	if (*p != '"') {
		size_t len = token_len(p);

		/* Some write addresses without quotes. */
		while (p[len] != '\0' && strchr(", \t\n", p[len]) == NULL)
			len++;
		*fits = len < REGISTRY_CHALLENGE_VALUE_MAX;
		if (*fits)
			memcpy(out, p, len);
		out[*fits ? len : 0] = '\0';
		return p + len;
	}
	for (p++; *p != '"'; p++) {
		if (*p == '\\')
			p++;
		if (*p == '\0' || *p == '\n')
			return NULL;
		if (n + 1 == REGISTRY_CHALLENGE_VALUE_MAX)
			*fits = false;
		else
			out[n++] = *p;
	}
	out[*fits ? n : 0] = '\0';
	return p + 1;
}

static void
keep(struct registry_challenge *c, const char *name, size_t len,
    const char *value)
{
	static const char *const known[] = {"realm", "service", "scope"};
	char *places[] = {c->realm, c->service, c->scope};

	for (size_t i = 0; i < 3; i++)
		if (strlen(known[i]) == len &&
		    strncasecmp(known[i], name, len) == 0 &&
		    places[i][0] == '\0')
			strcpy(places[i], value);
}

/* The parameters of one scheme; where they end. */
static const char *
take_params(const char *p, bool bearer, struct registry_challenge *c)
{
	char value[REGISTRY_CHALLENGE_VALUE_MAX];

	for (;;) {
		const char *name = skip(p, ", \t\n"), *end;
		size_t len = token_len(name);
		bool fits;

		end = skip(name + len, " \t");
		if (len == 0 || *end != '=')
			return p;
		p = take_value(skip(end + 1, " \t"), value, &fits);
		if (p == NULL)
			return NULL;
		if (bearer && fits)
			keep(c, name, len, value);
	}
}

void
registry_challenge_parse(const char *text, struct registry_challenge *out)
{
	const char *p = text;

	memset(out, 0, sizeof(*out));
	while (p != NULL && *(p = skip(p, ", \t\n")) != '\0') {
		size_t len = token_len(p);
		bool basic = len == 5 && strncasecmp(p, "Basic", 5) == 0;
		bool bearer = len == 6 && strncasecmp(p, "Bearer", 6) == 0;

		if (len == 0)
			return;
		/* A second Bearer says what the first did not. */
		p = take_params(p + len, bearer, out);
		out->basic |= basic;
		out->bearer |= bearer;
		if (p != NULL && *p != '\0' && strchr(", \t\n", *p) == NULL)
			p = p + strcspn(p, ",\n");
	}
}
