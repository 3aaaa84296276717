#include "text/human.h"

#include <stdio.h>

void
human_bytes(uint64_t bytes, char out[static HUMAN_MAX])
{
	static const char *const unit[] = {
	    "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double v = (double)bytes;
	unsigned u = 0;

	/* 999.5 would be shown as 1000. */
	while (v >= 999.5 && u + 1 < sizeof(unit) / sizeof(unit[0])) {
		v /= 1024;
		u++;
	}
	snprintf(out, HUMAN_MAX, "%.*f %s",
	    u == 0 || v >= 99.95 ? 0
		: v >= 9.995	 ? 1
				 : 2,
	    v, unit[u]);
}

void
human_seconds(double seconds, char out[static HUMAN_MAX])
{
	unsigned long s = seconds > 0 ? (unsigned long)seconds : 0;

	if (seconds < 9.95)
		snprintf(out, HUMAN_MAX, "%.*f s", seconds < 0.995 ? 2 : 1,
		    seconds > 0 ? seconds : 0);
	else if (s < 60)
		snprintf(out, HUMAN_MAX, "%lu s", s);
	else if (s < 3600)
		snprintf(out, HUMAN_MAX, "%lu:%02lu", s / 60, s % 60);
	else
		snprintf(out, HUMAN_MAX, "%lu:%02lu:%02lu", s / 3600,
		    s / 60 % 60, s % 60);
}
