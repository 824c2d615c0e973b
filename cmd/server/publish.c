/* A change becomes what agents see: rebuild the catalog from the head and the registry, then push
 * to every session. Changes that come close together make one rebuild. */
#include "cmd/server/server.h"
#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/catalog.h"
#include "mesh/decode.h"
#include "store/registry.h"
#include "store/revision.h"
#include "store/store.h"

#define DEBOUNCE_MS     50   /* quiet time wanted before a rebuild */
#define DEBOUNCE_MAX_MS 1000 /* but no longer than this after the first change */

struct publish {
    struct server *server;
    struct task task;
    struct timer timer;
    int64_t first_ms;           /* of the changes waiting to be pushed, 0: none */
    bool stale;                 /* the catalog lacks changes */
    struct arena objects_arena; /* decoded head: outlives the catalog */
    struct object **objects;
    size_t object_count;
    int64_t decoded_revision; /* -1: never */
    struct catalog catalog;
};

const struct catalog *publish_catalog(const struct publish *p)
{
    return &p->catalog;
}

/* Decode the head once per revision. What does not decode any more stops the publishing by name: an
 * upgrade never weakens. */
static int decode_head(struct publish *p, struct arena *a, struct object ***out, size_t *count,
                       struct err *err)
{
    const struct revision_object **rows;
    size_t n = revision_list(p->server->revisions, STR_NONE, STR_NONE, a, &rows);
    struct object **objects = ARENA_ARRAY(a, n + 1, struct object *);
    struct findings f;

    findings_init(&f, a);
    *count = 0;
    for (size_t i = 0; i < n; i++) {
        struct object_list list = {0};
        struct str text = arena_str(a, rows[i]->object), /* ours: the row goes with a commit, */
            file = arena_str(a, rows[i]->file);          /* what we serve stays until a rebuild */

        if (documents_parse(text, file, SYNTAX_JSON, a, &list, &f)) {
            (void)findings_err(&f, err);
            return err_wrap(err, "stored %.*s %.*s/%.*s", STR_ARG(rows[i]->kind),
                            STR_ARG(rows[i]->ns), STR_ARG(rows[i]->name));
        }
        if (list.count != 1)
            continue;
        list.items[0]->meta.created_ms = rows[i]->created_ms;
        list.items[0]->meta.revision = (uint64_t)rows[i]->revision;
        objects[(*count)++] = list.items[0];
    }
    *out = objects;
    return 0;
}

static int refresh_objects(struct publish *p, struct err *err)
{
    int64_t now = revision_current(p->server->revisions);
    struct arena a;
    struct object **objects = NULL;
    size_t count = 0;

    if (now == p->decoded_revision)
        return 0;
    arena_init(&a);
    if (decode_head(p, &a, &objects, &count, err)) {
        arena_done(&a);
        return -1;
    }
    catalog_done(&p->catalog); /* it points into the old objects */
    catalog_init(&p->catalog);
    arena_done(&p->objects_arena);
    p->objects_arena = a;
    p->objects = objects;
    p->object_count = count;
    p->decoded_revision = now;
    return 0;
}

/* A name is remembered while its last instance is away, but not when the host that claimed it was
 * ejected or is gone. */
static bool is_remembered(const struct registry *reg, const struct registry_service *s)
{
    const struct registry_host *h = s->owner.n ? registry_host(reg, s->owner) : NULL;

    return s->owner.n == 0 || (h && h->state == REGISTRY_ACTIVE);
}

/* Every port of every registered name, offered or not. */
static size_t known_rows(struct publish *p, struct arena *a, struct local_service **out)
{
    struct registry *reg = p->server->registry;
    const struct registry_service *s;
    struct local_service *rows;
    size_t n = 0;

    for (size_t i = 0; (s = registry_service_each(reg, &i));)
        n += s->port_count;
    rows = ARENA_ARRAY(a, n + 1, struct local_service);
    n = 0;
    for (size_t i = 0; (s = registry_service_each(reg, &i));) {
        for (size_t k = 0; k < s->port_count && is_remembered(reg, s); k++)
            rows[n++] = (struct local_service){.ns = s->ns,
                                               .name = s->name,
                                               .port = s->ports[k].port,
                                               .service_port = s->ports[k].service_port,
                                               .protocol = s->ports[k].protocol};
    }
    *out = rows;
    return n;
}

