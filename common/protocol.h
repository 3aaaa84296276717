/*
 * What coordinator and workers say to each other.  One ROUTER at the
 * coordinator, one DEALER a worker, one message a frame: a msgpack array
 * [type, field, ...] of exact arity.  W a worker, C the coordinator:
 *
 *	worker  = W:HELLO ( C:REFUSE / session )
 *	session = C:WELCOME *( job / probe / ask / push / W:BEAT )
 *		  [ W:BYE(1) ] ( W:BYE(0) / C:BYE )
 *	job     = C:JOB *( C:ITEMS / C:ENTRIES ) *W:BEAT
 *		  ( W:SIZED / W:DONE / W:FAIL / W:POSTPONE )
 *	probe   = C:PROBE W:PROBED
 *	ask     = C:ASK *( W:WANT C:PATHS ) *W:HAVE
 *	push    = C:TOKEN C:PUSH *( W:EXPIRED C:TOKEN ) W:PUSHED
 *
 * C:WHO in between: the worker begins again with HELLO.  C:CANCEL within a
 * job: the worker answers FAIL, or is too late.  W:BYE(1): no new jobs, please;
 * W:BYE(0): it has left and holds nothing.  C:BYE: the build is over, workers
 * that it started end; W:BYE(0) answers it, for which C waits a little: a
 * socket that is closed with unread messages takes what it has sent with it.
 *
 * A connection that breaks and comes back is a new peer to the coordinator:
 * it answers whatever it hears with WHO.  HELLO's instance tells that it is
 * the worker that it knows, WELCOME's session tells the worker whether its
 * jobs are still wanted.  HELLO's held tells the coordinator which of them it
 * has: what was on its way to it when the connection broke is sent again.
 *
 * HELLO's speeds are what the coordinator goes by until it sees the worker's
 * work: who lies has large layers early, and they are taken from it as from any
 * other that turns out to be slow.
 *
 * ITEMS and ENTRIES carry a job's n_items in as many messages as needed, each
 * at most MSG_PART_MAX bytes; the job starts with the last of them.  Blobs
 * never travel here: where the worker cannot write them into the output they
 * are pulled from its spool on a second socket, see data_protocol.h.  PROBE
 * asks a worker to answer in a file, so that the coordinator finds out
 * whether both see the same folder.  ASK names a list of store paths by its
 * digest and asks which of them the worker's store has, for locality.  A
 * worker that does not know the list WANTs it, part by part; HAVE is a bit for
 * each path.  A later ASK takes the place of an earlier one.  Messages may be
 * lost at any time: the scheduler's table is the memory of a job, no queue is.
 *
 * PUSH has a worker upload a layer's blob that it has: a file, or what its
 * spool holds of a job.  Where to, TOKEN has said before, and what to say
 * there: a token for this one repository, never a password; an EXPIRED with
 * its serial asks for the next.  Places are numbered from 0 to MSG_PUSH_PLACES
 * - 1; a number that no push is open for may come to mean another one.  A JOB
 * may want its blob to go to a place while it is made (TOKEN comes first), and
 * not to its outputs, which have it where that came to nothing: DONE says
 * which.  What was asked of a connection ends with it; WELCOME begins anew.
 *
 * Clients of a coordinator that stays up speak to a ROUTER of its own, with
 * other keys.  To client K the server S is one worker that takes all jobs:
 *
 *	client = K:CLIENT ( S:REFUSE / S:WELCOME *( want / pass / state /
 *	         K:BEAT / S:BEAT ) ( K:BYE(0) / S:BYE ) )
 *	client =/ S:WHO in between; the client begins again with CLIENT
 *	want   = K:JOB *K:ITEMS *S:BEAT ( [ S:MADE ] ( S:SIZED / S:DONE ) /
 *	         S:FAIL / S:POSTPONE )
 *	want  =/ K:CANCEL in between; the server answers FAIL or is too late
 *	pass   = K:TOKEN K:PUSH *( S:EXPIRED K:TOKEN ) S:PUSHED
 *	state  = K:STATUS S:STATE; also before CLIENT, and without it
 *	K:BEAT = I am here; it lists nothing
 *	POSTPONE = the client has more queued than it may; later, please
 *
 * A job of a client is of store paths under its store_dir and names no file of
 * the server: no store_root, no outputs, no ENTRIES.  What a client asked for
 * is forgotten with its connection: after each WELCOME it sends again whatever
 * it has not got, and hears DONE of what was made in the meantime.
 *
 * Where a client's layers go to a registry that WELCOME names, it may have the
 * server's workers put them there, as the server would its own: PUSH names a
 * job of its own that DONE was said of, and that it has neither pulled nor
 * cancelled since; it has no file.  TOKEN has no authorities: whom registries
 * are trusted by is the server's to say.  The client looks before and after.
 *
 * Encoding and decoding are usable in any thread; a struct msg belongs to one.
 */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#include <msgpack.h>

