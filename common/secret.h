/* Secrets do not stay in freed memory.  Usable in any thread. */
#ifndef SECRET_H
#define SECRET_H

#include <string.h>

#include <openssl/crypto.h>

#include "own.h"

/* For AUTO, and for strings in structs; NULL is none. */
static inline void
secret_wipep(char **text)
{
	if (*text != NULL)
		OPENSSL_cleanse(*text, strlen(*text));
	own_freep(text);
}

#endif
