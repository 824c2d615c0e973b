#include "proxy/edit.h"

#include <string.h>

#include "mesh/base/limits.h"
#include "mesh/header_format.h"
#include "mesh/time_form.h"
#include "proxy/exchange.h"

/* ---- values ---- */

static void put_addr(struct buf *b, const struct addr *a, bool with_port)
{
    char text[ADDR_TEXT_MAX];

    if (a->family && with_port)
        buf_adds(b, addr_format(a, text));
    else if (a->family)
        buf_adds(b, addr_format_ip(a, text));
}

static void put_field(struct buf *b, const struct http_head *h, const struct header_piece *p)
{
    struct str value = STR_NONE;

    if (!h)
        return;
    if (!http_field_get(h, p->name, &value) && p->other.n)
        (void)http_field_get(h, p->other, &value); /* absent is empty */
    if (p->variable == HEADER_REQ_WITHOUT_QUERY)
        value = http_path_only(value);
    buf_add(b, value);
}

static void put_port(struct buf *b, const struct addr *a)
{
    if (a->family)
        buf_printf(b, "%u", a->port);
}

static const struct addr *upstream_remote(const struct exchange *x)
{
    return x->attempt ? &x->attempt->host : &x->upstream_host;
}

static const struct addr *upstream_local(const struct exchange *x)
{
    return x->attempt ? &x->attempt->local : &x->upstream_local;
}

static void put_flags(struct buf *b, const struct exchange *x)
{
    char text[RESPONSE_FLAGS_TEXT];

    buf_adds(b, response_flags_format(outcome_flag(x->outcome) | x->flags, text));
}

/* The request as it is now: as it goes to the endpoint, or as it came where it goes nowhere. */
static const struct http_head *request_now(const struct exchange *x)
{
    return x->request.arena ? &x->request : &x->down->in_head;
}

/* `response` is NULL while the request is edited. */
static void put_piece(struct exchange *x, const struct http_head *response,
                      const struct header_piece *p, struct buf *b)
{
    const struct conn *c = x->conn;

    switch (p->variable) {
    case HEADER_LITERAL:
        buf_add(b, p->text);
        break;
    case HEADER_DOWNSTREAM_REMOTE_ADDRESS:
    case HEADER_DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT:
        put_addr(b, &c->remote, p->variable == HEADER_DOWNSTREAM_REMOTE_ADDRESS);
        break;
    case HEADER_DOWNSTREAM_REMOTE_PORT:
        put_port(b, &c->remote);
        break;
    case HEADER_DOWNSTREAM_LOCAL_ADDRESS:
    case HEADER_DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT:
        put_addr(b, &c->original, p->variable == HEADER_DOWNSTREAM_LOCAL_ADDRESS);
        break;
    case HEADER_DOWNSTREAM_LOCAL_PORT:
        put_port(b, &c->original);
        break;
    case HEADER_DOWNSTREAM_PEER_URI_SAN:
        buf_add(b, c->peer_uri);
        break;
    case HEADER_REQUESTED_SERVER_NAME:
        buf_adds(b, c->sni);
        break;
    case HEADER_PROTOCOL:
        buf_add(b, http_version(&x->down->in_head));
        break;
    case HEADER_HOSTNAME:
        buf_add(b, x->snap->root->node);
        break;
    case HEADER_ROUTE_NAME:
        buf_add(b, x->route->name);
        break;
    case HEADER_UPSTREAM_CLUSTER:
        buf_add(b, x->cluster ? x->cluster->name : STR_NONE);
        break;
    case HEADER_UPSTREAM_REMOTE_ADDRESS:
    case HEADER_UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT:
        put_addr(b, upstream_remote(x), p->variable == HEADER_UPSTREAM_REMOTE_ADDRESS);
        break;
    case HEADER_UPSTREAM_REMOTE_PORT:
        put_port(b, upstream_remote(x));
        break;
    case HEADER_UPSTREAM_LOCAL_ADDRESS:
    case HEADER_UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT:
        put_addr(b, upstream_local(x), p->variable == HEADER_UPSTREAM_LOCAL_ADDRESS);
        break;
    case HEADER_UPSTREAM_LOCAL_PORT:
        put_port(b, upstream_local(x));
        break;
    case HEADER_UPSTREAM_TRANSPORT_FAILURE_REASON:
        buf_adds(b, x->failure);
        break;
    case HEADER_UPSTREAM_REQUEST_ATTEMPT_COUNT:
        buf_printf(b, "%u", x->tries);
        break;
    case HEADER_START_TIME:
        time_form_put(b, x->started_wall_ms, p->name);
        break;
    case HEADER_RESPONSE_CODE:
        buf_printf(b, "%u", response ? response->status : 0);
        break;
    case HEADER_RESPONSE_CODE_DETAILS:
        if (response)
            buf_adds(b, exchange_details(x));
        break;
    case HEADER_RESPONSE_FLAGS:
        put_flags(b, x);
        break;
    case HEADER_REQ:
    case HEADER_REQ_WITHOUT_QUERY:
        put_field(b, request_now(x), p);
        break;
    case HEADER_RESP:
        put_field(b, response, p);
        break;
    }
}

/* The value as it goes out; empty: no edit. Nearly all hold no variable. */
static struct str value_of(struct exchange *x, const struct http_head *response, const struct header_format *f)
{
    struct str out = STR_NONE;
    struct buf b;

    if (f->count == 0)
        return f->text;
    buf_init(&b, LIMIT_HEAD_BYTES);
    for (size_t i = 0; i < f->count; i++)
        put_piece(x, response, &f->pieces[i], &b);
    if (!b.failed)
        out = arena_str(&x->arena, buf_str(&b));
    buf_done(&b);
    return out;
}

