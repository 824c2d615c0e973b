/* The data plane's program: what hangs together in one agent, on its control thread.
 *
 * Flow:      link.c receives the catalog; agent.c compiles it, applies it to the proxy, captures,
 * answers names; certs.c keeps SVIDs fresh; cache.c remembers all of it, so that an agent restarted
 * while the server is down serves at once. Ownership: struct agent owns everything; parts point
 * back to it. Threads:   one control loop here; workers and helpers belong to the proxy.
 */
#pragma once

#include "cmd/agent/capture.h"
#include "mesh/base/addr.h"
#include "mesh/base/err.h"
#include "mesh/base/findings.h"
#include "mesh/base/hash.h"
#include "mesh/base/loop.h"
#include "mesh/model.h"
#include "mesh/sync.h"

struct admin;
struct certs;
struct creds;
struct dns_server;
struct link;
struct proxy;
struct report;
struct snapshot;
struct standalone;

#define AGENT_SERVERS_MAX 8

/* Who this host is: agent.json in the state folder, written by join. */
struct agent_member {
    char *host_id, *name, *address, *trust_domain, *domain, *root_namespace;
    char *servers[AGENT_SERVERS_MAX]; /* HOST:PORT */
    size_t server_count;
};

/* agent.ini; every key has a default. The table in settings.c says what each means. */
struct agent_settings {
    const struct node *node; /* NULL after reading */
    struct arena arena;      /* holds the texts */
    const char *state_dir, *config_dir, *socket_path; /* of the command line */
    const char *standalone_dir; /* documents and certificates; NULL: a member of a mesh */
    const char *access_log, *resolv_conf;
    struct addr address; /* of this host towards the others; family 0: found by asking the kernel */
    struct str locality; /* region/zone/subzone, or empty */
    uint32_t workers, connections_per_source;
    enum capture_mode capture;
    bool dns, has_capture, has_dns;
    int mesh_tls13; /* mutual TLS is 1.3 alone */
    struct addr outbound,
        inbound; /* capture ports, on wildcard and loopback addresses of both families */
    struct addr admin, metrics, health; /* family 0: off */
    uint16_t dns_port;
};

/* What stands on this host. */
struct local_set {
    struct local_service *services; /* gateways too */
    size_t service_count;
    struct local_listener *listeners;
    size_t listener_count;
};

struct agent {
    uint8_t warned[HASH_BYTES]; /* of the warnings that were told last */
    struct loop *loop;
    struct task task;
    struct timer save_timer, check_timer;
    struct watch capture_watch; /* of a plan under way; fd -1: none */
    struct agent_settings settings;
    struct agent_member member;
    struct arena services_arena;
    struct local_set local; /* from services.d, all of it */
    /* "NS/NAME" -> agent: what the server does not let this host offer; and the same of the answer
     * that is under way, in force with agent_registered. */
    struct map refused, refusing;
    struct addr nameservers[8];
    size_t nameserver_count;
    struct self self;      /* services without the refused ones */
    char *identity;        /* of callers that belong to no service; standalone: NULL, a certificate says it */
    struct resources held; /* in force */
    char *epoch;
    uint64_t revision;
    struct map subscriptions;  /* service key -> agent */
    struct catalog catalog;    /* of `held` */
    struct snapshot *snapshot; /* in force, NULL before the first */
    struct proxy *proxy;
    struct tls_files *tls_files;
    struct certs *certs;
    struct link *link;             /* NULL: standalone */
    struct standalone *standalone; /* NULL: a member of a mesh */
    struct capture *capture;
    struct dns_server *dns;
    struct admin *admin;
    struct report *report;
    int access_fd;
    bool is_ready;
    bool is_stopping; /* draining: nothing is redirected any more */
    int64_t started_ms;
};

/* settings.c. Every problem of agent.ini is printed to standard error; err has the first. Standalone
 * (NULL: not), nothing is captured unless the file says so. */
int agent_settings_read(const char *config_dir, const char *state_dir, const char *socket,
                        const char *standalone_dir,
                        struct agent_settings *out, struct err *err);
void agent_settings_done(struct agent_settings *s);
int agent_member_read(const char *state_dir, struct agent_member *out, struct err *err);
int agent_member_write(const char *state_dir, const struct agent_member *m, struct err *err);
void agent_member_done(struct agent_member *m);
/* The nameservers of resolv.conf; none is not an error. */
size_t agent_nameservers(const char *path, struct addr *out, size_t max);

