/*
 * Inside of protocol: the bodies that have a file of their own.  For
 * protocol.c alone.
 */
#ifndef PROTOCOL_BODIES_H
#define PROTOCOL_BODIES_H

struct msg_ask;
struct msg_client;
struct msg_expired;
struct msg_have;
struct msg_hello;
struct msg_made;
struct msg_paths;
struct msg_postpone;
struct msg_probe;
struct msg_probed;
struct msg_push;
struct msg_pushed;
struct msg_state;
struct msg_status;
struct msg_token;
struct msg_want;
struct wire_in;
struct wire_out;

/* HELLO's list. */
void get_held(struct wire_in *in, struct msg_hello *m);
void put_held(struct wire_out *out, const struct msg_hello *m);
void get_postpone(struct wire_in *in, struct msg_postpone *m);
void put_postpone(struct wire_out *out, const struct msg_postpone *m);
void get_probe(struct wire_in *in, struct msg_probe *m);
void put_probe(struct wire_out *out, const struct msg_probe *m);
void get_probed(struct wire_in *in, struct msg_probed *m);
void put_probed(struct wire_out *out, const struct msg_probed *m);
void get_ask(struct wire_in *in, struct msg_ask *m);
void put_ask(struct wire_out *out, const struct msg_ask *m);
void get_want(struct wire_in *in, struct msg_want *m);
void put_want(struct wire_out *out, const struct msg_want *m);
void get_paths(struct wire_in *in, struct msg_paths *m);
void put_paths(struct wire_out *out, const struct msg_paths *m);
void get_have(struct wire_in *in, struct msg_have *m);
void put_have(struct wire_out *out, const struct msg_have *m);
void get_client(struct wire_in *in, struct msg_client *m);
void put_client(struct wire_out *out, const struct msg_client *m);
void get_made(struct wire_in *in, struct msg_made *m);
void put_made(struct wire_out *out, const struct msg_made *m);
void get_status(struct wire_in *in, struct msg_status *m);
void put_status(struct wire_out *out, const struct msg_status *m);
void get_state(struct wire_in *in, struct msg_state *m);
void put_state(struct wire_out *out, const struct msg_state *m);
void get_push(struct wire_in *in, struct msg_push *m);
void put_push(struct wire_out *out, const struct msg_push *m);
void get_pushed(struct wire_in *in, struct msg_pushed *m);
void put_pushed(struct wire_out *out, const struct msg_pushed *m);
void get_token(struct wire_in *in, struct msg_token *m);
void put_token(struct wire_out *out, const struct msg_token *m);
void get_expired(struct wire_in *in, struct msg_expired *m);
void put_expired(struct wire_out *out, const struct msg_expired *m);

#endif
