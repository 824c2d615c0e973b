/* The agent's pages: on its Unix socket, on loopback (15000: everything; 15020: metrics and health)
 * and for load balancers (15021: health alone). Nothing here changes state but the log level.
 * Secrets are shown as fingerprints. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cmd/agent/agent.h"
#include "cmd/agent/dns.h"
#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "mesh/snapshot.h"
#include "proxy/proxy.h"
#include "proxy/wire/serve.h"

enum { FACE_SOCKET, FACE_ADMIN, FACE_METRICS, FACE_HEALTH, FACES };

struct face {
    struct agent *agent;
    unsigned bit;
    struct serve *serve;
};

struct admin {
    struct face faces[FACES];
};

/* ---- pages ---- */

static void answer_json(struct serve_request *r, struct buf *b)
{
    buf_addc(b, '\n');
    serve_answer(r, 200, "application/json", buf_str(b));
}

static void page_health(struct agent *a, struct serve_request *r)
{
    (void)a; /* answering at all is the proof */
    serve_answer(r, 200, "text/plain", STR("ok\n"));
}

static void page_ready(struct agent *a, struct serve_request *r)
{
    if (a->is_ready)
        serve_answer(r, 200, "text/plain", STR("ready\n"));
    else
        serve_answer(r, 503, "text/plain", STR("no configuration yet\n"));
}

static void write_dns_metrics(const struct agent *a, struct buf *b)
{
    struct dns_stats s = {0};

    if (!a->dns)
        return;
    dns_server_stats(a->dns, &s);
    buf_printf(
        b, "# TYPE istio_agent_dns_requests_total counter\nistio_agent_dns_requests_total %llu\n",
        (unsigned long long)(s.answered + s.forwarded + s.failed));
    buf_printf(b,
               "# TYPE istio_agent_dns_upstream_requests_total "
               "counter\nistio_agent_dns_upstream_requests_total %llu\n",
               (unsigned long long)s.forwarded);
    buf_printf(b,
               "# TYPE istio_agent_dns_upstream_failures_total "
               "counter\nistio_agent_dns_upstream_failures_total %llu\n",
               (unsigned long long)s.failed);
}

static int64_t earliest_end_ms(const struct agent *a)
{
    return a->standalone ? standalone_certs_earliest_ms(a->standalone) : certs_earliest_ms(a->certs);
}

static void page_metrics(struct agent *a, struct serve_request *r)
{
    struct buf b;

    buf_init(&b, LIMIT_APPLY_BYTES);
    proxy_metrics(a->proxy, &b);
    write_dns_metrics(a, &b);
    buf_printf(&b, "# TYPE weft_revision gauge\nweft_revision %llu\n",
               (unsigned long long)a->revision);
    buf_printf(&b, "# TYPE weft_control_plane_connected gauge\nweft_control_plane_connected %d\n",
               link_is_up(a->link));
    buf_printf(
        &b, "# TYPE weft_certificate_expiry_seconds gauge\nweft_certificate_expiry_seconds %lld\n",
        (long long)((earliest_end_ms(a) - loop_wall_ms(a->loop)) / 1000));
    buf_printf(&b, "# TYPE weft_capture_state gauge\nweft_capture_state{backend=\"%s\"} %d\n",
               a->capture ? capture_backend(a->capture) : "off",
               a->capture && capture_state(a->capture) != CAPTURE_REFUSED);
    serve_answer(r, 200, "text/plain; version=0.0.4", buf_str(&b));
    buf_done(&b);
}

static void page_dump(struct agent *a, struct serve_request *r)
{
    struct buf b;

    buf_init(&b, LIMIT_APPLY_BYTES);
    if (a->snapshot)
        snapshot_dump(a->snapshot, &b);
    else
        buf_adds(&b, "{}");
    answer_json(r, &b);
    buf_done(&b);
}

static void page_clusters(struct agent *a, struct serve_request *r)
{
    struct buf b;

    buf_init(&b, LIMIT_APPLY_BYTES);
    proxy_clusters(a->proxy, &b);
    answer_json(r, &b);
    buf_done(&b);
}

static void page_certs(struct agent *a, struct serve_request *r)
{
    struct buf b;

    buf_init(&b, LIMIT_APPLY_BYTES);
    if (a->standalone)
        standalone_certs_json(a->standalone, &b);
    else
        certs_json(a->certs, &b);
    answer_json(r, &b);
    buf_done(&b);
}

