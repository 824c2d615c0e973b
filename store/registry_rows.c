/* How the registry lies in the store:
 *
 *     /reg/host/ID             a host
 *     /reg/hostname/NAME       {"id"}: makes names unique
 *     /reg/pin/PIN             {"id"}: one host per key
 *     /reg/service/NS/NAME     who owns a name
 *     /reg/workloads/ID        all that a host offers, so that a registration is one put
 *     /reg/vip/NS/FQDN         both virtual addresses of a name
 *     /reg/vip4/A /reg/vip6/A  {"ns", "name"}: one name per address
 */
#include "store/registry_parts.h"

/* ----------------------------------------------------------------- encoding */

static const char *const state_names[] = {
    [REGISTRY_PENDING] = "pending", [REGISTRY_ACTIVE] = "active", [REGISTRY_EJECTED] = "ejected"};

const char *registry_state_name(enum registry_state state)
{
    return state_names[state];
}

struct str registry_host_path(struct arena *a, struct str id)
{
    return arena_printf(a, "/reg/host/%.*s", STR_ARG(id));
}

struct str registry_name_path(struct arena *a, struct str name)
{
    return arena_printf(a, "/reg/hostname/%.*s", STR_ARG(name));
}

struct str registry_pin_path(struct arena *a, struct str pin)
{
    return arena_printf(a, "/reg/pin/%.*s", STR_ARG(pin));
}

struct str registry_service_path(struct arena *a, struct str ns, struct str name)
{
    return arena_printf(a, "/reg/service/%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
}

struct str registry_workloads_path(struct arena *a, struct str host)
{
    return arena_printf(a, "/reg/workloads/%.*s", STR_ARG(host));
}

struct str registry_pair(struct arena *a, struct str ns, struct str name)
{
    return arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
}

void registry_encode_labels(struct buf *b, const struct registry_label *labels, size_t count)
{
    if (count == 0)
        return;
    row_open(b, "labels", '{');
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_addc(b, ',');
        buf_json(b, labels[i].name);
        buf_addc(b, ':');
        buf_json(b, labels[i].value);
    }
    buf_addc(b, '}');
}

