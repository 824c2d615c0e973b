/* The endpoint table of /v1. A row: method, path pattern, who may, function. Patterns hold {name}
 * for one segment. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/server/api.h"
#include "cmd/server/server.h"
#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/text.h"
#include "mesh/sync.h"
#include "pki/creds.h"
#include "pki/key.h"
#include "store/ledger.h"
#include "store/registry.h"
#include "store/revision.h"
#include "store/store.h"

/* ---- tokens ---- */

/* {"uses","ttl","services","from"}, all of them texts or numbers. What is not understood is
 * refused: a token without the limits that were meant opens the mesh. */
static int read_token_wish(struct api_call *c, struct enrol_token *want, struct err *err)
{
    struct node *body;
    int64_t ns;

    if (c->r->body.n == 0)
        return 0;
    if (json_read(c->r->body, &c->arena, &body, err))
        return -1;
    if (body->kind != NODE_MAP)
        return err_set(err, ERR_INVALID, "send a JSON object: uses, ttl, services, from");
    for (const struct node *n = body->first; n; n = n->next) {
        if (n->kind != NODE_STRING && n->kind != NODE_NUMBER)
            return err_set(err, ERR_INVALID, "%.*s must be a text, not %s", STR_ARG(n->key),
                           node_kind_name(n->kind));
        if (str_eq(n->key, STR("services"))) {
            want->services = n->text;
        } else if (str_eq(n->key, STR("from"))) {
            want->from = n->text;
        } else if (str_eq(n->key, STR("uses"))) {
            if (!str_int(n->text, 1, 1000000, &want->uses))
                return err_set(err, ERR_INVALID, "uses must be a number between 1 and 1000000");
        } else if (str_eq(n->key, STR("ttl"))) {
            if (!str_duration(n->text, &ns))
                return err_set(err, ERR_INVALID, "ttl \"%.*s\" is not a duration like 1h or 30m",
                               STR_ARG(n->text));
            want->ttl_ms = ns / 1000000;
        } else {
            return err_set(err, ERR_INVALID,
                           "\"%.*s\" is not known here: uses, ttl, services, from",
                           STR_ARG(n->key));
        }
    }
    return 0;
}

static void post_token(struct api_call *c)
{
    struct enrol_token want = {.uses = 1, .ttl_ms = 3600 * 1000};
    struct ledger_audit audit;
    struct buf join, id, out;
    struct err err;

    buf_init(&join, 4096);
    buf_init(&id, 64);
    buf_init(&out, 8192);
    role_audit(c->server, c->r, "token.create", &c->arena, &audit);
    if (read_token_wish(c, &want, &err) ||
        enrol_token_create(c->server, &want, &audit, &join, &id, &err)) {
        reply_err(c->r, &err);
        goto out;
    }
    buf_adds(&out, "{\"id\":");
    buf_json(&out, buf_str(&id));
    buf_adds(&out, ",\"token\":");
    buf_json(&out, buf_str(&join));
    buf_printf(&out, ",\"uses\":%lld,\"expires\":\"", (long long)want.uses);
    text_time(&out, audit.now_ms + want.ttl_ms, false);
    buf_adds(&out, "\"}");
    reply_json(c->r, 201, &out);
out:
    key_wipe(join.p, join.cap);
    key_wipe(out.p, out.cap);
    buf_done(&join);
    buf_done(&id);
    buf_done(&out);
}

static void write_token(struct api_call *c, struct buf *out, const struct ledger_token *t,
                        int64_t now_ms)
{
    const char *state = t->revoked                ? "revoked"
                        : t->expires_ms <= now_ms ? "expired"
                        : t->uses_left == 0       ? "used"
                                                  : "valid";

    buf_adds(out, "{\"id\":");
    buf_json(out, t->id);
    buf_printf(out, ",\"state\":\"%s\",\"uses\":%lld,\"usesLeft\":%lld,\"expires\":\"", state,
               (long long)t->uses_max, (long long)t->uses_left);
    text_time(out, t->expires_ms, false);
    buf_adds(out, "\",\"creator\":");
    buf_json(out, t->creator);
    buf_adds(out, ",\"services\":[");
    for (size_t i = 0; i < t->grant_count; i++) {
        if (i)
            buf_addc(out, ',');
        buf_json(out, model_service_key(&c->arena, t->grants[i].ns, t->grants[i].service));
    }
    buf_printf(out, "],\"unrestricted\":%s}", t->unrestricted ? "true" : "false");
}

