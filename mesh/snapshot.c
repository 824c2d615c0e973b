/* Hashes: a part's canonical text is its own JSON (the admin page prints the same), with the hashes
 * of the parts that it points to behind it. So whatever is added to a part and printed takes part
 * in sharing; what is not printed does not exist. */
#include "mesh/snapshot_print.h"

#include <ctype.h>
#include <string.h>

#include "mesh/base/buf.h"
#include "mesh/base/hash.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"

#define HOST_MAX_BYTES 255u                 /* no domain is longer, so no longer Host can match one */
#define HOST_KEY_BYTES (HOST_MAX_BYTES + 9) /* with brackets and a port */

/* ---- parts ---- */

void *part_new(size_t bytes)
{
    struct part *p = mem_zalloc(bytes);

    atomic_init(&p->refs, 1);
    arena_init(&p->arena);
    return p;
}

void *part_ref(void *part)
{
    struct part *p = part;

    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return part;
}

void part_unref(void *part)
{
    struct part *p = part;

    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (p->unref_children)
        p->unref_children(p);
    arena_done(&p->arena);
    mem_free(p);
}

/* ---- hashes ---- */

static void hash_text(struct part *p, struct buf *text)
{
    hash_sha256(buf_str(text), p->hash);
    buf_clear(text);
}

static void add_hash(struct buf *text, const struct part *p)
{
    buf_add(text, (struct str){(const char *)p->hash, sizeof(p->hash)});
}

static bool same(const struct part *a, const struct part *b)
{
    return memcmp(a->hash, b->hash, sizeof(a->hash)) == 0;
}

static void hash_cluster(struct cluster *c, struct buf *text)
{
    if (c->endpoints) {
        buf_json(text, c->endpoints->cluster);
        members_print(text, &snapshot_endpoints_shape, c->endpoints);
        hash_text(&c->endpoints->part, text);
    }
    members_print(text, &snapshot_cluster_shape, c);
    hash_text(&c->part, text);
}

static void hash_table(struct route_table *t, struct buf *text)
{
    for (size_t i = 0; i < t->vhost_count; i++) {
        members_print(text, &snapshot_vhost_shape, t->vhosts[i]);
        hash_text(&t->vhosts[i]->part, text);
    }
    buf_json(text, t->name);
    for (size_t i = 0; i < t->vhost_count; i++)
        add_hash(text, &t->vhosts[i]->part);
    hash_text(&t->part, text);
}

static void hash_listener(struct listener *l, struct buf *text)
{
    members_print(text, &snapshot_listener_shape, l);
    if (l->http)
        add_hash(text, &l->http->part);
    hash_text(&l->part, text);
}

/* ---- route tables ---- */

/* Keys: "name", ".suffix" for "*.suffix", "suffix" with a leading '*' kept for other wildcards,
 * "*". */
static struct str domain_key(struct str domain)
{
    return domain.n > 1 && domain.p[0] == '*' && domain.p[1] == '.'
               ? str_sub(domain, 1, domain.n - 1)
               : domain;
}

static void index_table(struct route_table *t)
{
    for (size_t i = 0; i < t->vhost_count; i++) {
        struct vhost *v = t->vhosts[i];

        for (size_t k = 0; k < v->domain_count; k++) {
            struct str domain = domain_key(v->domains[k]);

            if (!map_get(&t->by_host, domain))
                map_put(&t->by_host, domain, v);
            if (domain.n > 1 && (domain.p[0] == '.' || domain.p[0] == '*'))
                t->has_suffixes = true;
        }
    }
}

/* An IPv6 address has no port to lose unless it is in brackets. */
static struct str without_port(struct str host)
{
    size_t at = host.n;

    while (at > 0 && host.p[at - 1] >= '0' && host.p[at - 1] <= '9')
        at--;
    if (at == 0 || host.p[at - 1] != ':')
        return host;
    if (memchr(host.p, ':', at - 1) && host.p[0] != '[')
        return host;
    if (host.p[0] == '[' && (at < 2 || host.p[at - 2] != ']'))
        return host;
    return str_sub(host, 0, at - 1);
}

