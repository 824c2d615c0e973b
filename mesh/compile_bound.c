/* Listeners of callers of this host that the agent opens itself, where nothing is redirected: for one service, whatever
 * the callers write as Host; or for HTTP to every service, by the Host header. */
#include "mesh/compile_parts.h"

#define BY_HOST STR("by host") /* the one table of all listeners without a service */

static void problem(struct build *b, const struct local_listener *want, enum severity severity, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

static void problem(struct build *b, const struct local_listener *want, enum severity severity, const char *fmt, ...)
{
    struct buf text;
    va_list ap;

    buf_init(&text, ERR_TEXT_MAX);
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    findings_add(b->f, FIND_REFERENCE, severity, "listener %.*s: %.*s", STR_ARG(want->name), STR_ARG(buf_str(&text)));
    buf_done(&text);
}

/* ---- one service ---- */

struct search {
    struct str form;
    bool found;
};

static void compare_form(void *arg, struct str form)
{
    struct search *s = arg;

    s->found = s->found || str_eq(s->form, form);
}

/* By any name that callers of this host may use. */
static const struct service *service_named(struct build *b, struct str host)
{
    struct search s = {.form = compile_lower(&b->tmp, host)};
    const struct service *exact = map_get(&b->by_fqdn, s.form);

    if (exact)
        return scope_sees(&b->scope, exact) ? exact : NULL;
    for (size_t i = 0; i < b->seen_count; i++) {
        compile_each_form(b, b->services[i], compare_form, &s);
        if (s.found)
            return b->services[i];
    }
    return NULL;
}

static const struct service_port *port_of(struct build *b, const struct local_listener *want, const struct service *s)
{
    for (size_t i = 0; i < s->port_count; i++) {
        if ((want->port ? s->ports[i].number == want->port : s->port_count == 1) &&
            scope_sees_port(&b->scope, s, s->ports[i].number))
            return &s->ports[i];
    }
    if (want->port)
        problem(b, want, SEVERITY_WARNING, "%.*s has no port %u; connections are refused", STR_ARG(s->fqdn), want->port);
    else
        problem(b, want, SEVERITY_WARNING, "%.*s has %zu ports: write service = %.*s:PORT; connections are refused",
                STR_ARG(s->fqdn), s->port_count, STR_ARG(want->service));
    return NULL;
}

/* A route table of this listener alone: every Host is this service. */
static void any_host(struct build *b, struct listener *l, const struct local_listener *want, const struct service *s,
                     const struct service_port *port)
{
    struct table *t = compile_table_for(b, arena_printf(&b->tmp, "listener %.*s", STR_ARG(want->name)));
    struct filling v = compile_vhost_begin(b, arena_printf(&b->tmp, "%.*s:%u", STR_ARG(s->fqdn), port->number));

    v.vhost->domains = ARENA_ARRAY(&v.vhost->part.arena, 1, struct str);
    v.vhost->domains[0] = STR("*");
    v.vhost->domain_count = 1;
    compile_service_routes(&v, s, port);
    compile_vhost_end(&v, t);
    l->http = part_ref(t->made);
}

static void to_service(struct build *b, struct listener *l, const struct local_listener *want)
{
    const struct service *s = service_named(b, want->service);
    const struct service_port *port = s ? port_of(b, want, s) : NULL;

    if (!s)
        problem(b, want, SEVERITY_WARNING, "no service is known as %.*s; connections are refused until there is one",
                STR_ARG(want->service));
    if (s && s->is_original_dst) {
        problem(b, want, SEVERITY_WARNING,
                "%.*s has resolution NONE, so nothing says where it is; connections are refused", STR_ARG(s->fqdn));
        port = NULL;
    }
    if (!port)
        return;
    l->protocol = compile_protocol_of(port->protocol);
    compile_version(l, port->protocol);
    l->service = arena_str(&l->part.arena, s->key);
    l->is_pending = !compile_is_subscribed(b, s);
    if (l->protocol != APP_TCP)
        any_host(b, l, want, s, port);
    if (l->protocol != APP_HTTP && !l->is_pending)
        compile_service_tcp(b, l, s, port);
}

/* ---- all services, by the Host header ---- */

/* "name:port" of every form, for services with several HTTP ports. */
struct with_port {
    struct build *b;
    struct vhost *vhost;
    uint16_t port;
};

static void add_with_port(void *arg, struct str form)
{
    struct with_port *w = arg;
    struct arena *a = &w->vhost->part.arena;

    w->vhost->domains[w->vhost->domain_count++] = arena_printf(a, "%.*s:%u", STR_ARG(form), w->port);
}

static void vhost_with_port(struct build *b, const struct service *s, const struct service_port *port, struct table *t)
{
    struct filling v = compile_vhost_begin(b, arena_printf(&b->tmp, "%.*s:%u only", STR_ARG(s->fqdn), port->number));
    struct with_port w = {b, v.vhost, port->number};

    v.vhost->domains = ARENA_ARRAY(&v.vhost->part.arena, FORMS_MAX, struct str);
    compile_each_form(b, s, add_with_port, &w);
    compile_service_routes(&v, s, port);
    compile_vhost_end(&v, t);
    t->made->has_ports = true;
}

static bool is_http_port(const struct build *b, const struct service *s, const struct service_port *port)
{
    return compile_protocol_of(port->protocol) != APP_TCP && scope_sees_port(&b->scope, s, port->number);
}

static void vhosts_of(struct build *b, const struct service *s, struct table *t)
{
    const struct service_port *first = NULL;
    size_t http = 0;

    for (size_t i = 0; i < s->port_count; i++) {
        if (!is_http_port(b, s, &s->ports[i]))
            continue;
        first = first ? first : &s->ports[i];
        http++;
    }
    if (http == 0 || s->is_original_dst)
        return;
    compile_service_vhost(b, s, first, t, first->number);
    for (size_t i = 0; http > 1 && i < s->port_count; i++) {
        if (is_http_port(b, s, &s->ports[i]))
            vhost_with_port(b, s, &s->ports[i], t);
    }
}

/* A Host without a port, or with one that the service does not have, means its port 80, else its first HTTP port. */
static struct table *by_host(struct build *b)
{
    struct table *t = map_get(&b->tables, BY_HOST);

    if (t)
        return t;
    t = compile_table_for(b, BY_HOST);
    for (size_t i = 0; i < b->seen_count; i++)
        vhosts_of(b, b->services[i], t);
    compile_unregistered_hosts(b, t);
    return t;
}

/* ---- both ---- */

static void open_listener(struct build *b, const struct local_listener *want)
{
    char text[ADDR_TEXT_MAX];
    struct str name = arena_printf(&b->tmp, "bound_%s", addr_format(&want->bind, text));
    struct listener *l = compile_new_listener(name, LISTENER_OUTBOUND, APP_HTTP, &want->bind);

    map_put(&b->listeners, name, b);
    l->is_bound = true;
    l->identity = arena_str(&l->part.arena, b->identity);
    compile_listener_who(l, &b->who);
    if (want->service.n)
        to_service(b, l, want);
    else
        l->http = part_ref(by_host(b)->made);
    snapshot_add_listener(b->out, l);
}

void compile_bound(struct build *b)
{
    for (size_t i = 0; i < b->self->listener_count; i++)
        open_listener(b, &b->self->listeners[i]);
}