static void get_tokens(struct api_call *c)
{
    struct ledger_token *list;
    size_t count;
    struct err err;
    struct buf out;

    if (ledger_token_list(c->server->store, &c->arena, &list, &count, &err)) {
        reply_err(c->r, &err);
        return;
    }
    buf_init(&out, LIMIT_APPLY_BYTES);
    api_list_begin(c, &out);
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_addc(&out, ',');
        write_token(c, &out, &list[i], loop_wall_ms(c->server->loop));
    }
    api_list_end(c, &out);
    buf_done(&out);
}

static void delete_token(struct api_call *c)
{
    struct ledger_audit audit;
    struct err err;
    struct buf out;

    role_audit(c->server, c->r, "token.revoke", &c->arena, &audit);
    audit.object = c->params[0];
    if (ledger_token_revoke(c->server->store, c->params[0], &audit, &err)) {
        reply_err(c->r, &err);
        return;
    }
    buf_init(&out, 64);
    buf_adds(&out, "{\"revoked\":true}");
    reply_json(c->r, 200, &out);
    buf_done(&out);
}

/* ---- hosts ---- */

static void write_host(struct api_call *c, struct buf *out, const struct registry_host *h)
{
    const struct session *x = session_of(c->server, h->id);
    const struct registry_workload *w;
    size_t n = 0;

    buf_adds(out, "{\"id\":");
    buf_json(out, h->id);
    buf_adds(out, ",\"name\":");
    buf_json(out, h->name);
    buf_adds(out, ",\"address\":");
    buf_json(out, h->address);
    buf_printf(out, ",\"state\":\"%s\",\"joined\":\"", registry_state_name(h->state));
    text_time(out, h->created_ms, false);
    buf_adds(out, "\",");
    if (x)
        session_json(x, out);
    else
        buf_adds(out, "\"connected\":false");
    buf_adds(out, ",\"services\":[");
    for (size_t i = 0; (w = registry_workload_each(c->server->registry, &i));) {
        if (!str_eq(w->host, h->id))
            continue;
        if (n++)
            buf_addc(out, ',');
        buf_json(out, arena_printf(&c->arena, "%.*s/%.*s", STR_ARG(w->ns), STR_ARG(w->service)));
    }
    buf_adds(out, "]}");
}

static void get_hosts(struct api_call *c)
{
    const struct registry_host *h;
    struct buf out;
    size_t n = 0;

    buf_init(&out, LIMIT_APPLY_BYTES);
    api_list_begin(c, &out);
    for (size_t i = 0; (h = registry_host_each(c->server->registry, &i));) {
        if (n++)
            buf_addc(&out, ',');
        write_host(c, &out, h);
    }
    api_list_end(c, &out);
    buf_done(&out);
}

static const struct registry_host *find_host(struct api_call *c)
{
    const struct registry_host *h = registry_host(c->server->registry, c->params[0]);

    if (!h)
        h = registry_host_named(c->server->registry, c->params[0]);
    if (!h)
        reply_problem(c->r, 404, "Not Found", "no host of that name or id (weft get hosts)");
    return h;
}

static void get_host(struct api_call *c)
{
    const struct registry_host *h = find_host(c);
    struct buf out;

    if (!h)
        return;
    buf_init(&out, LIMIT_API_BODY_BYTES);
    write_host(c, &out, h);
    reply_json(c->r, 200, &out);
    buf_done(&out);
}