/* The key of a host name: lower case, an IPv6 address in brackets, without the root's dot. */
static size_t host_key(struct str host, char *name)
{
    bool bare6 = host.n > 0 && host.p[0] != '[' && memchr(host.p, ':', host.n);
    size_t n = 0;

    if (bare6)
        name[n++] = '[';
    for (size_t i = 0; i < host.n; i++)
        name[n++] = (char)tolower((unsigned char)host.p[i]);
    if (bare6)
        name[n++] = ']';
    return n > 1 && name[n - 1] == '.' ? n - 1 : n;
}

/* From the left, so that the longest suffix comes first. */
static const struct vhost *find_suffix(const struct route_table *t, char *name, size_t n)
{
    const struct vhost *v = NULL;

    for (size_t i = 1; !v && i < n; i++) {
        if (name[i] == '.')
            v = map_get(&t->by_host, (struct str){name + i, n - i});
        if (!v) {
            char kept = name[i - 1];

            name[i - 1] = '*';
            v = map_get(&t->by_host, (struct str){name + i - 1, n - i + 1});
            name[i - 1] = kept;
        }
    }
    return v;
}

const struct vhost *route_table_find(const struct route_table *t, struct str host)
{
    char name[HOST_KEY_BYTES];
    struct str bare = without_port(host);
    const struct vhost *v = NULL;
    size_t n;

    if (bare.n > HOST_MAX_BYTES)
        return map_get(&t->by_host, STR("*"));
    n = host_key(bare, name);
    if (t->has_ports && host.n - bare.n > 1 && host.n - bare.n <= 6) {
        memcpy(name + n, host.p + bare.n, host.n - bare.n);
        v = map_get(&t->by_host, (struct str){name, n + host.n - bare.n});
    }
    if (!v)
        v = map_get(&t->by_host, (struct str){name, n});
    if (!v && t->has_suffixes)
        v = find_suffix(t, name, n);
    return v ? v : map_get(&t->by_host, STR("*"));
}

/* ---- the root ---- */

struct snapshot *snapshot_new(void)
{
    struct snapshot *s = MEM_NEW(struct snapshot);

    atomic_init(&s->refs, 1);
    arena_init(&s->arena);
    s->detection_ms = LIMIT_SNIFF_MS;
    map_init(&s->by_cluster);
    map_init(&s->by_outbound);
    map_init(&s->by_inbound);
    map_init(&s->by_bound);
    map_init(&s->by_chain);
    return s;
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

struct snapshot *snapshot_unref(struct snapshot *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return NULL;
    for (size_t i = 0; i < s->listener_count; i++)
        part_unref(s->listeners[i]);
    for (size_t i = 0; i < s->cluster_count; i++)
        part_unref(s->clusters[i]);
    mem_free(s->listeners);
    mem_free(s->clusters);
    map_done(&s->by_cluster);
    map_done(&s->by_outbound);
    map_done(&s->by_inbound);
    map_done(&s->by_bound);
    map_done(&s->by_chain);
    arena_done(&s->arena);
    mem_free(s);
    return NULL;
}

/* Arrays double: full when the count is a power of two (or 0). */
static void *grown(void *array, size_t count, size_t size)
{
    if (count & (count - 1))
        return array;
    return mem_realloc(array, (count ? count * 2 : 1) * size);
}

void snapshot_add_listener(struct snapshot *s, struct listener *l)
{
    s->listeners = grown(s->listeners, s->listener_count, sizeof(struct listener *));
    s->listeners[s->listener_count++] = l;
}

void snapshot_add_cluster(struct snapshot *s, struct cluster *c)
{
    s->clusters = grown(s->clusters, s->cluster_count, sizeof(struct cluster *));
    s->clusters[s->cluster_count++] = c;
}

#define SERVER_NAME_MAX 255u

/* Binary: family, port, address. Any address of any family is family 0. */
struct listener_key {
    uint8_t bytes[19];
};

static struct str listener_key(const struct addr *a, bool any, struct listener_key *k)
{
    memset(k, 0, sizeof(*k));
    k->bytes[1] = (uint8_t)(a->port >> 8);
    k->bytes[2] = (uint8_t)a->port;
    if (!any && a->family) {
        k->bytes[0] = a->family;
        memcpy(k->bytes + 3, a->ip, sizeof(a->ip));
    }
    return (struct str){(const char *)k->bytes, sizeof(k->bytes)};
}

static void index_at(struct map *m, struct str k, struct listener *l)
{
    if (!map_get(m, k))
        map_put(m, k, l);
}

/* "*.example.com" is filed as ".example.com", any name as "". Nothing is filed that is too long to be a name. */
struct chain_key {
    char text[sizeof(struct listener_key) + SERVER_NAME_MAX];
};

static struct str chain_key(const struct addr *at, struct str name, struct chain_key *k)
{
    struct listener_key address;
    struct str head = listener_key(at, false, &address);