static size_t registered_rows(struct publish *p, struct arena *a, struct registered **out)
{
    struct registry *reg = p->server->registry;
    const struct registry_workload *w;
    struct registered *rows;
    size_t n = 0;

    for (size_t i = 0; registry_workload_each(reg, &i);)
        n++;
    rows = ARENA_ARRAY(a, n + 1, struct registered);
    n = 0;
    for (size_t i = 0; (w = registry_workload_each(reg, &i));) {
        const struct registry_host *h = registry_host(reg, w->host);
        struct registered *row = &rows[n];
        struct label *labels = ARENA_ARRAY(a, w->label_count + 1, struct label);

        if (!h || h->state != REGISTRY_ACTIVE || w->address_count == 0 ||
            !addr_parse_ip(w->addresses[0], &row->address))
            continue;
        for (size_t k = 0; k < w->label_count; k++)
            labels[k] = (struct label){w->labels[k].name, w->labels[k].value};
        row->service = (struct local_service){
            .ns = w->ns,
            .name = w->service,
            .account = w->account,
            .labels = {labels, w->label_count},
            .is_gateway = w->port_count == 0
        };
        if (w->port_count) {
            row->service.port = w->ports[0].port;
            row->service.service_port = w->ports[0].service_port;
            row->service.protocol = w->ports[0].protocol;
        }
        row->host_id = h->id;
        row->host = h->name;
        row->weight = w->weight;
        row->locality = w->locality;
        n++;
    }
    *out = rows;
    return n;
}

static void vip_of(void *arg, struct str ns, struct str fqdn, struct addr *vip4, struct addr *vip6)
{
    struct publish *p = arg;
    struct err err;

    *vip4 = *vip6 = (struct addr){0};
    if (registry_vip(p->server->registry, ns, fqdn, vip4, vip6, &err))
        log_warn("no virtual address for %.*s, it is reachable by Host header only: %s",
                 STR_ARG(fqdn), err.text);
}

int publish_now(struct publish *p, struct err *err)
{
    const struct server *s = p->server;
    struct catalog_input in = {.revision = (uint64_t)revision_current(s->revisions),
                               .epoch = str_from(store_epoch(s->store)),
                               .trust_domain = str_from(s->settings.trust_domain),
                               .domain = str_from(s->settings.domain),
                               .root_namespace = str_from(s->settings.root_namespace),
                               .vip = vip_of,
                               .vip_arg = p};
    struct registered *rows;
    struct local_service *known;
    struct arena a;

    if (!p->stale)
        return 0;
    if (refresh_objects(p, err))
        return -1;
    arena_init(&a);
    in.objects = p->objects;
    in.object_count = p->object_count;
    in.registered_count = registered_rows(p, &a, &rows);
    in.registered = rows;
    in.known_count = known_rows(p, &a, &known);
    in.known = known;
    catalog_done(&p->catalog);
    catalog_init(&p->catalog);
    catalog_build(&in, &p->catalog);
    arena_done(&a);
    p->stale = false;
    return 0;
}

static void run(struct task *t, unsigned notes)
{
    struct publish *p = CONTAINER(t, struct publish, task);
    struct err err;

    (void)notes; /* the timer's alone */
    p->first_ms = 0;
    if (publish_now(p, &err)) {
        log_error("the mesh cannot be published, agents keep what they have: %s", err.text);
        return;
    }
    session_push_all(p->server);
}

void publish_soon(struct publish *p)
{
    int64_t now = loop_now_ms(p->server->loop);

    p->stale = true;
    if (!p->first_ms)
        p->first_ms = now;
    timer_set(&p->timer, MIN(now + DEBOUNCE_MS, p->first_ms + DEBOUNCE_MAX_MS));
}

struct object *const *publish_objects(struct publish *p, size_t *count)
{
    struct err err;

    if (publish_now(p, &err)) /* a commit may be younger than the last rebuild */
        log_error("the mesh cannot be published, agents keep what they have: %s", err.text);
    *count = p->object_count;
    return p->objects;
}

struct publish *publish_new(struct server *s)
{
    struct publish *p = mem_zalloc(sizeof(*p));

    p->server = s;
    p->decoded_revision = -1;
    p->stale = true;
    task_init(&p->task, s->loop, run);
    timer_init(&p->timer, &p->task, 1);
    arena_init(&p->objects_arena);
    catalog_init(&p->catalog);
    return p;
}

void publish_free(struct publish *p)
{
    if (!p)
        return;
    timer_stop(&p->timer);
    task_forget(&p->task);
    catalog_done(&p->catalog);
    arena_done(&p->objects_arena);
    mem_free(p);
}