static void page_status(struct agent *a, struct serve_request *r)
{
    const struct map_entry *e;
    struct buf b;
    size_t n = 0;

    buf_init(&b, LIMIT_APPLY_BYTES);
    buf_printf(&b, "{\"version\":\"%s\",\"host\":", WEFT_VERSION);
    buf_json(&b, str_from(a->member.name));
    buf_adds(&b, ",\"id\":");
    buf_json(&b, str_from(a->member.host_id));
    buf_adds(&b, ",\"trustDomain\":");
    buf_json(&b, str_from(a->member.trust_domain));
    buf_printf(&b,
               ",\"mode\":\"%s\",\"ready\":%s,\"revision\":%llu,\"capture\":%s,"
               "\"captureBackend\":\"%s\",\"dns\":%s,\"%s\":",
               a->standalone ? "standalone" : "member", a->is_ready ? "true" : "false",
               (unsigned long long)a->revision, a->capture ? "true" : "false",
               a->capture ? capture_backend(a->capture) : "off", a->dns ? "true" : "false",
               a->standalone ? "standalone" : "link");
    if (a->standalone)
        standalone_json(a->standalone, &b);
    else
        link_json(a->link, &b);
    buf_adds(&b, ",\"certificateNotAfter\":\"");
    text_time(&b, earliest_end_ms(a), false);
    buf_adds(&b, "\",\"services\":[");
    for (size_t i = 0; i < a->local.service_count; i++) {
        const struct local_service *s = &a->local.services[i];

        if (i)
            buf_addc(&b, ',');
        buf_printf(
            &b,
            "{\"namespace\":\"%.*s\",\"name\":\"%.*s\",\"port\":%u,\"gateway\":%s,\"refused\":%s}",
            STR_ARG(s->ns), STR_ARG(s->name), s->port, s->is_gateway ? "true" : "false",
            agent_is_refused(a, s) ? "true" : "false");
    }
    buf_adds(&b, "],\"subscriptions\":[");
    for (size_t i = 0; (e = map_each(&a->subscriptions, &i));) {
        if (n++)
            buf_addc(&b, ',');
        buf_json(&b, e->key);
    }
    buf_adds(&b, "]}");
    answer_json(r, &b);
    buf_done(&b);
}

static void page_logging(struct agent *a, struct serve_request *r)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    struct str query = r->query, key;
    enum log_level level;
    struct buf b;

    (void)a; /* the level is the process's */
    if (query.n && (!str_cut(&query, '=', &key) || !str_eq(key, STR("level")) ||
                    !log_level_parse(query, &level))) {
        serve_answer(r, 400, "text/plain", STR("write ?level=error, warn, info or debug\n"));
        return;
    }
    if (query.n && (!str_eq(r->method, STR("POST")) || r->uid < 0)) {
        /* A web page may POST to a loopback port, and any user of this host may. */
        serve_answer(r, r->uid < 0 ? 403 : 405, "text/plain",
                     STR("changing the level needs POST on the agent's socket\n"));
        return;
    }
    if (query.n)
        log_level = level;
    buf_init(&b, 64);
    buf_printf(&b, "level: %s\n", names[log_level]);
    serve_answer(r, 200, "text/plain", buf_str(&b));
    buf_done(&b);
}

static void page_index(struct agent *a, struct serve_request *r);

#define ON(face) BIT(FACE_##face)

