/* One line is one write, whatever is in it and whoever logs. */
#include "log.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* Standard error becomes a socket where each write is a message. */
static int saved = -1, lines[2];

static int
setup(void **state)
{
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, lines), 0);
	saved = dup(STDERR_FILENO);
	dup2(lines[1], STDERR_FILENO);
	log_start("prog", LOG_INFO);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(lines[0]);
	close(lines[1]);
	return 0;
}

static const char *
next_line(void)
{
	static char line[8192];
	ssize_t n = recv(lines[0], line, sizeof(line) - 1, MSG_DONTWAIT);

	line[n < 0 ? 0 : n] = '\0';
	return line;
}

static void
test_lines(void **state)
{
	(void)state;
	log_line(LOG_ERROR, "a %d", 1);
	assert_string_equal(next_line(), "prog: a 1\n");
	log_line(LOG_WARNING, "b");
	assert_string_equal(next_line(), "prog: warning: b\n");
	log_line(LOG_DEBUG, "c");
	assert_string_equal(next_line(), "");
	log_start("prog", LOG_DEBUG);
	log_line(LOG_DEBUG, "c");
	assert_string_equal(next_line(), "prog: c\n");
	log_line(LOG_INFO, "x\ny\033[2J\x7f \xc3\xa9");
	assert_string_equal(next_line(), "prog: x?y?[2J? \xc3\xa9\n");
}

static void
is_cleaned(const char *text, const char *want)
{
	char buffer[100];

	snprintf(buffer, sizeof(buffer), "%s", text);
	log_clean(buffer);
	assert_string_equal(buffer, want);
}

static void
test_clean(void **state)
{
	(void)state;
	is_cleaned("", "");
	is_cleaned("a b \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
	    "a b \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
	is_cleaned("\033]0;x\a\r\n\t\b\177", "?]0;x??????");
	/* CSI, as one character of Unicode and as one byte. */
	is_cleaned("\xc2\x9b"
		   "2J\x9b"
		   "2J\xc2\xa0",
	    "?2J?2J\xc2\xa0");
	/* Right to left, and back; ends of lines and paragraphs. */
	is_cleaned("a\xe2\x80\xae"
		   "b\xe2\x81\xa9",
	    "a?b?");
	is_cleaned("a\xe2\x80\xa8\xe2\x80\xa9", "a??");
	/* Cut, too long, half a pair, past the last. */
	is_cleaned("a\xe2\x82", "a??");
	is_cleaned("\xc0\x9b\xe0\x80\x9b", "?????");
	is_cleaned("\xed\xa0\x80\xf4\x90\x80\x80\xff", "????????");
}

static void
test_long(void **state)
{
	char text[5000];
	const char *line;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_line(LOG_INFO, "%s", text);
	line = next_line();
	assert_true(strlen(line) > 1024 && strlen(line) < 2000);
	assert_int_equal(line[strlen(line) - 1], '\n');
	assert_string_equal(next_line(), "");
}

static void
keep(void *arg, enum log_level level, const char *line)
{
	(void)level;
	snprintf(arg, 100, "%s", line);
}

static void
test_divert(void **state)
{
	char kept[100] = "";

	(void)state;
	log_divert(keep, kept);
	log_line(LOG_WARNING, "z");
	assert_string_equal(kept, "prog: warning: z");
	assert_string_equal(next_line(), "");
	log_divert(NULL, NULL);
	log_line(LOG_WARNING, "y");
	assert_string_equal(next_line(), "prog: warning: y\n");
	assert_string_equal(kept, "prog: warning: z");
}

static void *
chatter(void *arg)
{
	for (int i = 0; i < 50; i++)
		log_line(LOG_INFO, "from %s", (const char *)arg);
	return NULL;
}

static void
test_threads(void **state)
{
	pthread_t thread[2];
	const char *line;
	int n = 0;

	(void)state;
	pthread_create(&thread[0], NULL, chatter, "one");
	pthread_create(&thread[1], NULL, chatter, "two");
	for (; n < 100; n++) {
		while (*(line = next_line()) == '\0')
			usleep(1000);
		assert_true(strcmp(line, "prog: from one\n") == 0 ||
		    strcmp(line, "prog: from two\n") == 0);
	}
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_lines),
	    TEST(test_clean),
	    TEST(test_long),
	    TEST(test_divert),
	    TEST(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