#include "data_protocol.h"
#include "err.h"
#include "layer_spec.h"
#include "probe.h"
#include "registry_auth.h"
#include "registry_name.h"

#define PROTOCOL_VERSION 9

/* Limits; a message beyond them is a fault of the peer. */
#define MSG_SIZE_MAX ((size_t)1 << 20)	 /* bytes of any message */
#define MSG_PART_MAX ((size_t)512 << 10) /* target for ITEMS and ENTRIES */
#define MSG_PART_ITEMS_MAX 65536
#define MSG_ITEMS_MAX ((uint64_t)64 << 20) /* of one job */
#define MSG_NAME_MAX 256		   /* host names, versions */
#define MSG_PATH_MAX TAR_NAME_MAX
#define MSG_SLOTS_MAX 1024
#define MSG_BEAT_MS_MAX 3600000
#define MSG_IDLE_BEATS 3
#define MSG_SPEED_MAX ((uint64_t)100000000000) /* bytes/s */
#define MSG_HELD_MAX 32768
#define MSG_PROBE_KEY_SIZE PROBE_KEY_SIZE
#define MSG_INSTANCE_SIZE 16
#define MSG_LIST_MAX ((uint64_t)16 << 20) /* store paths that ASK asks for */
#define MSG_PATHS_MAX 8192		  /* of them in a message */
#define MSG_BITS_MAX ((size_t)64 << 10)	  /* bytes of bits in a message */
#define MSG_STATE_MAX ((size_t)768 << 10) /* bytes of STATE's text */
#define MSG_BASE_MAX (REGISTRY_HOST_MAX + sizeof("https://") - 1)
#define MSG_PUSH_PLACES 16 /* that a worker knows at a time */
#define MSG_AUTHORITIES_MAX ((size_t)256 << 10) /* bytes of TOKEN's */
#define MSG_PUSH_TO_MAX 8192			/* bytes of WELCOME's */

/*	constant      no. body     direction, meaning */
#define MSG_TYPES(X)                                                           \
	X(MSG_HELLO, 1, hello)	      /* W>C first: who, versions, slots */    \
	X(MSG_WELCOME, 2, welcome)    /* C>W accepted: how often to beat */    \
	X(MSG_REFUSE, 3, refuse)      /* C>W not accepted, and why */          \
	X(MSG_JOB, 4, job)	      /* C>W make (or measure) this layer */   \
	X(MSG_ITEMS, 5, items)	      /* C>W store paths of a job */           \
	X(MSG_ENTRIES, 6, entries)    /* C>W root layer entries of a job */    \
	X(MSG_CANCEL, 7, cancel)      /* C>W stop this job */                  \
	X(MSG_BEAT, 8, beat)	      /* W>C alive; bytes done of each job */  \
	X(MSG_SIZED, 9, sized)	      /* W>C a measured job's tar size */      \
	X(MSG_DONE, 10, done)	      /* W>C digests and sizes */              \
	X(MSG_FAIL, 11, fail)	      /* W>C kind and text of the error */     \
	X(MSG_BYE, 12, bye)	      /* either: leaving */                    \
	X(MSG_POSTPONE, 13, postpone) /* W>C no room now: no failure */        \
	X(MSG_PROBE, 14, probe)	      /* C>W do we share this folder? */       \
	X(MSG_PROBED, 15, probed)     /* W>C the answer is in the folder */    \
	X(MSG_WHO, 16, who)	    /* C>W I do not know you: HELLO, please */ \
	X(MSG_ASK, 17, ask)	    /* C>W which of these paths have you? */   \
	X(MSG_WANT, 18, want)	    /* W>C this part of the list, please */    \
	X(MSG_PATHS, 19, paths)	    /* C>W a part of the list */               \
	X(MSG_HAVE, 20, have)	    /* W>C a part of the answer */             \
	X(MSG_CLIENT, 21, client)   /* K>S first: who, versions, image */      \
	X(MSG_MADE, 22, made)	    /* S>K who did the job that is done */     \
	X(MSG_STATUS, 23, status)   /* K>S how are things? */                  \
	X(MSG_STATE, 24, state)	    /* S>K so they are, as JSON */             \
	X(MSG_PUSH, 25, push)	    /* C>W K>S put it into a registry */       \
	X(MSG_PUSHED, 26, pushed)   /* W>C S>K it is there, or why not */      \
	X(MSG_TOKEN, 27, token)	    /* C>W K>S where that is, and who asks */  \
	X(MSG_EXPIRED, 28, expired) /* W>C S>K it takes the token no more */

