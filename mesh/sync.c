/* Framing, resource sets, and the way between resources and the catalog. */
#include "mesh/sync.h"

#include <stdlib.h>
#include <string.h>

#include "mesh/base/hash.h"
#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "mesh/decode.h"
#include "mesh/kinds/common.h"
#include "mesh/locality.h"

/* ---- framing ---- */

void sync_frame(struct buf *out, struct str body)
{
    uint32_t n = (uint32_t)body.n;
    const char head[4] = {(char)(n >> 24), (char)(n >> 16), (char)(n >> 8), (char)n};

    assert(body.n <= LIMIT_SYNC_FRAME_BYTES);
    buf_add(out, (struct str){head, sizeof(head)});
    buf_add(out, body);
}

size_t sync_frame_size(const char head[SYNC_HEAD_BYTES])
{
    size_t n = 0;

    for (size_t i = 0; i < SYNC_HEAD_BYTES; i++)
        n = n << 8 | (unsigned char)head[i];
    return n;
}

/* ---- resource sets ---- */

void resources_init(struct resources *r)
{
    map_init(&r->by_key);
}

static void resource_free(struct resource *r)
{
    if (r) {
        mem_free(r->json);
        mem_free(r);
    }
}

void resources_done(struct resources *r)
{
    const struct map_entry *e;

    for (size_t i = 0; (e = map_each(&r->by_key, &i));)
        resource_free(e->value);
    map_done(&r->by_key);
    map_init(&r->by_key);
}

void resources_put(struct resources *r, struct str key, struct str json)
{
    struct resource *one = mem_zalloc(sizeof(*one));

    one->json = str_dup(json);
    one->n = json.n;
    resource_free(map_put(&r->by_key, key, one));
}

void resources_del(struct resources *r, struct str key)
{
    resource_free(map_del(&r->by_key, key));
}

void resources_copy(struct resources *to, const struct resources *from)
{
    const struct map_entry *e;

    for (size_t i = 0; (e = map_each(&from->by_key, &i));) {
        const struct resource *one = e->value;

        resources_put(to, e->key, (struct str){one->json, one->n});
    }
}

static int by_key(const void *a, const void *b)
{
    const struct map_entry *const *x = a, *const *y = b;

    return str_cmp((*x)->key, (*y)->key);
}

/* The live entries sorted by key; the caller frees the array. */
static struct map_entry **sorted(const struct map *m, size_t *count)
{
    struct map_entry **list = mem_alloc((m->count + 1) * sizeof(*list));
    struct map_entry *e;
    size_t n = 0;

    for (size_t i = 0; (e = map_each(m, &i));)
        list[n++] = e;
    qsort(list, n, sizeof(struct map_entry *), by_key);
    *count = n;
    return list;
}

void resources_digest(const struct resources *r, struct buf *hex)
{
    size_t count;
    struct map_entry **list = sorted(&r->by_key, &count);
    struct buf all;
    uint8_t hash[HASH_BYTES] = {0}, one_hash[HASH_BYTES];

    /* Hash of hashes: no copy of the whole set is needed at once. */
    buf_init(&all, (size_t)LIMIT_SYNC_FRAME_BYTES * 2);
    for (size_t i = 0; i < count; i++) {
        const struct resource *one = list[i]->value;

        buf_clear(&all);
        buf_add(&all, list[i]->key);
        buf_addc(&all, '\n');
        buf_add(&all, (struct str){one->json, one->n});
        buf_addc(&all, '\n');
        hash_sha256(buf_str(&all), one_hash);
        hash_sha256_2((struct str){(const char *)hash, sizeof(hash)},
                      (struct str){(const char *)one_hash, sizeof(one_hash)}, hash);
    }
    text_hex(hex, hash, sizeof(hash));
    buf_done(&all);
    mem_free(list);
}

void resources_write(const struct resources *r, struct str epoch, uint64_t revision,
                     struct buf *out)
{
    size_t count;
    struct map_entry **list = sorted(&r->by_key, &count);

    buf_adds(out, "{\"epoch\":");
    buf_json(out, epoch);
    buf_printf(out, ",\"revision\":%llu,\"items\":{", (unsigned long long)revision);
    for (size_t i = 0; i < count; i++) {
        const struct resource *one = list[i]->value;

        buf_adds(out, i ? ",\n" : "\n");
        buf_json(out, list[i]->key);
        buf_addc(out, ':');
        buf_add(out, (struct str){one->json, one->n});
    }
    buf_adds(out, "}}\n");
    mem_free(list);
}