void registry_encode_grants(struct buf *b, const struct registry_grant *grants, size_t count)
{
    row_open(b, "grants", '[');
    for (size_t i = 0; i < count; i++) {
        row_open(b, NULL, '{');
        row_str(b, "ns", grants[i].ns);
        row_str(b, "service", grants[i].service);
        row_opt(b, "account", grants[i].account);
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
}

static void encode_ports(struct buf *b, const struct registry_port *ports, size_t count)
{
    row_open(b, "ports", '[');
    for (size_t i = 0; i < count; i++) {
        row_open(b, NULL, '{');
        row_opt(b, "name", ports[i].name);
        row_opt(b, "protocol", ports[i].protocol);
        if (ports[i].port)
            row_int(b, "port", ports[i].port);
        row_int(b, "service_port", ports[i].service_port);
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
}

struct str registry_encode_host(struct arena *a, const struct registry_host *h)
{
    struct buf b;

    buf_init(&b, ROW_BYTES);
    buf_addc(&b, '{');
    row_str(&b, "id", h->id);
    row_str(&b, "name", h->name);
    row_str(&b, "pin", h->pin);
    row_opt(&b, "address", h->address);
    row_str(&b, "state", str_from(state_names[h->state]));
    row_true(&b, "unrestricted", h->unrestricted);
    registry_encode_grants(&b, h->grants, h->grant_count);
    registry_encode_labels(&b, h->labels, h->label_count);
    row_int(&b, "joins", h->joins);
    row_int(&b, "created_ms", h->created_ms);
    row_int(&b, "last_join_ms", h->last_join_ms);
    row_opt(&b, "token", h->token);
    buf_addc(&b, '}');
    return row_done(&b, a);
}

struct str registry_encode_workloads(struct arena *a, const struct registry_workload *list,
                                     size_t count)
{
    struct buf b;

    buf_init(&b, ROW_BYTES);
    buf_adds(&b, "{\"workloads\":[");
    for (size_t i = 0; i < count; i++) {
        const struct registry_workload *w = &list[i];

        row_open(&b, NULL, '{');
        row_str(&b, "ns", w->ns);
        row_str(&b, "service", w->service);
        row_str(&b, "account", w->account);
        row_open(&b, "addresses", '[');
        for (size_t j = 0; j < w->address_count; j++) {
            if (j)
                buf_addc(&b, ',');
            buf_json(&b, w->addresses[j]);
        }
        buf_addc(&b, ']');
        encode_ports(&b, w->ports, w->port_count);
        registry_encode_labels(&b, w->labels, w->label_count);
        row_opt(&b, "version", w->version);
        row_opt(&b, "locality", w->locality);
        row_opt(&b, "network", w->network);
        if (w->weight)
            row_int(&b, "weight", w->weight);
        buf_addc(&b, '}');
    }
    buf_adds(&b, "]}");
    if (b.failed) {
        buf_done(&b);
        return STR_NONE;
    }
    return row_done(&b, a);
}

struct str registry_encode_service(struct arena *a, const struct registry_service *s)
{
    struct buf b;

    buf_init(&b, ROW_BYTES);
    buf_addc(&b, '{');
    row_str(&b, "ns", s->ns);
    row_str(&b, "name", s->name);
    row_str(&b, "account", s->account);
    row_opt(&b, "owner", s->owner);
    encode_ports(&b, s->ports, s->port_count);
    row_int(&b, "created_ms", s->created_ms);
    buf_addc(&b, '}');
    return row_done(&b, a);
}

/* ----------------------------------------------------------------- decoding */

void registry_decode_labels(const struct node *map, struct arena *a, struct registry_label **out,
                            size_t *count)
{
    const struct node *labels = node_get(map, STR("labels"));
    size_t n = 0;

    *out = ARENA_ARRAY(a, labels ? labels->count : 0, struct registry_label);
    for (const struct node *l = labels ? labels->first : NULL; l; l = l->next)
        (*out)[n++] = (struct registry_label){arena_str(a, l->key), arena_str(a, l->text)};
    *count = n;
}

void registry_decode_grants(const struct node *map, struct arena *a, struct registry_grant **out,
                            size_t *count)
{
    const struct node *grants = node_get(map, STR("grants"));
    size_t n = 0;

    *out = ARENA_ARRAY(a, grants ? grants->count : 0, struct registry_grant);
    for (const struct node *g = grants ? grants->first : NULL; g; g = g->next)
        (*out)[n++] = (struct registry_grant){arena_str(a, node_text(g, "ns")),
                                              arena_str(a, node_text(g, "service")),
                                              arena_str(a, node_text(g, "account"))};
    *count = n;
}

void registry_decode_ports(const struct node *map, struct arena *a, struct registry_port **out,
                           size_t *count)
{
    const struct node *ports = node_get(map, STR("ports"));
    size_t n = 0;

    *out = ARENA_ARRAY(a, ports ? ports->count : 0, struct registry_port);
    for (const struct node *p = ports ? ports->first : NULL; p; p = p->next)
        (*out)[n++] = (struct registry_port){
            arena_str(a, node_text(p, "name")), arena_str(a, node_text(p, "protocol")),
            (uint16_t)row_number(p, "port"), (uint16_t)row_number(p, "service_port")};
    *count = n;
}

int registry_decode_host(struct str json, struct arena *a, struct registry_host *out,
                         struct err *err)
{
    struct registry_host h = {0};
    struct str state;
    struct node *m;

    if (row_parse(json, "a host", a, &m, err))
        return -1;
    state = node_text(m, "state");
    h.id = arena_str(a, node_text(m, "id"));
    h.name = arena_str(a, node_text(m, "name"));
    h.pin = arena_str(a, node_text(m, "pin"));
    h.address = arena_str(a, node_text(m, "address"));
    h.token = arena_str(a, node_text(m, "token"));
    h.state = str_eq(state, STR("active"))    ? REGISTRY_ACTIVE
              : str_eq(state, STR("pending")) ? REGISTRY_PENDING
                                              : REGISTRY_EJECTED;
    h.unrestricted = node_is_true(m, "unrestricted");
    registry_decode_grants(m, a, &h.grants, &h.grant_count);
    registry_decode_labels(m, a, &h.labels, &h.label_count);
    h.joins = row_number(m, "joins");
    h.created_ms = row_number(m, "created_ms");
    h.last_join_ms = row_number(m, "last_join_ms");
    *out = h;
    return 0;
}

void registry_decode_workload(const struct node *m, struct str host, struct arena *a,
                              struct registry_workload *out)
{
    const struct node *addresses = node_get(m, STR("addresses"));

    *out = (struct registry_workload){
        .host = arena_str(a, host),
        .ns = arena_str(a, node_text(m, "ns")),
        .service = arena_str(a, node_text(m, "service")),
        .account = arena_str(a, node_text(m, "account")),
        .version = arena_str(a, node_text(m, "version")),
        .locality = arena_str(a, node_text(m, "locality")),
        .network = arena_str(a, node_text(m, "network")),
        .weight = (uint32_t)row_number(m, "weight"),
    };
    out->addresses = ARENA_ARRAY(a, addresses ? addresses->count : 0, struct str);
    for (const struct node *n = addresses ? addresses->first : NULL; n; n = n->next)
        out->addresses[out->address_count++] = arena_str(a, n->text);
    registry_decode_ports(m, a, &out->ports, &out->port_count);
    registry_decode_labels(m, a, &out->labels, &out->label_count);
}