    memcpy(k->text, head.p, head.n);
    if (name.n)
        memcpy(k->text + head.n, name.p, name.n);
    return (struct str){k->text, head.n + name.n};
}

static void index_chain(struct snapshot *s, struct listener *l)
{
    struct chain_key k;

    if (l->server_name_count == 0)
        index_at(&s->by_chain, chain_key(&l->at, STR_NONE, &k), l);
    for (size_t i = 0; i < l->server_name_count; i++) {
        struct str name = domain_key(l->server_names[i]);

        if (name.n <= SERVER_NAME_MAX)
            index_at(&s->by_chain, chain_key(&l->at, name, &k), l);
    }
}

static void index_listener(struct snapshot *s, struct listener *l)
{
    struct listener_key k;

    if (l->is_chain)
        index_chain(s, l);
    else if (l->is_bound)
        index_at(&s->by_bound, listener_key(&l->at, false, &k), l);
    if (l->kind == LISTENER_INBOUND)
        index_at(&s->by_inbound, listener_key(&l->at, true, &k), l);
    if (l->kind == LISTENER_OUTBOUND && !l->is_bound)
        index_at(&s->by_outbound, listener_key(&l->at, addr_is_any(&l->at), &k), l);
}

/* What the previous root has, by name. */
struct former {
    struct map listeners; /* kind and name -> struct listener * */
    struct map tables;    /* name -> struct route_table * */
    struct map made;      /* pointer of a new table -> the table to use */
    struct buf text;
};

static struct str listener_name(struct arena *a, const struct listener *l)
{
    return arena_printf(a, "%d %.*s", (int)l->kind, STR_ARG(l->name));
}

/* A key of a set of pointers. */
static struct str pointer_key(const void *const *p)
{
    return (struct str){(const char *)p, sizeof(*p)};
}

static void former_init(struct former *f, const struct snapshot *previous, struct arena *a)
{
    map_init(&f->listeners);
    map_init(&f->tables);
    map_init(&f->made);
    buf_init(&f->text, SIZE_MAX / 2);
    for (size_t i = 0; previous && i < previous->listener_count; i++) {
        struct listener *l = previous->listeners[i];

        map_put(&f->listeners, listener_name(a, l), l);
        if (l->http)
            map_put(&f->tables, l->http->name, l->http);
    }
}

static void former_done(struct former *f)
{
    map_done(&f->listeners);
    map_done(&f->tables);
    map_done(&f->made);
    buf_done(&f->text);
}

static void share_vhosts(struct route_table *t, const struct route_table *old)
{
    struct map by_name;

    map_init(&by_name);
    for (size_t i = 0; i < old->vhost_count; i++)
        map_put(&by_name, old->vhosts[i]->name, old->vhosts[i]);
    for (size_t i = 0; i < t->vhost_count; i++) {
        struct vhost *v = map_get(&by_name, t->vhosts[i]->name);

        if (!v || !same(&v->part, &t->vhosts[i]->part))
            continue;
        part_unref(t->vhosts[i]);
        t->vhosts[i] = part_ref(v);
    }
    map_done(&by_name);
}

/* The table to use instead of `t`: itself, finished, or the previous root's. */
static struct route_table *seal_table(struct former *f, struct route_table *t)
{
    const void *p = t;
    struct route_table *use = map_get(&f->made, pointer_key(&p)), *old;