enum msg_type {
#define X(name, no, body) name = no,
	MSG_TYPES(X)
#undef X
};

struct msg_attempt {
	uint64_t job, attempt;
};

struct msg_hello {
	uint64_t protocol;   /* PROTOCOL_VERSION */
	const char *program; /* QUARRY_VERSION */
	const char *host;
	uint64_t pid;
	uint64_t slots;
	const char *gzip, *zstd; /* encoder names and versions */
	/* This process and no other, ever: random. */
	uint8_t instance[MSG_INSTANCE_SIZE];
	uint64_t session;	  /* of the WELCOME that it had last; 0: none */
	struct msg_attempt *held; /* of that session: will be answered */
	size_t n_held;
	bool fetches; /* it can get store paths from binary caches */
	/* Bytes of tar a second and slot, by encoding; 0: it does not know. */
	uint64_t speed[ENCODING_KINDS];
};

struct msg_welcome {
	uint64_t protocol;
	/*
	 * From 1 to MSG_BEAT_MS_MAX.  A worker without jobs tells nothing but
	 * that it lives: it beats MSG_IDLE_BEATS times as seldom.
	 */
	uint64_t beat_ms;
	uint64_t session; /* the coordinator's: another one, other jobs */
	/*
	 * Where spooled layers are pulled, see data_endpoint.h; "": nowhere.
	 * The token is this worker's alone, and secret.
	 */
	const char *data;
	uint8_t token[DATA_TOKEN_SIZE];
	/* To a client: "HOST[:PORT],..." that layers may be pushed to. */
	const char *push_to;
};

struct msg_refuse {
	const char *text;
};

struct msg_job {
	uint64_t job;
	uint64_t attempt; /* echoed in the answer */
	uint64_t n_items; /* store paths or entries that follow */
	struct layer_spec spec;
	uint64_t stream; /* TOKEN's place of its blob, + 1; 0: the outputs */
};

struct msg_items {
	uint64_t job, attempt;
	struct layer_item *item;
	size_t n;
};

struct msg_entries {
	uint64_t job, attempt;
	struct layer_entry *entry;
	size_t n;
};

struct msg_cancel {
	uint64_t job, attempt;
};

struct msg_progress {
	uint64_t job, attempt;
	uint64_t bytes; /* of tar so far */
};

struct msg_beat {
	struct msg_progress *progress; /* of each running job */
	size_t n;
};

struct msg_sized {
	uint64_t job, attempt;
	uint64_t tar_size, entries;
};

struct msg_done {
	uint64_t job, attempt;
	struct layer_result result;
	uint64_t cpu_us; /* this thread's CPU time on the job */
	enum layer_stream stream;
};

struct msg_fail {
	uint64_t job, attempt;
	enum err_kind kind; /* ERR_RETRY or ERR_JOB */
	int sys;	    /* errno, or 0 */
	const char *text;
	uint64_t read; /* bytes of files, in vain */
};

struct msg_bye {
	uint64_t reason; /* MSG_BYE_LEFT or MSG_BYE_DRAINING */
};
#define MSG_BYE_LEFT 0
#define MSG_BYE_DRAINING 1

struct msg_postpone {
	uint64_t job, attempt;
	const char *text; /* what lacks */
	uint64_t read;	  /* as in FAIL: it had begun */
};

struct msg_probe {
	uint64_t probe;	    /* echoed in the answer */
	const char *folder; /* absolute */
	const char *name;   /* of a file in it; no '/' */
	uint8_t key[MSG_PROBE_KEY_SIZE];
};

struct msg_who {
	char nothing; /* it has no fields */
};

struct msg_ask {
	uint64_t ask;	       /* echoed in what follows */
	struct digest list;    /* SHA-256 of all keys, as PATHS carries them */
	uint64_t n;	       /* how many they are */
	const char *store_dir; /* as in struct layer_spec */
	const char *store_root;
};