static void post_eject(struct api_call *c)
{
    const struct registry_host *h = find_host(c);
    struct ledger_audit audit;
    struct str id;
    struct err err;
    struct buf out;

    if (!h)
        return;
    id = arena_str(&c->arena, h->id);
    role_audit(c->server, c->r, "host.eject", &c->arena, &audit);
    audit.object = id;
    if (ledger_eject(c->server->store, id, STR("ejected by an operator"), &audit, &err)) {
        reply_err(c->r, &err);
        return;
    }
    session_eject(c->server, id, "ejected by an operator");
    publish_soon(c->server->publish);
    buf_init(&out, 64);
    buf_adds(&out, "{\"ejected\":true}");
    reply_json(c->r, 200, &out);
    buf_done(&out);
}

/* ---- what the mesh looks like ---- */

static void get_services(struct api_call *c)
{
    const struct catalog *all = publish_catalog(c->server->publish);
    struct buf out;

    buf_init(&out, LIMIT_APPLY_BYTES);
    api_list_begin(c, &out);
    for (size_t i = 0; i < all->service_count; i++) {
        if (i)
            buf_addc(&out, ',');
        catalog_write_service(all->services[i], &out);
    }
    api_list_end(c, &out);
    buf_done(&out);
}

static void get_endpoints(struct api_call *c)
{
    const struct catalog *all = publish_catalog(c->server->publish);
    struct buf out;

    buf_init(&out, LIMIT_APPLY_BYTES);
    api_list_begin(c, &out);
    for (size_t i = 0; i < all->service_count; i++) {
        const struct service *s = all->services[i];

        buf_adds(&out, i ? ",{\"service\":" : "{\"service\":");
        buf_json(&out, s->key);
        buf_adds(&out, ",\"endpoints\":");
        catalog_write_endpoints(s->workloads, s->workload_count, &out);
        buf_addc(&out, '}');
    }
    api_list_end(c, &out);
    buf_done(&out);
}

static void get_certificates(struct api_call *c)
{
    struct ledger_certificate *list;
    size_t count;
    struct err err;
    struct buf out;

    if (ledger_certificate_list(c->server->store, STR_NONE, STR_NONE, 5000, &c->arena, &list,
                                &count, &err)) {
        reply_err(c->r, &err);
        return;
    }
    buf_init(&out, LIMIT_APPLY_BYTES);
    api_list_begin(c, &out);
    for (size_t i = 0; i < count; i++) {
        buf_adds(&out, i ? ",{\"serial\":" : "{\"serial\":");
        buf_json(&out, list[i].serial);
        buf_adds(&out, ",\"identity\":");
        buf_json(&out, list[i].identity);
        buf_adds(&out, ",\"host\":");
        buf_json(&out, list[i].host);
        buf_adds(&out, ",\"notAfter\":\"");
        text_time(&out, list[i].not_after_ms, false);
        buf_adds(&out, "\"}");
    }
    api_list_end(c, &out);
    buf_done(&out);
}

static void get_audit(struct api_call *c)
{
    struct ledger_row *rows;
    size_t count;
    struct err err;
    struct buf out;

    if (ledger_audit_list(c->server->store, 0, 500, &c->arena, &rows, &count, &err)) {
        reply_err(c->r, &err);
        return;
    }
    buf_init(&out, LIMIT_APPLY_BYTES);
    api_list_begin(c, &out);
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_addc(&out, ',');
        buf_add(&out, rows[i].json);
    }
    api_list_end(c, &out);
    buf_done(&out);
}

static void get_revisions(struct api_call *c)
{
    struct revision_entry *list;
    size_t count;
    struct err err;
    struct buf out;

    if (revision_history(c->server->revisions, 0, 500, &c->arena, &list, &count, &err)) {
        reply_err(c->r, &err);
        return;
    }
    buf_init(&out, LIMIT_APPLY_BYTES);
    api_list_begin(c, &out);
    for (size_t i = 0; i < count; i++) {
        buf_printf(&out, "%s{\"revision\":%lld,\"at\":\"", i ? "," : "",
                   (long long)list[i].revision);
        text_time(&out, list[i].at_ms, false);
        buf_adds(&out, "\",\"who\":");
        buf_json(&out, list[i].who);
        buf_adds(&out, ",\"message\":");
        buf_json(&out, list[i].message);
        buf_printf(&out, ",\"created\":%zu,\"changed\":%zu,\"deleted\":%zu,\"objects\":%zu}",
                   list[i].created, list[i].changed, list[i].deleted, list[i].objects);
    }
    api_list_end(c, &out);
    buf_done(&out);
}