    if (use)
        return use;
    hash_table(t, &f->text);
    old = map_get(&f->tables, t->name);
    use = t;
    if (old && same(&old->part, &t->part)) {
        use = old;
    } else {
        if (old)
            share_vhosts(t, old);
        index_table(t);
    }
    map_put(&f->made, pointer_key(&p), use);
    return use;
}

/* Tables that are replaced stay alive until every listener was looked at: `made` knows them by
 * their address. */
static void seal_listeners(struct snapshot *s, struct former *f, struct arena *a)
{
    struct route_table **replaced = mem_array(s->listener_count + 1, sizeof(struct route_table *));
    size_t replaced_count = 0;

    for (size_t i = 0; i < s->listener_count; i++) {
        struct listener *l = s->listeners[i], *old;
        struct route_table *use = l->http ? seal_table(f, l->http) : NULL;

        if (use != l->http) {
            replaced[replaced_count++] = l->http;
            l->http = part_ref(use);
        }
        hash_listener(l, &f->text);
        old = map_get(&f->listeners, listener_name(a, l));
        if (old && same(&old->part, &l->part)) {
            s->listeners[i] = part_ref(old);
            part_unref(l);
        }
        index_listener(s, s->listeners[i]);
    }
    for (size_t i = 0; i < replaced_count; i++)
        part_unref(replaced[i]);
    mem_free(replaced);
}

static void seal_clusters(struct snapshot *s, struct former *f, const struct snapshot *previous)
{
    for (size_t i = 0; i < s->cluster_count; i++) {
        struct cluster *c = s->clusters[i];
        struct cluster *old = previous ? map_get(&previous->by_cluster, c->name) : NULL;

        hash_cluster(c, &f->text);
        if (old && same(&old->part, &c->part)) {
            s->clusters[i] = part_ref(old);
            part_unref(c);
        } else if (old && old->endpoints && c->endpoints &&
                   same(&old->endpoints->part, &c->endpoints->part)) {
            part_unref(c->endpoints);
            c->endpoints = part_ref(old->endpoints);
        } else if (c->endpoints) {
            endpoint_set_index(c->endpoints);
        }
        map_put(&s->by_cluster, s->clusters[i]->name, s->clusters[i]);
    }
}

void snapshot_seal(struct snapshot *s, const struct snapshot *previous)
{
    struct former f;
    struct arena a;

    arena_init(&a);
    former_init(&f, previous, &a);
    seal_listeners(s, &f, &a);
    seal_clusters(s, &f, previous);
    former_done(&f);
    arena_done(&a);
}

const struct listener *snapshot_outbound(const struct snapshot *s, const struct addr *original)
{
    struct listener_key k;
    const struct listener *l = map_get(&s->by_outbound, listener_key(original, false, &k));

    return l ? l : map_get(&s->by_outbound, listener_key(original, true, &k));
}

const struct listener *snapshot_inbound(const struct snapshot *s, uint16_t port)
{
    struct addr at = {.port = port};
    struct listener_key k;

    return map_get(&s->by_inbound, listener_key(&at, true, &k));
}

const struct listener *snapshot_chain(const struct snapshot *s, const struct addr *at,
                                      struct str server_name)
{
    struct chain_key k;
    struct str name = server_name.n <= SERVER_NAME_MAX ? server_name : STR_NONE;
    const struct listener *l = map_get(&s->by_chain, chain_key(at, name, &k));

    while (!l && name.n > 0) { /* ".b.c" of "a.b.c", then ".c" */
        const char *dot = memchr(name.p + 1, '.', name.n - 1);

        name = dot ? str_sub(name, (size_t)(dot - name.p), name.n) : STR_NONE;
        l = map_get(&s->by_chain, chain_key(at, name, &k));
    }
    return l;
}

const struct listener *snapshot_chain_of_host(const struct snapshot *s, const struct addr *at, struct str host)
{
    char name[HOST_KEY_BYTES];
    struct str bare = without_port(host);

    if (bare.n > HOST_MAX_BYTES)
        return NULL;
    return snapshot_chain(s, at, (struct str){name, host_key(bare, name)});
}

const struct listener *snapshot_bound(const struct snapshot *s, const struct addr *at)
{
    struct listener_key k;

    return map_get(&s->by_bound, listener_key(at, false, &k));
}

const struct cluster *snapshot_cluster(const struct snapshot *s, struct str name)
{
    return map_get(&s->by_cluster, name);
}
