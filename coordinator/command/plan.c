#include "command/plan.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "image/base_image.h"
#include "err.h"
#include "build/image_layers.h"
#include "options/options.h"
#include "own.h"
#include "build/plan_print.h"
#include "progress/progress.h"
#include "request/request.h"
#include "process/scratch.h"

static size_t
terminal_columns(void)
{
	struct winsize size;

	return isatty(STDOUT_FILENO) &&
		ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0
	    ? size.ws_col
	    : 0;
}

int
plan_run(const struct options *options, struct err *e)
{
	AUTO(scratch_freep) struct scratch *scratch = NULL;
	AUTO(progress_freep) struct progress *progress = NULL;
	AUTO(image_layers_freep) struct image_layers *layers = NULL;
	struct layer_spec spec;
	struct plan_view view = {.spec = &spec, .root_layer = true};

	if (scratch_new(&scratch, e) < 0 ||
	    progress_new(PROGRESS_NONE, &progress, e) < 0 ||
	    image_layers_plan(options, scratch, progress, &layers, e) < 0)
		return -1;
	image_layers_spec(layers, options, &spec);
	view.name = layers->request->name;
	view.closure = layers->closure;
	view.plan = layers->plan;
	view.base_layers = layers->base != NULL ? layers->base->n : 0;
	view.columns = terminal_columns();
	return options->json ? plan_print_json(&view, stdout, e)
			     : plan_print_table(&view, stdout, e);
}