/* ---- state of the server ---- */

static void get_status(struct api_call *c)
{
    struct server *s = c->server;
    const struct registry_host *h;
    size_t hosts = 0, behind = 0, n = 0;
    struct buf out;

    buf_init(&out, LIMIT_APPLY_BYTES);
    buf_adds(&out, "{\"server\":");
    buf_json(&out, str_from(s->name));
    buf_printf(&out, ",\"version\":\"%s\",\"revision\":%lld,\"epoch\":\"%s\",\"trustDomain\":",
               WEFT_VERSION, (long long)revision_current(s->revisions), store_epoch(s->store));
    buf_json(&out, str_from(s->settings.trust_domain));
    buf_printf(&out,
               ",\"services\":%zu,\"objects\":%zu,\"connected\":%zu,\"certificateNotAfter\":\"",
               publish_catalog(s->publish)->service_count,
               revision_head(s->revisions)->objects.count, s->session_count);
    text_time(&out, creds_not_after_ms(s->creds), false);
    buf_adds(&out, "\",\"hosts\":[");
    for (size_t i = 0; (h = registry_host_each(s->registry, &i));) {
        const struct session *x = session_of(s, h->id);

        if (n++)
            buf_addc(&out, ',');
        write_host(c, &out, h);
        hosts++;
        behind += h->state == REGISTRY_ACTIVE && !x;
    }
    buf_printf(&out, "],\"hostCount\":%zu,\"hostsAway\":%zu}", hosts, behind);
    reply_json(c->r, 200, &out);
    buf_done(&out);
}

static void get_health(struct api_call *c)
{
    serve_answer(c->r, 200, "text/plain", STR("ok\n"));
}

static void get_metrics(struct api_call *c)
{
    const struct server *s = c->server;
    struct buf out;

    buf_init(&out, LIMIT_API_BODY_BYTES);
    buf_printf(&out, "# TYPE istio_build gauge\nistio_build{component=\"pilot\",tag=\"%s\"} 1\n",
               WEFT_VERSION);
    buf_printf(&out, "# TYPE pilot_info gauge\npilot_info{version=\"%s\"} 1\n", WEFT_VERSION);
    buf_printf(&out, "# TYPE istiod_uptime_seconds gauge\nistiod_uptime_seconds %lld\n",
               (long long)((loop_now_ms(s->loop) - s->started_ms) / 1000));
    buf_printf(&out, "# TYPE pilot_xds gauge\npilot_xds{version=\"%s\"} %zu\n", WEFT_VERSION,
               s->session_count);
    buf_printf(&out, "# TYPE pilot_xds_pushes counter\npilot_xds_pushes{type=\"weft\"} %llu\n",
               (unsigned long long)s->counters.pushes);
    buf_printf(
        &out,
        "# TYPE pilot_total_xds_rejects counter\npilot_total_xds_rejects{type=\"weft\"} %llu\n",
        (unsigned long long)s->counters.nacks);
    buf_printf(&out, "# TYPE pilot_services gauge\npilot_services %zu\n",
               publish_catalog(s->publish)->service_count);
    buf_printf(&out, "# TYPE galley_validation_passed counter\ngalley_validation_passed %llu\n",
               (unsigned long long)s->counters.applies);
    buf_printf(&out, "# TYPE galley_validation_failed counter\ngalley_validation_failed %llu\n",
               (unsigned long long)s->counters.applies_refused);
    buf_printf(&out,
               "# TYPE citadel_server_success_cert_issuance_count counter\n"
               "citadel_server_success_cert_issuance_count %llu\n",
               (unsigned long long)s->counters.certificates);
    buf_printf(&out,
               "# TYPE weft_joins_total counter\nweft_joins_total{result=\"joined\"} %llu\n"
               "weft_joins_total{result=\"refused\"} %llu\n",
               (unsigned long long)s->counters.joins,
               (unsigned long long)s->counters.joins_refused);
    buf_printf(&out, "# TYPE weft_revision gauge\nweft_revision %lld\n",
               (long long)revision_current(s->revisions));
    serve_answer(c->r, 200, "text/plain; version=0.0.4", buf_str(&out));
    buf_done(&out);
}

