#include "proxy/balance_hash.h"

#include <inttypes.h>

#include "mesh/base/xxh64.h"
#include "mesh/snapshot.h"
#include "proxy/wire/http.h"

#define STEPS_PER_ENDPOINT 64 /* along the ring, before all endpoints are looked at in order */

/* ---- keys ---- */

static uint64_t hash_source(const struct addr *remote)
{
    char text[ADDR_TEXT_MAX];

    return xxh64(str_from(addr_format_ip(remote, text)), 0);
}

bool balance_hash_connection(const struct cluster *c, const struct addr *remote, uint64_t *hash)
{
    if (c->balance != BALANCE_HASH || c->hash.by != HASH_BY_SOURCE)
        return false;
    *hash = hash_source(remote);
    return true;
}

static struct str unquoted(struct str s)
{
    bool quoted = s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"';

    return quoted ? str_sub(s, 1, s.n - 2) : s;
}

static bool cookie_of_field(struct str field, struct str name, struct str *value)
{
    struct str pair, key;

    while (str_next(&field, ';', &pair)) {
        pair = str_trim(pair);
        if (!str_cut(&pair, '=', &key) || !str_eq(key, name))
            continue;
        *value = unquoted(pair);
        return true;
    }
    return false;
}

static bool find_cookie(const struct http_head *h, struct str name, struct str *value)
{
    for (size_t i = 0; i < h->count; i++) {
        if (str_eq(h->fields[i].name, STR("cookie")) && cookie_of_field(h->fields[i].value, name, value))
            return value->n > 0;
    }
    return false;
}

/* The same for all requests of a connection, so that those which run at once agree. */
static struct str make_cookie(struct arena *a, const struct addr *remote, const struct addr *local)
{
    char from[ADDR_TEXT_MAX], to[ADDR_TEXT_MAX];
    struct str both = arena_printf(a, "%s%s", addr_format(remote, from), addr_format(local, to));

    return arena_printf(a, "%016" PRIx64, xxh64(both, 0));
}

static void sort_values(const struct http_head *h, struct str name, struct str *values)
{
    size_t n = 0;

    for (size_t i = 0; i < h->count; i++) {
        size_t at = n;

        if (!str_eq(h->fields[i].name, name))
            continue;
        for (; at > 0 && str_cmp(values[at - 1], h->fields[i].value) > 0; at--)
            values[at] = values[at - 1];
        values[at] = h->fields[i].value;
        n++;
    }
}

/* Where the header came several times all its values count, and not their order: the hash of each is the seed of the
 * next. */
static bool hash_header(const struct http_head *h, struct str name, uint64_t *hash)
{
    struct str first, *values;
    size_t n = http_count(h, name);

    if (!http_field_get(h, name, &first))
        return false;
    if (n < 2) {
        *hash = xxh64(first, 0);
        return true;
    }
    values = arena_alloc(h->arena, n * sizeof(*values));
    sort_values(h, name, values);
    *hash = 0;
    for (size_t i = 0; i < n; i++)
        *hash = xxh64(values[i], *hash);
    return true;
}

static bool key_of_request(const struct hash_rule *r, const struct http_head *h, struct str *key)
{
    switch (r->by) {
    case HASH_BY_COOKIE:
        return find_cookie(h, r->name, key);
    case HASH_BY_QUERY:
        return http_query_get(h->path, r->name, key);
    case HASH_BY_NOTHING:
    case HASH_BY_HEADER:
    case HASH_BY_SOURCE:
        break;
    }
    return false;
}

bool balance_hash_request(const struct cluster *c, const struct http_head *h, const struct addr *remote,
                          const struct addr *local, uint64_t *hash, struct str *set_cookie)
{
    const struct hash_rule *r = &c->hash;
    struct str key;

    if (balance_hash_connection(c, remote, hash))
        return true;
    if (c->balance != BALANCE_HASH)
        return false;
    if (r->by == HASH_BY_HEADER)
        return hash_header(h, r->name, hash);
    if (!key_of_request(r, h, &key)) {
        if (!r->makes_cookie)
            return false;
        key = make_cookie(h->arena, remote, local);
        *set_cookie = arena_printf(h->arena, "%.*s=\"%.*s\"%.*s", STR_ARG(r->name), STR_ARG(key),
                                   STR_ARG(r->cookie_tail));
    }
    *hash = xxh64(key, 0);
    return true;
}

/* ---- choice ---- */

static bool is_usable(const struct cluster_view *v, const struct balance_level *at, size_t i)
{
    return v->set->endpoints[i].priority == (size_t)(at - v->levels.items) && balance_level_uses(v, at, i);
}

/* The ring is of all endpoints: those of other levels and those that must not be used are passed over, which is the ring of the
 * rest. */
size_t balance_hash_pick(const struct cluster_view *v, const struct balance_level *at, uint64_t hash,
                         const struct balance_tried *tried)
{
    const struct ring *r = &v->set->ring;
    size_t from = ring_at(r, hash), steps = MIN(r->count, v->set->count * STEPS_PER_ENDPOINT), first = BALANCE_NONE;

    for (size_t n = 0; n < steps; n++) {
        size_t i = r->owners[(from + n) % r->count];

        if (!is_usable(v, at, i))
            continue;
        if (balance_may_take(v, i, tried))
            return i;
        first = first == BALANCE_NONE ? i : first;
    }
    for (size_t n = 0; n < at->count; n++) {
        size_t i = v->levels.order[at->first + (hash + n) % at->count];

        if (balance_may_take(v, i, tried))
            return i;
    }
    return first == BALANCE_NONE ? v->levels.order[at->first + hash % at->count] : first;
}