int resources_read(struct str json, struct resources *out, struct str *epoch, uint64_t *revision,
                   struct arena *a, struct err *err)
{
    struct node *root;
    const struct node *items;
    struct buf text;

    if (json_read(json, a, &root, err))
        return -1;
    items = node_get(root, STR("items"));
    if (!items || items->kind != NODE_MAP ||
        !str_uint(node_text(root, "revision"), 0, UINT64_MAX, revision))
        return err_set(err, ERR_INVALID, "not a set of resources (items and revision are missing)");
    *epoch = arena_str(a, node_text(root, "epoch"));
    buf_init(&text, LIMIT_SYNC_FRAME_BYTES);
    for (const struct node *n = items->first; n; n = n->next) {
        buf_clear(&text);
        json_write(n, 0, &text);
        resources_put(out, n->key, buf_str(&text));
    }
    buf_done(&text);
    return 0;
}

/* ---- catalog -> resources ---- */

static void write_member(struct buf *b, const char *name, struct str value)
{
    if (value.n == 0)
        return;
    if (b->n && b->p[b->n - 1] != '{')
        buf_addc(b, ',');
    buf_printf(b, "\"%s\":", name);
    buf_json(b, value);
}

static void write_number(struct buf *b, const char *name, uint64_t value)
{
    if (b->n && b->p[b->n - 1] != '{')
        buf_addc(b, ',');
    buf_printf(b, "\"%s\":%llu", name, (unsigned long long)value);
}

static void write_flag(struct buf *b, const char *name, bool value)
{
    if (!value)
        return;
    if (b->n && b->p[b->n - 1] != '{')
        buf_addc(b, ',');
    buf_printf(b, "\"%s\":true", name);
}

static void write_addr(struct buf *b, const char *name, const struct addr *a)
{
    char text[ADDR_TEXT_MAX];

    if (a->family)
        write_member(b, name, str_from(a->port ? addr_format(a, text) : addr_format_ip(a, text)));
}

