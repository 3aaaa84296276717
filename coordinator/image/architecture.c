#include "image/architecture.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

const char *
architecture_of(const char *machine)
{
	static const struct {
		const char *linux_name, *oci;
	} names[] = {
	    {"x86_64", "amd64"},
	    {"aarch64", "arm64"},
	    {"aarch64_be", "arm64be"},
	    {"arm", "arm"},
	    {"armv6l", "arm"},
	    {"armv7l", "arm"},
	    {"armv8l", "arm"},
	    {"i386", "386"},
	    {"i486", "386"},
	    {"i586", "386"},
	    {"i686", "386"},
	    {"loongarch64", "loong64"},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(machine, names[i].linux_name) == 0)
			return names[i].oci;
	/* ppc64le, s390x, riscv64, ...: Go has Linux' own name. */
	return machine;
}

void
architecture_here(char out[static ARCHITECTURE_HERE_SIZE])
{
	struct utsname host;

	/* It fails for a bad address alone. */
	if (uname(&host) < 0)
		host.machine[0] = '\0';
	snprintf(
	    out, ARCHITECTURE_HERE_SIZE, "%s", architecture_of(host.machine));
}