struct msg_want {
	uint64_t ask;
	uint64_t first; /* how many it has so far */
};

struct msg_paths {
	uint64_t ask;
	uint64_t first;
	uint64_t *key; /* store_path_key of each; on the wire 8 bytes each */
	size_t n;      /* 1 to MSG_PATHS_MAX */
};

struct msg_have {
	uint64_t ask;
	uint64_t sys;	/* 0; else errno, and nobody knows */
	uint64_t first; /* of which path the first bit is; a multiple of 8 */
	uint8_t *bits;	/* lowest first */
	size_t n;	/* bytes */
};

struct msg_client {
	uint64_t protocol;   /* PROTOCOL_VERSION */
	const char *program; /* QUARRY_VERSION */
	const char *host;
	uint64_t pid;
	const char *image;	 /* its name, for people */
	const char *gzip, *zstd; /* encoders that its layers are made with */
	/* This process and no other, ever: random. */
	uint8_t instance[MSG_INSTANCE_SIZE];
	uint64_t session; /* of the WELCOME that it had last; 0: none */
};

/* Comes right before SIZED or DONE. */
struct msg_made {
	uint64_t job, attempt;
	const char *worker; /* "HOST/PID" */
	uint64_t ms;	    /* from the worker's JOB to its answer */
};

struct msg_status {
	uint64_t request; /* echoed in the answer */
};

struct msg_state {
	uint64_t request;
	const char *text; /* JSON, at most MSG_STATE_MAX bytes */
};

struct msg_push {
	uint64_t push;	  /* echoed in the answer */
	uint64_t place;	  /* a TOKEN's */
	const char *file; /* absolute; "": the spool's blob of */
	uint64_t job, attempt;
	struct digest digest;
	uint64_t size;
};

struct msg_pushed {
	uint64_t push;
	bool uploaded;	    /* by this worker; else it was there */
	uint64_t throttled; /* how often it was asked too much */
	const char *text;   /* "": it is there; else why not */
};

/* Where blobs go; once more, whenever the token is another one. */
struct msg_token {
	uint64_t place;
	uint64_t serial;	 /* of the token, which only grows */
	const char *base;	 /* "https://HOST[:PORT]" */
	const char *repo;	 /* in that registry */
	const char *token;	 /* for it alone, and secret; "": none */
	const char *authorities; /* PEM: trusted besides the worker's own */
	bool insecure;		 /* certificates are not looked at */
	uint64_t stall_s;	 /* 0: HTTP_STALL_S */
};

struct msg_expired {
	uint64_t place, serial;
};

struct msg_probed {
	uint64_t probe;
	uint64_t sys;	  /* 0: the answer is written; else errno */
	const char *text; /* what failed, or "" */
};

struct msg {
	enum msg_type type;
	union {
		struct msg_hello hello;
		struct msg_welcome welcome;
		struct msg_refuse refuse;
		struct msg_job job;
		struct msg_items items;
		struct msg_entries entries;
		struct msg_cancel cancel;
		struct msg_beat beat;
		struct msg_sized sized;
		struct msg_done done;
		struct msg_fail fail;
		struct msg_bye bye;
		struct msg_postpone postpone;
		struct msg_probe probe;
		struct msg_probed probed;
		struct msg_who who;
		struct msg_ask ask;
		struct msg_want want;
		struct msg_paths paths;
		struct msg_have have;
		struct msg_client client;
		struct msg_made made;
		struct msg_status status;
		struct msg_state state;
		struct msg_push push;
		struct msg_pushed pushed;
		struct msg_token token;
		struct msg_expired expired;
	};
	msgpack_zone *zone; /* holds a decoded message's strings and lists */
};

/*
 * Decodes one frame: guard, unpack, check every field.  On success the
 * caller owns *out (msg_clear); on failure *out is empty and the error
 * (ERR_PEER; ERR_FATAL: out of memory) names message and field.
 */
int msg_decode(const void *data, size_t len, struct msg *out, struct err *e);
void msg_clear(struct msg *m);

/*
 * Encodes m; *out is appended to (the caller cleared it).  ERR_FATAL:
 * out of memory or larger than MSG_SIZE_MAX.
 */
int msg_encode(const struct msg *m, msgpack_sbuffer *out, struct err *e);

/* "HELLO", "JOB", ...; static; "?" for no such type. */
const char *msg_name(enum msg_type type);

/* One line for debug logs: type and main fields. */
void msg_print(const struct msg *m, char *out, size_t size);

#endif