static void write_ports(struct buf *b, const struct service_port *ports, size_t count)
{
    buf_adds(b, b->p[b->n - 1] == '{' ? "\"ports\":[" : ",\"ports\":[");
    for (size_t i = 0; i < count; i++) {
        buf_adds(b, i ? ",{" : "{");
        write_member(b, "name", ports[i].name);
        write_number(b, "number", ports[i].number);
        write_number(b, "targetPort", ports[i].target_port);
        write_member(b, "protocol", ports[i].protocol);
        write_flag(b, "plain", ports[i].is_plain);
        write_flag(b, "anothers", ports[i].is_anothers);
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
}

static void write_labels(struct buf *b, const struct labels *l)
{
    if (l->count == 0)
        return;
    buf_adds(b, b->p[b->n - 1] == '{' ? "\"labels\":{" : ",\"labels\":{");
    for (size_t i = 0; i < l->count; i++) {
        if (i)
            buf_addc(b, ',');
        buf_json(b, l->items[i].key);
        buf_addc(b, ':');
        buf_json(b, l->items[i].value);
    }
    buf_addc(b, '}');
}

void catalog_write_service(const struct service *s, struct buf *b)
{
    char text[ADDR_TEXT_MAX];

    buf_addc(b, '{');
    write_member(b, "namespace", s->ns);
    write_member(b, "name", s->name);
    write_member(b, "fqdn", s->fqdn);
    write_addr(b, "vip4", &s->vip4);
    write_addr(b, "vip6", &s->vip6);
    if (s->address_count) {
        buf_adds(b, ",\"addresses\":[");
        for (size_t i = 0; i < s->address_count; i++) {
            if (i)
                buf_addc(b, ',');
            buf_json(b, str_from(addr_format_ip(&s->addresses[i], text)));
        }
        buf_addc(b, ']');
    }
    write_ports(b, s->ports, s->port_count);
    write_flag(b, "external", s->is_external);
    write_flag(b, "originalDst", s->is_original_dst);
    write_member(b, "sans", s->sans);
    write_member(b, "exportTo", s->export_to);
    if (s->since_s)
        write_number(b, "since", (uint64_t)s->since_s);
    buf_addc(b, '}');
}

void catalog_write_endpoints(struct workload *const *workloads, size_t count, struct buf *b)
{
    buf_adds(b, "{\"workloads\":[");
    for (size_t i = 0; i < count; i++) {
        const struct workload *w = workloads[i];

        buf_adds(b, i ? ",{" : "{");
        write_member(b, "name", w->name);
        write_member(b, "namespace", w->ns);
        write_member(b, "account", w->account);
        write_member(b, "hostId", w->host_id);
        write_member(b, "host", w->host);
        write_addr(b, "address", &w->address);
        write_ports(b, w->ports, w->port_count);
        write_labels(b, &w->labels);
        write_member(b, "identity", w->identity);
        write_flag(b, "mesh", w->is_mesh);
        write_number(b, "weight", w->weight);
        write_member(b, "locality", w->locality);
        buf_addc(b, '}');
    }
    buf_adds(b, "]}");
}

/* ---- resources -> catalog ---- */

void catalog_init(struct catalog *c)
{
    *c = (struct catalog){0};
    arena_init(&c->arena);
    map_init(&c->by_service);
    map_init(&c->objects_by_name);
    map_init(&c->subscribed);
    map_init(&c->rules_by_host);
    map_init(&c->services_by_fqdn);
}

void catalog_done(struct catalog *c)
{
    map_done(&c->by_service);
    map_done(&c->objects_by_name);
    map_done(&c->subscribed);
    map_done(&c->rules_by_host);
    map_done(&c->services_by_fqdn);
    arena_done(&c->arena);
    *c = (struct catalog){0};
}

static bool read_ip(const struct node *n, const char *name, struct addr *out)
{
    struct str text = node_text(n, name);

    return text.n == 0 || addr_parse_ip(text, out);
}

static bool read_port(const struct node *n, const char *name, uint16_t *out)
{
    struct str text = node_text(n, name);
    uint64_t value = 0;

    if (text.n && !str_uint(text, 0, 65535, &value))
        return false;
    *out = (uint16_t)value;
    return true;
}

static bool read_ports(const struct node *n, struct arena *a, struct service_port **out,
                       size_t *count)
{
    const struct node *list = node_get(n, STR("ports"));
    struct service_port *ports = ARENA_ARRAY(a, (list ? list->count : 0) + 1, struct service_port);
    size_t i = 0;

    for (const struct node *p = list ? list->first : NULL; p; p = p->next, i++) {
        ports[i] = (struct service_port){.name = node_text(p, "name"),
                                         .protocol = node_text(p, "protocol"),
                                         .is_plain = node_is_true(p, "plain"),
                                         .is_anothers = node_is_true(p, "anothers")};
        if (!read_port(p, "number", &ports[i].number) ||
            !read_port(p, "targetPort", &ports[i].target_port))
            return false;
    }
    *out = ports;
    *count = i;
    return true;
}

static void read_labels(const struct node *map, struct arena *a, struct labels *out)
{
    size_t i = 0;

    out->items = ARENA_ARRAY(a, (map ? map->count : 0) + 1, struct label);
    for (const struct node *n = map ? map->first : NULL; n; n = n->next)
        out->items[i++] = (struct label){n->key, n->text};
    out->count = i;
}

static bool read_service(struct catalog *c, struct str key, const struct node *n)
{
    struct service *s = ARENA_NEW(&c->arena, struct service);
    const struct node *list = node_get(n, STR("addresses"));
    struct str since = node_text(n, "since");
    uint64_t since_s = 0;

    s->ns = node_text(n, "namespace");
    s->name = node_text(n, "name");
    s->fqdn = node_text(n, "fqdn");
    s->key = model_service_key(&c->arena, s->ns, s->fqdn);
    s->is_external = node_is_true(n, "external");
    s->is_original_dst = node_is_true(n, "originalDst");
    s->sans = node_text(n, "sans");
    s->export_to = node_text(n, "exportTo");
    if (s->ns.n == 0 || s->fqdn.n == 0 || !str_eq(s->key, key) || !read_ip(n, "vip4", &s->vip4) ||
        !read_ip(n, "vip6", &s->vip6) || !read_ports(n, &c->arena, &s->ports, &s->port_count) ||
        (since.n && !str_uint(since, 0, INT64_MAX, &since_s)))
        return false;
    s->since_s = (int64_t)since_s;
    s->addresses = ARENA_ARRAY(&c->arena, (list ? list->count : 0) + 1, struct addr);
    for (const struct node *ip = list ? list->first : NULL; ip; ip = ip->next) {
        if (!addr_parse_ip(ip->text, &s->addresses[s->address_count++]))
            return false;
    }
    c->services[c->service_count++] = s;
    map_put(&c->by_service, s->key, s);
    return true;
}

static struct workload *read_workload(struct catalog *c, struct str service, const struct node *n)
{
    struct workload *w = ARENA_NEW(&c->arena, struct workload);
    struct str weight = node_text(n, "weight");
    uint64_t value = 1;

    *w = (struct workload){.service = service,
                           .name = node_text(n, "name"),
                           .ns = node_text(n, "namespace"),
                           .account = node_text(n, "account"),
                           .host_id = node_text(n, "hostId"),
                           .host = node_text(n, "host"),
                           .identity = node_text(n, "identity"),
                           .is_mesh = node_is_true(n, "mesh"),
                           .locality = node_text(n, "locality")};
    read_labels(node_get(n, STR("labels")), &c->arena, &w->labels);
    if (!read_ip(n, "address", &w->address) || !w->address.family ||
        !read_ports(n, &c->arena, &w->ports, &w->port_count) ||
        (weight.n && !str_uint(weight, 0, UINT32_MAX, &value)))
        return NULL;
    w->weight = value ? (uint32_t)value : 1;
    return w;
}

static bool read_endpoints(struct catalog *c, struct str service, const struct node *n)
{
    const struct node *list = node_get(n, STR("workloads"));

    map_put(&c->subscribed, service, c);
    for (const struct node *w = list ? list->first : NULL; w; w = w->next) {
        struct workload *one = read_workload(c, service, w);

        if (!one)
            return false;
        c->workloads[c->workload_count++] = one;
    }
    return true;
}

static bool read_object(struct catalog *c, struct str json, struct str key, struct findings *f)
{
    struct object_list list = {0};

    if (documents_parse(json, key, SYNTAX_JSON, &c->arena, &list, f))
        return false;
    if (list.count != 1)
        return false;
    catalog_add_object(c, list.items[0]);
    return true;
}

static size_t workloads_in(const struct node *n)
{
    const struct node *list = node_get(n, STR("workloads"));

    return list ? list->count : 0;
}

static bool read_mesh(struct catalog *c, const struct node *n)
{
    c->trust_domain = node_text(n, "trustDomain");
    c->domain = node_text(n, "domain");
    c->root_namespace = node_text(n, "rootNamespace");
    return c->trust_domain.n && c->domain.n && c->root_namespace.n;
}

int catalog_read(const struct resources *r, struct catalog *c, struct findings *f)
{
    size_t count, workloads = 0, before = f->errors;
    struct map_entry **list = sorted(&r->by_key, &count);
    struct node **nodes = ARENA_ARRAY(&c->arena, count + 1, struct node *);
    struct err err;

    for (size_t i = 0; i < count; i++) {
        const struct resource *one = list[i]->value;

        if (json_read(arena_str(&c->arena, (struct str){one->json, one->n}), &c->arena, &nodes[i],
                      &err))
            findings_add(f, FIND_PARSE, SEVERITY_ERROR, "resource %.*s: %s", STR_ARG(list[i]->key),
                         err.text);
        else
            workloads += workloads_in(nodes[i]);
    }
    c->services = ARENA_ARRAY(&c->arena, count + 1, struct service *);
    c->objects = ARENA_ARRAY(&c->arena, count + 1, struct object *);
    c->workloads = ARENA_ARRAY(&c->arena, workloads + 1, struct workload *);
    for (size_t i = 0; i < count && f->errors == before; i++) {
        struct str key = arena_str(&c->arena, list[i]->key), kind, rest = key;
        const struct resource *one = list[i]->value;
        bool good = true;

        if (str_eq(key, STR("mesh")))
            good = read_mesh(c, nodes[i]);
        else if (!str_cut(&rest, '/', &kind))
            continue; /* a newer server's resource: not ours to judge */
        else if (str_eq(kind, STR("service")))
            good = read_service(c, rest, nodes[i]);
        else if (str_eq(kind, STR("endpoints")))
            good = read_endpoints(c, rest, nodes[i]);
        else if (str_eq(kind, STR("object")))
            good = read_object(c, arena_str(&c->arena, (struct str){one->json, one->n}), key, f);
        if (!good && f->errors == before)
            findings_add(f, FIND_VALUE, SEVERITY_ERROR, "resource %.*s is malformed", STR_ARG(key));
    }
    mem_free(list);
    if (c->trust_domain.n == 0 && f->errors == before)
        findings_add(f, FIND_REQUIRED, SEVERITY_ERROR, "the resource mesh is missing");
    return f->errors == before ? 0 : -1;
}

/* ---- registrations ---- */

void sync_write_registration(const struct local_service *s, struct buf *b)
{
    buf_addc(b, '{');
    write_member(b, "namespace", s->ns);
    write_member(b, "name", s->name);
    write_member(b, "account", s->account);
    write_number(b, "port", s->port);
    write_number(b, "servicePort", s->service_port);
    write_member(b, "protocol", s->protocol);
    write_addr(b, "app", &s->app);
    if (s->listen.family && !addr_is_any(&s->listen))
        write_addr(b, "listen", &s->listen);
    write_labels(b, &s->labels);
    if (s->locality.n)
        write_member(b, "locality", s->locality);
    write_flag(b, "gateway", s->is_gateway);
    buf_addc(b, '}');
}

/* Labels and protocol of one host reach every other: they are held to the syntax of documents. */
static int check_registration(const struct local_service *s, struct err *err)
{
    const struct field_value *v = schema_value(common_protocols, s->protocol, true);

    if (s->protocol.n && (!v || v->status != FIELD_BUILT))
        return err_set(err, ERR_INVALID,
                       "service %.*s: protocol \"%.*s\" is not known or not built",
                       STR_ARG(s->name), STR_ARG(s->protocol));
    if (locality_check(s->locality, err))
        return err_wrap(err, "service %.*s", STR_ARG(s->name));
    for (size_t i = 0; i < s->labels.count; i++) {
        if (common_check_label_key(s->labels.items[i].key, err) ||
            common_check_label_value(s->labels.items[i].value, err))
            return err_wrap(err, "service %.*s", STR_ARG(s->name));
    }
    return 0;
}

/* Callers of the whole mesh will dial it: never themselves, and never what only a link knows, where clouds keep
 * their secrets. */
static bool can_be_dialled(const struct addr *a)
{
    bool link_local = a->family == 4 ? a->ip[0] == 169 && a->ip[1] == 254 : a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
    bool multicast = a->family == 4 ? a->ip[0] >= 224 : a->ip[0] == 0xff;

    return !addr_is_any(a) && !addr_is_loopback(a) && !link_local && !multicast;
}

int sync_read_registration(const struct node *n, struct arena *a, struct local_service *out,
                           struct err *err)
{
    struct local_service s = {.ns = arena_str(a, node_text(n, "namespace")),
                              .name = arena_str(a, node_text(n, "name")),
                              .account = arena_str(a, node_text(n, "account")),
                              .protocol = arena_str(a, node_text(n, "protocol")),
                              .locality = arena_str(a, node_text(n, "locality")),
                              .is_gateway = node_is_true(n, "gateway")};
    struct str app = node_text(n, "app"), listen = node_text(n, "listen");
    struct labels l;

    if (n->kind != NODE_MAP || s.ns.n == 0 || s.name.n == 0 || s.account.n == 0)
        return err_set(err, ERR_INVALID, "a registration needs namespace, name and account");
    if (!read_port(n, "port", &s.port) || !read_port(n, "servicePort", &s.service_port) ||
        (app.n && !addr_parse(app, &s.app) && !addr_parse_ip(app, &s.app)) ||
        (!s.is_gateway && (s.port == 0 || s.service_port == 0)))
        return err_set(err, ERR_INVALID, "service %.*s: port, servicePort or app is not valid",
                       STR_ARG(s.name));
    if (listen.n && (!addr_parse(listen, &s.listen) || s.listen.port != s.port || !can_be_dialled(&s.listen)))
        return err_set(err, ERR_INVALID, "service %.*s: no other host can reach %.*s", STR_ARG(s.name),
                       STR_ARG(listen));
    read_labels(node_get(n, STR("labels")), a, &l);
    for (size_t i = 0; i < l.count; i++)
        l.items[i] = (struct label){arena_str(a, l.items[i].key), arena_str(a, l.items[i].value)};
    s.labels = l;
    if (check_registration(&s, err))
        return -1;
    *out = s;
    return 0;
}
