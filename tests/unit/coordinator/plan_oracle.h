/*
 * Asks tests/oracle/plan.py for many plans at once: cases are written to a
 * file, one process answers them all, line by line.  One thread.
 */
#ifndef PLAN_ORACLE_H
#define PLAN_ORACLE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "closure/closure.h"
#include "plan/layer_plan.h"

struct plan_oracle {
	char file[64];
	FILE *cases, *answers;
};

static inline void
plan_oracle_open(struct plan_oracle *o)
{
	int fd;

	strcpy(o->file, "/tmp/quarry-plan-XXXXXX");
	fd = mkstemp(o->file);
	o->cases = fdopen(fd, "w");
	o->answers = NULL;
	if (o->cases == NULL)
		abort();
}

static inline void
plan_oracle_add(struct plan_oracle *o, const struct closure *c,
    enum strategy strategy, size_t max_layers, size_t base_layers)
{
	fprintf(o->cases,
	    "{\"strategy\":\"%s\",\"max_layers\":%zu,\"base_layers\":%zu,"
	    "\"closure\":[",
	    strategy == STRATEGY_SIZE ? "size" : "popularity", max_layers,
	    base_layers);
	for (size_t i = 0; i < c->n; i++) {
		fprintf(o->cases,
		    "%s{\"path\":\"%s\",\"narSize\":%llu,\"references\":[",
		    i > 0 ? "," : "", c->path[i],
		    (unsigned long long)(c->nar_size ? c->nar_size[i] : 0));
		for (size_t k = c->ref_start[i]; k < c->ref_start[i + 1]; k++)
			fprintf(o->cases, "%s\"%s\"",
			    k > c->ref_start[i] ? "," : "", c->path[c->ref[k]]);
		fprintf(o->cases, "]}");
	}
	fprintf(o->cases, "]}\n");
}

/* After the last case, before the first answer. */
static inline void
plan_oracle_run(struct plan_oracle *o)
{
	const char *python = getenv("PYTHON"), *tests = getenv("QUARRY_TESTS");
	char *command;

	if (fclose(o->cases) != 0 ||
	    asprintf(&command, "%s %s/oracle/plan.py --batch %s",
		python != NULL ? python : "python3",
		tests != NULL ? tests : "tests", o->file) < 0 ||
	    (o->answers = popen(command, "r")) == NULL)
		abort();
	free(command);
}

/* The next answer, one line of JSON; the caller frees it. */
static inline char *
plan_oracle_answer(struct plan_oracle *o)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t len = getline(&line, &room, o->answers);

	if (len <= 0) {
		free(line);
		return strdup("(no answer)");
	}
	line[len - 1] = '\0';
	return line;
}

static inline bool
plan_oracle_close(struct plan_oracle *o)
{
	unlink(o->file);
	return pclose(o->answers) == 0;
}

/* A plan as the oracle writes one; the caller frees it. */
static inline char *
plan_text(const struct layer_plan *plan, const struct closure *c)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	fputc('[', f);
	for (size_t i = 0; i < plan->n; i++) {
		fputs(i > 0 ? ",[" : "[", f);
		for (size_t k = 0; k < plan->layer[i].n; k++)
			fprintf(f, "%s\"%s\"", k > 0 ? "," : "",
			    c->path[plan->layer[i].path[k]]);
		fputc(']', f);
	}
	fputc(']', f);
	fclose(f);
	return text;
}

#endif
