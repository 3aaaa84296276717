#include "python.h"

#include "err.h"
#include "text/iso_time.h"

/* Each line: a text; answer: isoformat and int(timestamp()), or "-". */
static const char oracle[] = "import sys\n"
			     "from datetime import datetime, timezone\n"
			     "for line in sys.stdin.read().split('\\n')[:-1]:\n"
			     "    try:\n"
			     "        t = datetime.fromisoformat(line)\n"
			     "    except ValueError:\n"
			     "        print('-')\n"
			     "        continue\n"
			     "    if t.tzinfo is None:\n"
			     "        t = t.replace(tzinfo=timezone.utc)\n"
			     "    print(t.isoformat(), int(t.timestamp()))\n";

static void
answer(const char *text, char out[static 128])
{
	struct err e = ERR_INIT;
	struct iso_time t;
	char iso[ISO_TIME_SIZE];

	if (iso_time_parse(text, &t, &e) < 0) {
		assert_int_equal(e.kind, ERR_USAGE);
		strcpy(out, "-");
		return;
	}
	iso_time_format(&t, iso);
	snprintf(out, 128, "%s %lld", iso, (long long)iso_time_seconds(&t));
}

static void
put_two(FILE *f, uint64_t *seed, unsigned limit, unsigned beyond)
{
	/* Now and then out of range. */
	if (python_random(seed) % 40 == 0)
		limit = beyond;
	fprintf(f, "%02u", (unsigned)(python_random(seed) % limit));
}

static void
put_random(FILE *f, uint64_t *seed)
{
	static const char *const years[] = {
	    "0001", "1600", "1900", "1969", "1970", "2000", "2024", "9999"};
	const char *dash = python_random(seed) % 3 ? "-" : "";
	const char *colon = python_random(seed) % 3 ? ":" : "";
	unsigned parts = (unsigned)(python_random(seed) % 4);
	unsigned zone = (unsigned)(python_random(seed) % 5);

	if (python_random(seed) % 2)
		fputs(years[python_random(seed) % 8], f);
	else
		fprintf(f, "%04u", (unsigned)(python_random(seed) % 10000));
	fprintf(f, "%s%02u%s%02u", dash,
	    (unsigned)(1 + python_random(seed) % 12), dash,
	    (unsigned)(1 + python_random(seed) % 31));
	if (parts == 0)
		return;
	fputc(python_random(seed) % 2 ? 'T' : ' ', f);
	put_two(f, seed, 24, 30);
	for (unsigned i = 1; i < parts; i++) {
		fputs(colon, f);
		put_two(f, seed, 60, 64);
	}
	if (parts == 3 && python_random(seed) % 2)
		fprintf(f, "%c%.*s", python_random(seed) % 2 ? '.' : ',',
		    (int)(1 + python_random(seed) % 9),
		    python_random(seed) % 2 ? "999999999" : "500012345");
	if (zone == 1)
		fputc('Z', f);
	if (zone < 2)
		return;
	fputc(python_random(seed) % 2 ? '+' : '-', f);
	put_two(f, seed, 24, 24);
	for (unsigned i = 1; i < zone - 1; i++) {
		fputs(colon, f);
		put_two(f, seed, 60, 60);
	}
}

static void
as_python(void **state)
{
	static const char *const fixed[] = {"1970-01-01T00:00:01Z",
	    "1970-01-01T00:00:01+00:00", "1969-12-31T23:59:59.5Z",
	    "1969-12-31T23:59:58.5Z", "9999-12-31T23:59:59.999999Z",
	    "9999-12-31T23:59:59.999984Z", "9999-12-31T23:59:59.999985Z",
	    "0001-01-01", "0001-01-01T00:00:00.000001+23:59:59",
	    "0001-01-01T00:00:00.000020Z", "2024-02-29", "2023-02-29",
	    "1900-02-29", "2000-02-29", "20240506T070809Z", "20240506T0708",
	    "20240506 07", "2024-05-06T07:08:09,25+02:00",
	    "2024-05-06T07:08:09+0200", "2024-05-06T07:08:09-00:00",
	    "2024-05-06T07:08:09+00:00:07", "2024-05-06T24:00:00", "", "now",
	    "2024", "2024-05", "2024-5-6", "2024-05-06T", "2024-05-06Z",
	    "2024-05-06T07:08:09z", "2024-05-06T07:08:09+", "0000-01-01",
	    "2024-05-06T07:08:09.", "2024-05-06T07:08:60", " 2024-05-06",
	    "2024-05-06T07:08:09+24:00", "2024-13-01", "2024-00-01",
	    "2024-01-00", "2024-01-32", "10000-01-01"};
	char *lines = NULL, *answers, *in, *out, mine[128];
	size_t len = 0, taken = 0;
	uint64_t seed = 42;
	FILE *f = open_memstream(&lines, &len);

	(void)state;
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		fprintf(f, "%s\n", fixed[i]);
	for (size_t i = 0; i < 20000; i++) {
		put_random(f, &seed);
		fputc('\n', f);
	}
	fclose(f);
	answers = python_run(oracle, lines, len, NULL);
	for (in = lines, out = answers; *in != '\0';) {
		in[strcspn(in, "\n")] = '\0';
		out[strcspn(out, "\n")] = '\0';
		answer(in, mine);
		if (strcmp(mine, out) != 0)
			fail_msg("'%s': %s, Python: %s", in, mine, out);
		taken += *out != '-';
		in += strlen(in) + 1;
		out += strlen(out) + 1;
	}
	assert_true(taken > 10000);
	free(lines);
	free(answers);
}

/* Python takes these; we say what we do not take. */
static void
refused(void **state)
{
	static const char *const texts[] = {"2024-W10-1", "2024-05-06x07:08",
	    "2024-05-06T07.5", "2024-05-06T07:08:09+00:00:00.5",
	    "2024-05-06T07:08:09 Z"};
	char mine[128];

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		answer(texts[i], mine);
		assert_string_equal(mine, "-");
	}
}

static void
from_seconds(void **state)
{
	static const int64_t seconds[] = {
	    ISO_TIME_FIRST, -1, 0, 1, 951782400, 1709164800, ISO_TIME_LAST};
	struct iso_time t;
	char iso[ISO_TIME_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
		iso_time_from_seconds(seconds[i], 0, &t);
		assert_int_equal(iso_time_seconds(&t), seconds[i]);
	}
	iso_time_from_seconds(1, 0, &t);
	iso_time_format(&t, iso);
	assert_string_equal(iso, "1970-01-01T00:00:01+00:00");
	iso_time_from_seconds(ISO_TIME_LAST, 7, &t);
	iso_time_format(&t, iso);
	assert_string_equal(iso, "9999-12-31T23:59:59.000007+00:00");
	iso_time_now(&t);
	assert_true(t.year >= 2024 && t.offset == 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(as_python),
	    cmocka_unit_test(refused),
	    cmocka_unit_test(from_seconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
