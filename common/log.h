/*
 * Lines for people on standard error: "quarry: text".  A line is one write(2),
 * so lines of several processes do not mix.  Any thread may log.  While a
 * progress display is on the terminal it takes lines by log_divert().  All
 * lines go through log_clean().
 */
#ifndef LOG_H
#define LOG_H

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* program: "quarry"; static.  Lines below level are dropped. */
void log_start(const char *program, enum log_level level);

/*
 * From now on sink gets each line (without newline), one at a time; it must
 * not log.  NULL: stderr again.
 */
void log_divert(
    void (*sink)(void *arg, enum log_level level, const char *line), void *arg);

/*
 * For whatever others have named (files, requests, registries' answers) and a
 * terminal is to show: a line stays one line, and what a terminal obeys becomes
 * '?': control characters of ASCII and Unicode, those that turn the direction
 * of text, bytes that are no UTF-8.  In place; never longer.
 */
void log_clean(char *text);

/* "program: warning: text" for warnings, "program: text" else. */
void log_line(enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