static const struct {
    const char *path;
    unsigned faces;
    void (*run)(struct agent *a, struct serve_request *r);
    const char *what;
} pages[] = {
    {"/",                 ON(SOCKET) | ON(ADMIN),                            page_index,    "this list"                              },
    {"/healthz",          ON(SOCKET) | ON(ADMIN) | ON(METRICS) | ON(HEALTH), page_health,
     "the process lives"                                                                                                             },
    {"/readyz",           ON(SOCKET) | ON(ADMIN) | ON(METRICS) | ON(HEALTH), page_ready,
     "it has configuration and serves"                                                                                               },
    {"/healthz/ready",    ON(SOCKET) | ON(ADMIN) | ON(METRICS) | ON(HEALTH), page_ready,
     "the same, by Istio's name"                                                                                                     },
    {"/metrics",          ON(SOCKET) | ON(ADMIN) | ON(METRICS),              page_metrics,  "Prometheus text"                        },
    {"/stats/prometheus", ON(SOCKET) | ON(ADMIN) | ON(METRICS),              page_metrics,
     "the same, by Istio's name"                                                                                                     },
    {"/status",           ON(SOCKET) | ON(ADMIN),                            page_status,   "link, revision, services, subscriptions"},
    {"/config_dump",      ON(SOCKET) | ON(ADMIN),                            page_dump,     "the snapshot in force"                  },
    {"/clusters",         ON(SOCKET) | ON(ADMIN),                            page_clusters, "clusters, endpoints and their counters" },
    {"/certs",            ON(SOCKET) | ON(ADMIN),                            page_certs,    "certificates by fingerprint"            },
    {"/logging",          ON(SOCKET) | ON(ADMIN),                            page_logging,
     "log level; on the socket POST ?level=debug changes it"                                                                         },
};

static void page_index(struct agent *a, struct serve_request *r)
{
    struct buf b;

    (void)a;
    buf_init(&b, 4096);
    for (size_t i = 0; i < COUNT(pages); i++)
        buf_printf(&b, "%-20s %s\n", pages[i].path, pages[i].what);
    serve_answer(r, 200, "text/plain", buf_str(&b));
    buf_done(&b);
}

/* A page of another site must not read these through a name that points to 127.0.0.1: only IP
 * addresses and localhost. */
static bool host_is_local(const struct serve_request *r)
{
    struct str host = http_host_only(r->head->authority);
    struct addr ip;

    if (str_starts(host, STR("[")) && host.n > 2)
        host = str_sub(host, 1, host.n - 2);
    return r->uid >= 0 || host.n == 0 || str_eq_nocase(host, STR("localhost")) ||
           addr_parse_ip(host, &ip);
}

static void handle(struct serve_request *r)
{
    struct face *f = r->owner;

    if (f->bit != ON(HEALTH) && !host_is_local(r)) {
        serve_answer(r, 403, "text/plain", STR("ask by IP address or as localhost\n"));
        return;
    }
    for (size_t i = 0; i < COUNT(pages); i++) {
        if (!(pages[i].faces & f->bit) || !str_eq(r->path, str_from(pages[i].path)))
            continue;
        if (!str_eq(r->method, STR("GET")) && !str_eq(r->method, STR("HEAD")) &&
            !str_eq(r->method, STR("POST"))) {
            serve_answer(r, 405, "text/plain", STR("only GET\n"));
            return;
        }
        pages[i].run(f->agent, r);
        return;
    }
    serve_answer(r, 404, "text/plain", STR("no such page; / lists them\n"));
}

/* ---- assembly ---- */

static int open_face(struct admin *x, struct agent *a, int which, int fd, struct err *err)
{
    struct serve_options o = {.handle = handle,
                              .owner = &x->faces[which],
                              .body_max = LIMIT_API_BODY_BYTES,
                              .connections_max = 256,
                              .server_name = "weft"};

    if (fd < 0)
        return -1;
    x->faces[which].agent = a;
    x->faces[which].bit = BIT((unsigned)which);
    x->faces[which].serve = serve_new(a->loop, fd, &o, err);
    return x->faces[which].serve ? 0 : -1;
}

/* Unless it is off. */
static int open_port(struct admin *x, struct agent *a, int which, const struct addr *at, struct err *err)
{
    return at->family ? open_face(x, a, which, serve_listen_tcp(at, err), err) : 0;
}

struct admin *admin_new(struct agent *a, struct err *err)
{
    struct admin *x = mem_zalloc(sizeof(*x));

    if (open_face(x, a, FACE_SOCKET, serve_listen_unix(a->settings.socket_path, 0660, err), err) ==
            0 &&
        open_port(x, a, FACE_ADMIN, &a->settings.admin, err) == 0 &&
        open_port(x, a, FACE_METRICS, &a->settings.metrics, err) == 0 &&
        open_port(x, a, FACE_HEALTH, &a->settings.health, err) == 0)
        return x;
    admin_free(x);
    return NULL;
}

void admin_free(struct admin *x)
{
    if (!x)
        return;
    for (size_t i = 0; i < FACES; i++)
        serve_free(x->faces[i].serve);
    mem_free(x);
}