/* services.c: /etc/weft/services.d/NAME.ini -> what stands on this host. All problems at once, with
 * file and line. */
int services_read(const char *config_dir, const struct agent_settings *s, const struct addr *host,
                  struct arena *a, struct local_set *out, struct findings *f);

/* agent.c */
/* What stands here, as the compiler wants it: without what the server refused. In `arena`. */
void agent_build_self(struct agent *a, const struct local_set *local, struct arena *arena);
/* A commit from the server (or the cache): compile and put it into force. Takes `r` over on
 * success. Findings say why not. */
int agent_commit(struct agent *a, struct resources *r, struct str epoch, uint64_t revision,
                 struct findings *f);
void agent_subscribe(struct agent *a, struct str service_key);
/* The server's answer to a registration: each service that it refuses, then that this is all. */
void agent_refused(struct agent *a, struct str ns, struct str service, struct str why);
void agent_registered(struct agent *a);
bool agent_is_refused(const struct agent *a, const struct local_service *s);
void agent_recompile(struct agent *a); /* after a change of own services or credentials */

/* certs.c: one key and SVID per identity; renewal at a sixth of their life. */
struct certs *
certs_new(struct agent *a,
          struct err *err); /* loads what is on disk; ERR_MISSING without a host certificate */
void certs_free(struct certs *c);
struct creds *certs_host(const struct certs *c); /* borrowed */
void certs_want(
    struct certs *c); /* own services changed: ask for what is missing, when the link is up */
/* The members of one in JSON, without braces; `c` may be NULL. */
void certs_print(struct str identity, const struct creds *c, struct buf *out);
/* {"certificates":[{identity, fingerprint, serial, notBefore, notAfter}]} */
void certs_json(const struct certs *c, struct buf *out);
int64_t certs_earliest_ms(const struct certs *c); /* notAfter of the one that ends first */

/* cache.c: state.json, the last good state. */
int cache_load(struct agent *a, struct resources *out, struct str *epoch, uint64_t *revision,
               struct arena *arena, struct err *err); /* ERR_MISSING: there is none */
int cache_save(const struct agent *a, struct err *err);

/* link.c: the session to a server; reconnects for ever with back-off. */
struct link *link_new(struct agent *a, struct err *err);
void link_free(struct link *l);
void link_subscribe(struct link *l, struct str service_key);
void link_register(struct link *l); /* own services changed */
/* Stopping: offer nothing more. What the server then sends is not taken: the state on disk stays
 * that of a host that serves. */
void link_withdraw(struct link *l);
void link_restart(struct link *l); /* a new host certificate: connect anew with it */
bool link_is_up(const struct link *l); /* NULL, as in a standalone agent: no */
const char *link_problem(const struct link *l); /* why it is down; "" while nothing failed */
void link_json(const struct link *l, struct buf *out);
/* One HTTP call to a server with the host certificate (or, `recover`, without). `done` as fetch.h
 * says. */
struct fetch_answer;
struct fetch;
struct fetch *link_call(
    struct link *l, bool with_certificate, const char *method, const char *path, struct str body,
    void (*done)(void *arg, const struct fetch_answer *answer, const struct err *err), void *arg);

/* report.c: to the service manager. */
struct report *report_new(struct agent *a);
void report_free(struct report *r);
void report_soon(struct report *r); /* something changed; also the start of the watchdog */
void report_reloading(struct report *r);
void report_stopping(struct report *r);

/* standalone.c: configuration and certificates from a folder, in the place of link, certs and cache. */
struct standalone *standalone_new(struct agent *a, struct err *err); /* who this is: from the certificates */
int standalone_start(struct standalone *s, struct err *err); /* the first load; then changes are watched */
void standalone_reload(struct standalone *s);
void standalone_free(struct standalone *s);
void standalone_json(const struct standalone *s, struct buf *out); /* for the status page */
const char *standalone_problem(const struct standalone *s); /* of the last reload; "" when it went well */
void standalone_certs_json(const struct standalone *s, struct buf *out);
int64_t standalone_certs_earliest_ms(const struct standalone *s); /* 0: there are none */

/* admin.c: pages on the Unix socket and loopback ports. */
struct admin *admin_new(struct agent *a, struct err *err);
void admin_free(struct admin *x);
