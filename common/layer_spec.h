/*
 * What a layer is made of and what comes of it: plain data that the
 * coordinator fills, the wire carries and the worker reads.  Strings are
 * borrowed; who holds them is said where such a struct is kept.
 */
#ifndef LAYER_SPEC_H
#define LAYER_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "encoding.h"
#include "tar_header.h"

enum layer_source {
	LAYER_FROM_STORE = 0,	/* items: store paths */
	LAYER_FROM_ENTRIES = 1, /* entries: the root layer, entry by entry */
	LAYER_FROM_FILE = 2	/* file: a finished layer.tar, byte for byte */
};

/* One store path of a layer, in the layer's order. */
struct layer_item {
	const char *path; /* as the image shows it: STOREDIR/HASH-NAME */
	bool has_hash;	  /* nar_hash and nar_size are known */
	struct digest nar_hash;
	uint64_t nar_size; /* bytes */
};

/* One entry of the root layer, in the layer's order. */
struct layer_entry {
	const char *name;   /* absolute, no '/' at the end */
	enum tar_type type; /* regular, directory or symlink */
	uint32_t mode;	    /* low 12 bits */
	uint64_t uid, gid;
	/* symlink: its target; regular: the file to read; directory: "" */
	const char *target;
};

enum layer_output_kind {
	LAYER_TO_FILE = 0, /* the tar, into path at offset; no fsync */
	LAYER_TO_BLOB = 1, /* the blob, as path/DIGEST-HEX; temp+fsync+rename */
	/* Into the worker's own spool, to be pulled (data_protocol.h). */
	LAYER_TO_SPOOL_TAR = 2, /* the tar */
	LAYER_TO_SPOOL_BLOB =
	    3 /* the blob; where nothing is encoded: the tar */
};

#define LAYER_SIZE_UNKNOWN UINT64_MAX

struct layer_output {
	enum layer_output_kind kind;
	/*
	 * Existing file, or existing folder.  Spool: "" from the coordinator,
	 * the worker sets the existing file.
	 */
	const char *path;
	uint64_t offset; /* file: where the tar starts, bytes */
	uint64_t size;	 /* file, spool: the tar's exact size, or unknown */
};

#define LAYER_OUTPUTS_MAX 8

struct layer_spec {
	enum layer_source source;
	enum tar_dialect dialect;
	bool measure;		/* find the tar's size only; write nothing */
	bool verify;		/* compare each item's narHash and narSize */
	const char *store_dir;	/* "/nix/store" */
	const char *store_root; /* prefix under which store_dir lies, or "" */
	int64_t mtime;		/* seconds since 1970 */
	uint64_t uid, gid;
	const char *uname, *gname;
	struct encoding encoding;
	const char *file; /* LAYER_FROM_FILE: its path, else "" */
	struct layer_output outputs[LAYER_OUTPUTS_MAX];
	size_t n_outputs;
};

/* What has become of a blob that was to go into a registry as it is made. */
enum layer_stream {
	LAYER_STREAM_NONE = 0,	   /* it was not asked for, or given up */
	LAYER_STREAM_UPLOADED = 1, /* so it did, and nowhere else */
	LAYER_STREAM_THERE = 2,	   /* it was there, and is nowhere else */
	/* The outputs have it: */
	LAYER_STREAM_REFUSED = 3, /* the registry takes no such uploads */
	LAYER_STREAM_BROKEN = 4	  /* this one has failed */
};

struct layer_result {
	struct digest diff_id; /* SHA-256 of the tar */
	uint64_t tar_size;     /* bytes */
	struct digest digest;  /* SHA-256 of the blob; diff_id if not encoded */
	uint64_t size;	       /* bytes of the blob */
	uint64_t entries;      /* in the tar */
	uint64_t bytes_read;   /* of files, by all tries */
	uint64_t fetched;      /* from binary caches: bytes of NARs */
	uint64_t fetch_us;     /* how long these were waited for */
};

#endif
