/* Addresses that a Sidecar's egress entries with captureMode NONE open for callers of this host: HTTP to the services of the
 * entry that have its port, by the Host header; opaque bytes to the one service, where there is exactly one. */
#include "mesh/compile_parts.h"

static void warn(struct build *b, const struct scope_entry *e, const char *why)
{
    struct finding *f =
        findings_add(b->f, FIND_CONFLICT, SEVERITY_WARNING, "egress port %u: %s", e->egress->port->number, why);

    f->object = compile_object_name(b, b->scope.object);
    f->pointer = STR("/spec/egress");
}

static struct addr address_of(const struct sidecar_egress *e)
{
    struct addr at;

    if (!addr_parse_ip(e->bind.n ? e->bind : STR("127.0.0.1"), &at))
        at = (struct addr){0}; /* the kind's check has read it */
    at.port = (uint16_t)e->port->number;
    return at;
}

static const struct service_port *numbered(const struct service *s, uint32_t number)
{
    for (size_t i = 0; i < s->port_count; i++) {
        if (s->ports[i].number == number)
            return &s->ports[i];
    }
    return NULL;
}

static void add_http(struct build *b, const struct scope_entry *e, struct listener *l)
{
    struct table *t = compile_table_for(b, l->name);

    for (size_t i = 0; i < b->seen_count; i++) {
        const struct service *s = b->services[i];
        const struct service_port *port = numbered(s, e->egress->port->number);

        if (scope_entry_sees(e, s) && !s->is_original_dst && compile_protocol_of(port->protocol) != APP_TCP)
            compile_service_vhost(b, s, port, t, port->number);
    }
    if (l->at.port == 80)
        compile_unregistered_hosts(b, t);
    l->http = part_ref(t->made);
}

static const struct service *only_service(const struct build *b, const struct scope_entry *e, size_t *count)
{
    const struct service *only = NULL;

    *count = 0;
    for (size_t i = 0; i < b->seen_count; i++) {
        if (!scope_entry_sees(e, b->services[i]) || b->services[i]->is_original_dst)
            continue;
        only = b->services[i];
        (*count)++;
    }
    return *count == 1 ? only : NULL;
}

static void add_tcp(struct build *b, const struct scope_entry *e, struct listener *l)
{
    size_t count;
    const struct service *s = only_service(b, e, &count);

    if (!s) {
        if (l->protocol == APP_TCP)
            warn(b, e, count ? "several services of its hosts have this port, and opaque bytes do not say which is meant; "
                               "connections are refused: name one host"
                             : "no service of its hosts has this port; connections are refused until there is one");
        return;
    }
    l->service = arena_str(&l->part.arena, s->key);
    if (compile_is_subscribed(b, s))
        compile_service_tcp(b, l, s, numbered(s, l->at.port));
    else
        l->is_pending = true;
}

static void open_entry(struct build *b, const struct scope_entry *e)
{
    struct addr at = address_of(e->egress);
    char text[ADDR_TEXT_MAX];
    struct str name = arena_printf(&b->tmp, "bound_%s", addr_format(&at, text));
    struct listener *l;

    if (map_put(&b->listeners, name, b)) {
        warn(b, e, "services.d of this host opens this address already, which goes before");
        return;
    }
    l = compile_new_listener(name, LISTENER_OUTBOUND, compile_protocol_of(e->egress->port->protocol), &at);
    l->is_bound = true;
    l->identity = arena_str(&l->part.arena, b->identity);
    compile_listener_who(l, &b->who);
    if (l->protocol != APP_TCP)
        add_http(b, e, l);
    if (l->protocol != APP_HTTP)
        add_tcp(b, e, l);
    snapshot_add_listener(b->out, l);
}

void compile_egress(struct build *b)
{
    for (size_t i = 0; i < b->scope.entry_count; i++) {
        if (scope_is_explicit(&b->scope.entries[i]))
            open_entry(b, &b->scope.entries[i]);
    }
}
