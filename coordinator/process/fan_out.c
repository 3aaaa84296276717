#include "process/fan_out.h"

#include <pthread.h>
#include <stdbool.h>

#include "err.h"
#include "quiet_thread.h"

struct run {
	const struct fan_out *f;
	atomic_size_t next;
	atomic_uint threads; /* that have a number */
	pthread_mutex_t lock;
	struct err err; /* the first one; with lock */
};

static void *
work(void *arg)
{
	struct run *run = arg;
	const struct fan_out *f = run->f;
	unsigned thread = atomic_fetch_add(&run->threads, 1);
	struct err e = ERR_INIT;
	size_t i;

	while (!atomic_load(f->stop) &&
	    (i = atomic_fetch_add(&run->next, 1)) < f->n) {
		if (f->one(f->arg, thread, i, &e) == 0)
			continue;
		atomic_store(f->stop, true);
		pthread_mutex_lock(&run->lock);
		if (run->err.kind == ERR_NONE)
			run->err = e;
		pthread_mutex_unlock(&run->lock);
		break;
	}
	return NULL;
}

int
fan_out(const struct fan_out *f, struct err *e)
{
	struct run run = {.f = f, .err = ERR_INIT};
	pthread_t thread[FAN_OUT_MAX];
	unsigned n = 0;
	int rc = 0;

	pthread_mutex_init(&run.lock, NULL);
	while (n < f->threads && n < f->n &&
	    (rc = quiet_thread(&thread[n], work, &run)) == 0)
		n++;
	for (unsigned i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	pthread_mutex_destroy(&run.lock);
	if (n == 0 && f->n > 0)
		return err_set(e, ERR_FATAL, rc, "thread");
	if (run.err.kind == ERR_NONE)
		return 0;
	*e = run.err;
	return -1;
}