/* ---- edits ---- */

static struct str *values_of(struct exchange *x, const struct http_head *response, const struct header_edit *e,
                             size_t count)
{
    struct str *values = arena_alloc(&x->arena, (count + 1) * sizeof(*values));

    for (size_t i = 0; i < count; i++)
        values[i] = value_of(x, response, &e[i].value);
    return values;
}

/* No value sees what is set beside it. */
static void edit(struct exchange *x, const struct header_edits *e, bool is_response, struct http_head *h)
{
    const struct http_head *response = is_response ? h : NULL;
    struct str *set, *add;

    for (size_t i = 0; i < e->remove_count; i++)
        http_remove(h, e->remove[i]);
    if (e->set_count + e->add_count == 0)
        return;
    set = values_of(x, response, e->set, e->set_count);
    add = values_of(x, response, e->add, e->add_count);
    for (size_t i = 0; i < e->set_count; i++) {
        if (set[i].n)
            http_set(h, e->set[i].name, set[i]);
    }
    for (size_t i = 0; i < e->add_count; i++) {
        if (add[i].n)
            http_add(h, e->add[i].name, add[i]);
    }
}

void edit_response(struct exchange *x, struct http_head *h)
{
    if (x->target)
        edit(x, &x->target->response, true, h);
    edit(x, &x->route->response, true, h);
}

/* ---- paths ---- */

static bool put_path(struct buf *b, enum path_rewrite kind, struct str path, size_t prefix_bytes,
                     const struct regex *regex, struct str old)
{
    struct str only = http_path_only(old);

    switch (kind) {
    case PATH_KEEP:
        buf_add(b, only);
        break;
    case PATH_WHOLE:
        buf_add(b, path);
        break;
    case PATH_PREFIX:
        buf_add(b, path);
        buf_add(b, str_sub(only, prefix_bytes, only.n));
        break;
    case PATH_REGEX:
        if (!regex || regex_replace(regex, only, path, b) == MATCH_FAILED)
            return false;
        break;
    }
    return !b->failed;
}

static enum outcome rewrite_path(struct exchange *x, const struct route_rewrite *r)
{
    struct str old = x->request.path, query = str_sub(old, http_path_only(old).n, old.n);
    enum outcome why = OUTCOME_NONE;
    struct buf b;

    if (r->kind == PATH_KEEP)
        return OUTCOME_NONE;
    buf_init(&b, LIMIT_HEAD_BYTES);
    if (put_path(&b, r->kind, r->path, r->prefix_bytes, r->regex, old)) {
        /* A rule may strip the whole of what matched, the slash too; a target needs one. */
        const char *slash = b.n == 0 || b.p[0] != '/' ? "/" : "";

        x->request.path = arena_printf(&x->arena, "%s%.*s%.*s", slash, (int)b.n, b.n ? b.p : "",
                                       (int)query.n, query.n ? query.p : "");
        http_set(&x->request, STR("x-envoy-original-path"), old);
    } else {
        why = OUTCOME_ROUTE_FAILED;
    }
    buf_done(&b);
    return why;
}

enum outcome edit_request(struct exchange *x)
{
    const struct route_rewrite *r = &x->route->rewrite;
    const struct header_format *wanted = &r->authority;
    struct str authority;

    if (x->target) {
        edit(x, &x->target->request, false, &x->request);
        if (wanted->text.n == 0)
            wanted = &x->target->authority;
    }
    edit(x, &x->route->request, false, &x->request);
    authority = value_of(x, NULL, wanted);
    if (authority.n) {
        http_set(&x->request, STR("x-envoy-original-host"), x->request.authority);
        x->request.authority = authority;
    }
    return rewrite_path(x, r);
}

/* ---- redirects ---- */

static struct str port_of(struct str authority)
{
    struct str host = http_host_only(authority);

    return str_sub(authority, host.n, authority.n);
}

/* The request's authority. Its port goes where another is named, and where it was the default of a scheme that
 * changes. */
static struct str redirect_host(const struct http_head *h, struct str scheme, bool has_port)
{
    struct str port = port_of(h->authority);
    bool was_default = str_eq(h->scheme, STR("https")) ? str_eq(port, STR(":443"))
                                                       : str_eq(port, STR(":80"));

    if (has_port || (was_default && !str_eq(scheme, h->scheme)))
        return http_host_only(h->authority);
    return h->authority;
}

struct str edit_location(struct exchange *x)
{
    const struct route_redirect *r = &x->route->redirect;
    const struct http_head *h = &x->down->in_head;
    struct str scheme = r->scheme.n ? r->scheme : h->scheme.n ? h->scheme : STR("http");
    struct str query = str_sub(h->path, http_path_only(h->path).n, h->path.n), out = STR_NONE;
    bool has_port = r->port && r->port != (str_eq(scheme, STR("https")) ? 443 : 80);
    struct str host = r->authority.n ? r->authority : redirect_host(h, scheme, has_port);
    struct buf b;

    buf_init(&b, LIMIT_HEAD_BYTES);
    buf_printf(&b, "%.*s://%.*s", STR_ARG(scheme), STR_ARG(host));
    if (has_port)
        buf_printf(&b, ":%u", r->port);
    if (put_path(&b, r->kind, r->path, r->prefix_bytes, NULL, h->path)) {
        if (r->kind != PATH_WHOLE || !str_has(r->path, '?')) /* its own query takes precedence */
            buf_add(&b, query);
        if (!b.failed)
            out = arena_str(&x->arena, buf_str(&b));
    }
    buf_done(&b);
    return out;
}
