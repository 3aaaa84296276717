/*
 * A layer's store paths, out of this machine's store or out of binary caches:
 * wherever a path comes from, its entries take the same way into the tar.
 */
#ifndef LAYER_STORE_H
#define LAYER_STORE_H

struct err;
struct layer_job;
struct layer_tar;
struct nar_hash;
struct source_nar;

/*
 * Writes all of the job's store paths.  nar: NULL, or what holds local ones
 * against their narHash.  source: NULL, or where paths are had from that are
 * not here.
 */
int layer_store_put(const struct layer_job *job, struct layer_tar *lt,
    struct nar_hash *nar, struct source_nar *source, struct err *e);

#endif
