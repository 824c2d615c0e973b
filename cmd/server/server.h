/* The control plane: what hangs together in one process, on one thread.
 *
 * Flow:      api.c (documents, tokens, reads) and enrol.c (join, certificates) change the store;
 * publish.c works out who is affected, debounced; session.c carries it to agents. Ownership: struct
 * server owns everything; parts point back to it. Threads:   one loop. TLS handshakes run on crypto
 * helpers. Faces:     a Unix socket (peer credentials decide the role) and one TLS port for agents
 * and enrolment.
 */
#pragma once

#include "cmd/notify.h"
#include "mesh/base/addr.h"
#include "mesh/base/err.h"
#include "mesh/base/loop.h"
#include "mesh/base/node.h"
#include "mesh/model.h"
#include "proxy/wire/serve.h"

struct ca;
struct creds;
struct publish;
struct registry;
struct revisions;
struct session;
struct store;
struct watches;

/* server.ini; the table in settings.c says what each key means. */
struct server_settings {
    const struct node *node; /* NULL after reading */
    const char *state_dir;   /* holds weft.db and ca/ */
    const char *socket_path; /* the Unix socket */
    struct addr listen;      /* TLS port */
    const char *advertise;   /* HOST:PORT[,...] in join strings */
    const char *trust_domain, *domain, *root_namespace;
    int64_t leaf_ns; /* life of leaves */
};

struct server {
    struct loop *loop;
    struct task task;
    struct timer renew_timer, report_timer;
    struct notify notify;
    struct server_settings settings;
    struct store *store;
    struct revisions *revisions;
    struct registry *registry;
    struct ca *ca;
    struct creds *creds; /* the server's own leaf */
    struct tls_tickets *tickets;
    struct publish *publish;
    struct watches *watches;
    struct serve *unix_face, *tls_face;
    struct session *sessions; /* list */
    size_t session_count;
    struct throttle *throttle; /* who asks too often */
    int64_t started_ms;
    char name[256]; /* this machine's */
    struct {
        uint64_t applies, applies_refused, joins, joins_refused, certificates, pushes, acks, nacks;
    } counters;
};

/* Below the state folder. */
#define SERVER_DATABASE   "weft.db"
#define SERVER_CA         "ca"
#define SERVER_UNFINISHED "init.unfinished" /* there while init is at work, or was cut short */

struct args;
struct arena;

/* init.c, check.c: commands that run without a loop; they return an exit code. */
int server_init(const struct args *a);
int server_check(const struct args *a);
const char *server_config_path(const struct args *a, struct arena *arena);   /* of server.ini */
const char *server_path(struct arena *a, const char *dir, const char *name); /* DIR/NAME */

/* settings.c: DIR/server.ini, written by init, edited by people. Texts live in the arena. Every
 * problem of the file is printed to standard error; err has the first. */
int server_settings_read(const char *config_path, struct arena *a, struct server_settings *out,
                         struct err *err);
int server_settings_write(const char *config_path, const struct server_settings *s,
                          struct err *err);

/* reply.c: answers. */
void reply_json(struct serve_request *r, unsigned status, struct buf *body);
/* problem+json (RFC 9457) with one detail. */
void reply_problem(struct serve_request *r, unsigned status, const char *title, const char *detail);
void reply_err(struct serve_request *r, const struct err *err); /* status from the code */
void reply_findings(struct serve_request *r, unsigned status, const char *title,
                    const struct findings *f);
unsigned reply_status(enum err_code code);
/* One parameter of the query, percent-decoded into the arena; false if absent. */
bool reply_query(const struct serve_request *r, struct str name, struct arena *a,
                 struct str *value);
/* A segment of the path, percent-decoded; false if it holds what no name does. */
bool reply_segment(struct arena *a, struct str segment, struct str *value);
/* A parameter that none of the names (NULL-ended) is: 400 and true. A typo must not apply for real.
 */
bool reply_unknown_query(struct serve_request *r, const char *const *names);

/* role.c: who is calling. */
enum role { ROLE_NONE, ROLE_VIEW, ROLE_ADMIN, ROLE_AGENT };
enum role role_of(const struct serve_request *r, struct str trust_domain, struct str *host_id);
struct ledger_audit;
/* Actor and source of a request for the audit log, printed into the arena. */
void role_audit(const struct server *s, const struct serve_request *r, const char *action,
                struct arena *a, struct ledger_audit *out);

/* enrol.c: token + CSR -> certificate. */
void enrol_join(struct server *s, struct serve_request *r);
void enrol_certificates(struct server *s, struct serve_request *r, struct str host_id);
void enrol_recover(struct server *s, struct serve_request *r);
/* Mint a token, store its hash, print the join string into `out`. */
struct enrol_token {
    int64_t uses, ttl_ms;
    struct str services; /* comma list of [NS/]NAME; empty: unrestricted */
    struct str from;     /* comma list of CIDRs; empty: anywhere */
};
int enrol_token_create(struct server *s, const struct enrol_token *want,
                       const struct ledger_audit *audit, struct buf *join, struct buf *id,
                       struct err *err);

/* throttle.c: how often one caller may fail, or ask for what is dear, in a minute. */
struct throttle *throttle_new(void);
void throttle_free(struct throttle *t); /* NULL is fine */
/* False, and not counted, when `who` has used up `limit` in this minute; else adds `cost`, which
 * may be 0 to ask only. */
bool throttle_take(struct throttle *t, struct str who, unsigned cost, unsigned limit,
                   int64_t now_ms);
/* The caller's address as a key; neighbours in one IPv6 /64 are one caller. */
struct str throttle_source(const struct addr *peer, struct arena *a);

/* session.c: one agent's stream. */
void session_start(struct server *s, struct serve_request *r, struct str host_id);
void session_close_all(struct server *s);
/* The world changed: every session works out what it may see and sends the difference, each in a
 * turn of its own. */
void session_push_all(struct server *s);
void session_eject(struct server *s, struct str host_id, const char *why);
struct session *session_of(const struct server *s, struct str host_id);
void session_json(const struct session *session, struct buf *out); /* for status and hosts */

/* publish.c: the whole mesh as one catalog, rebuilt after changes. */
struct publish *publish_new(struct server *s);
void publish_free(struct publish *p);
void publish_soon(struct publish *p); /* something changed: rebuild and push after the debounce */
/* Rebuild what changed, without pushing; the push still comes. */
int publish_now(struct publish *p, struct err *err);
const struct catalog *publish_catalog(const struct publish *p);
/* The decoded configuration as last published or, after publish_now, as it is. */
struct object *const *publish_objects(struct publish *p, size_t *count);

/* api.c: the endpoint table. */
void api_handle(struct serve_request *r);
