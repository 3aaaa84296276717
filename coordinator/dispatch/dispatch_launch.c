#include "dispatch/dispatch_state.h"

#include "dispatch/dispatch.h"
#include "err.h"
#include "dispatch/launch.h"
#include "link.h"
#include "log.h"

int
dispatch_launch_start(
    struct dispatch *d, const struct dispatch_config *c, struct err *e)
{
	if (c->launch == NULL)
		return 0;
	d->only_launched = c->workers == 0 && c->keys == NULL;
	log_line(LOG_INFO, "launching workers: %s", launch_command(c->launch));
	if (launch_start(c->launch, link_endpoint(d->remote), e) < 0)
		return -1;
	d->launch = c->launch; /* from here on it is ours to end */
	return 0;
}

static int
failed(struct dispatch *d, const char *why, struct err *e)
{
	const char *command = launch_command(d->launch);

	if (!d->joined)
		return err_set(e, ERR_FATAL, 0,
		    "--launch: %s, and no worker had joined: %.300s", why,
		    command);
	if (!d->begun)
		return err_set(e, ERR_FATAL, 0,
		    "--launch: %s, and fewer workers than --min-workers have "
		    "joined: %.300s",
		    why, command);
	if (d->only_launched && d->n_peers == 0)
		return err_set(e, ERR_FATAL, 0,
		    "--launch: %s, and no worker is left: %.300s", why,
		    command);
	return 0;
}

int
dispatch_launch_check(struct dispatch *d, struct err *e)
{
	enum launch_state state;
	const char *why;

	if (d->launch == NULL ||
	    (state = launch_state(d->launch, &why)) == LAUNCH_RUNS)
		return 0;
	if (state == LAUNCH_FAILED && failed(d, why, e) < 0)
		return -1;
	if (d->launch_over)
		return 0;
	d->launch_over = true;
	if (state == LAUNCH_FAILED)
		log_line(LOG_WARNING,
		    "--launch: %s; going on with the workers that are here",
		    why);
	else
		log_line(LOG_DEBUG, "--launch: the command is done");
	return 0;
}

void
dispatch_launch_end(struct dispatch *d)
{
	if (d->launch != NULL)
		launch_end(d->launch);
	d->launch = NULL;
}
