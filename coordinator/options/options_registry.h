/* Options that are about registries; for options*.c alone. */
#ifndef OPTIONS_REGISTRY_H
#define OPTIONS_REGISTRY_H

struct err;
struct options;

int options_set_format(struct options *o, const char *arg, struct err *e);
int options_set_push_from(struct options *o, const char *arg, struct err *e);
int options_check_stream(const struct options *o, struct err *e);
int options_set_cache_repo(struct options *o, const char *arg, struct err *e);
int options_set_timeout(struct options *o, const char *arg, struct err *e);
int options_set_tls_verify(struct options *o, const char *arg, struct err *e);
int options_add_token_server(struct options *o, const char *arg, struct err *e);

int options_add_manifest(struct options *o, const char *arg, struct err *e);

/* index has one positional, and manifests.  ERR_USAGE. */
int options_take_index(struct options *o, struct err *e);

/* Whether there is anything that --push-from speaks of.  ERR_USAGE. */
int options_check_push_from(const struct options *o, struct err *e);

/* Whether --format suits the outputs and --encoding.  ERR_USAGE. */
int options_check_format(const struct options *o, struct err *e);

#endif