/* ---- agents ---- */

static void post_join(struct api_call *c)
{
    enrol_join(c->server, c->r);
}

static void post_recover(struct api_call *c)
{
    enrol_recover(c->server, c->r);
}

static void post_certificates(struct api_call *c)
{
    enrol_certificates(c->server, c->r, c->host_id);
}

static void get_stream(struct api_call *c)
{
    session_start(c->server, c->r, c->host_id);
}

/* ---- the table ---- */

#define ANYONE BIT(ROLE_NONE) | BIT(ROLE_VIEW) | BIT(ROLE_ADMIN) | BIT(ROLE_AGENT)
#define VIEW   BIT(ROLE_VIEW) | BIT(ROLE_ADMIN)
#define ADMIN  BIT(ROLE_ADMIN)
#define AGENT  BIT(ROLE_AGENT)

static const struct {
    const char *method, *path;
    unsigned roles;
    void (*run)(struct api_call *c);
    const char *const *query; /* parameters that it knows, NULL-ended; NULL: none */
} endpoints[] = {
    {"POST",   "/v1/apply",                         ADMIN,  api_apply,         api_apply_query},
    {"POST",   "/v1/tokens",                        ADMIN,  post_token,        NULL           },
    {"GET",    "/v1/tokens",                        VIEW,   get_tokens,        NULL           },
    {"DELETE", "/v1/tokens/{id}",                   ADMIN,  delete_token,      NULL           },
    {"GET",    "/v1/hosts",                         VIEW,   get_hosts,         NULL           },
    {"GET",    "/v1/hosts/{host}",                  VIEW,   get_host,          NULL           },
    {"POST",   "/v1/hosts/{host}/eject",            ADMIN,  post_eject,        NULL           },
    {"GET",    "/v1/services",                      VIEW,   get_services,      NULL           },
    {"GET",    "/v1/endpoints",                     VIEW,   get_endpoints,     NULL           },
    {"GET",    "/v1/certificates",                  VIEW,   get_certificates,  NULL           },
    {"GET",    "/v1/audit",                         VIEW,   get_audit,         NULL           },
    {"GET",    "/v1/revisions",                     VIEW,   get_revisions,     NULL           },
    {"GET",    "/v1/status",                        VIEW,   get_status,        NULL           },
    {"GET",    "/v1/watch",                         VIEW,   api_watch,         api_watch_query},
    {"POST",   "/v1/join",                          ANYONE, post_join,         NULL           },
    {"POST",   "/v1/agent/recover",                 ANYONE, post_recover,      NULL           },
    {"POST",   "/v1/agent/certificates",            AGENT,  post_certificates, NULL           },
    {"GET",    "/v1/agent/stream",                  AGENT,  get_stream,        NULL           },
    {"GET",    "/healthz",                          ANYONE, get_health,        NULL           },
    {"GET",    "/readyz",                           ANYONE, get_health,        NULL           },
    {"GET",    "/metrics",                          VIEW,   get_metrics,       NULL           },
    {"GET",    "/v1/namespaces/{ns}/{kind}/{name}", VIEW,   api_get,           NULL           },
    {"PUT",    "/v1/namespaces/{ns}/{kind}/{name}", ADMIN,  api_put,           api_put_query  },
    {"DELETE", "/v1/namespaces/{ns}/{kind}/{name}", ADMIN,  api_delete,        NULL           },
    {"GET",    "/v1/{kind}",                        VIEW,   api_list,          api_list_query },
};

/* Does the path fit the pattern? Segments in braces go to params. */
static bool path_matches(struct str pattern, struct str path, struct api_call *c)
{
    struct str want, have;

    c->param_count = 0;
    pattern = str_sub(pattern, 1, pattern.n);
    if (!str_starts(path, STR("/")))
        return false;
    path = str_sub(path, 1, path.n);
    while (str_next(&pattern, '/', &want)) {
        if (!str_next(&path, '/', &have) || have.n == 0)
            return false;
        if (want.p[0] == '{')
            c->params[c->param_count++] = have;
        else if (!str_eq(want, have))
            return false;
    }
    return path.n == 0;
}

static void refuse_path(struct serve_request *r, const struct buf *allowed)
{
    if (allowed->n) {
        serve_header(r, "allow", buf_str(allowed));
        reply_problem(r, 405, "Method Not Allowed", "this path is known, but not with this method");
    } else {
        reply_problem(r, 404, "Not Found", "no such path");
    }
}

static void refuse_role(struct serve_request *r)
{
    unsigned status = r->uid < 0 && r->peer_uri.n == 0 ? 401 : 403;

    reply_problem(r, status, http_reason(status),
                  r->uid < 0 ? "this needs another identity than the one shown"
                             : "only root and members of the group weft-admin (to read: weft-view) "
                               "may do this");
}

static bool decode_params(struct api_call *c)
{
    for (size_t i = 0; i < c->param_count; i++) {
        if (!reply_segment(&c->arena, c->params[i], &c->params[i])) {
            reply_problem(c->r, 404, "Not Found", "nothing has a name like the one in this path");
            return false;
        }
    }
    return true;
}

/* HEAD is GET whose body the codec leaves out. */
static bool method_fits(const char *want, struct str have)
{
    return str_eq(have, str_from(want)) || (str_eq(have, STR("HEAD")) && strcmp(want, "GET") == 0);
}

void api_handle(struct serve_request *r)
{
    static const char *const none[] = {NULL};
    struct server *s = r->owner;
    struct api_call c = {.server = s, .r = r};
    enum role role = role_of(r, str_from(s->settings.trust_domain), &c.host_id);
    struct buf allowed;

    buf_init(&allowed, 64);
    for (size_t i = 0; i < COUNT(endpoints); i++) {
        if (!path_matches(str_from(endpoints[i].path), r->path, &c))
            continue;
        if (!method_fits(endpoints[i].method, r->method)) {
            buf_printf(&allowed, "%s%s", allowed.n ? ", " : "", endpoints[i].method);
            continue;
        }
        buf_done(&allowed);
        if (!(endpoints[i].roles & BIT(role))) {
            refuse_role(r);
            return;
        }
        if (reply_unknown_query(r, endpoints[i].query ? endpoints[i].query : none))
            return;
        arena_init(&c.arena);
        if (decode_params(&c))
            endpoints[i].run(&c);
        arena_done(&c.arena);
        return;
    }
    refuse_path(r, &allowed);
    buf_done(&allowed);
}

void api_body_limit(const struct serve_request *r, size_t *max)
{
    const struct server *s = r->owner;
    struct str host_id;
    enum role role = role_of(r, str_from(s->settings.trust_domain), &host_id);

    if (role == ROLE_ADMIN && str_eq(r->path, STR("/v1/apply")))
        *max = LIMIT_APPLY_BYTES;
    else if (role != ROLE_NONE)
        *max = LIMIT_API_BODY_BYTES;
}

void api_list_begin(const struct api_call *c, struct buf *out)
{
    buf_printf(out, "{\"kind\":\"List\",\"revision\":%lld,\"items\":[",
               (long long)revision_current(c->server->revisions));
}

void api_list_end(struct api_call *c, struct buf *out)
{
    buf_adds(out, "]}");
    reply_json(c->r, 200, out);
}
