#include "proxy/route.h"

/* ---- HTTP ---- */

/* A header that came several times, as one list. */
struct joined {
    struct joined *next;
    struct str name, value;
};

/* A request under judgement. */
struct matching {
    const struct http_head *h;
    struct joined *joined; /* each is made once, however many routes ask for it */
};

static struct str join(struct matching *q, struct str name)
{
    struct joined *j = q->joined;

    while (j && !str_eq(j->name, name))
        j = j->next;
    if (!j) {
        j = ARENA_NEW(q->h->arena, struct joined);
        *j = (struct joined){q->joined, name, http_list(q->h, name, true, q->h->arena)};
        q->joined = j;
    }
    return j->value;
}

/* All of its values count, so that nobody gets past a rule by their order. */
static bool get_whole(struct matching *q, struct str name, struct str *value)
{
    if (!http_field_get(q->h, name, value))
        return false;
    if (http_count(q->h, name) > 1)
        *value = join(q, name);
    return true;
}

static enum match_result match_header(const struct header_match *m, struct matching *q)
{
    struct str value = STR_NONE;
    bool present = get_whole(q, m->name, &value);
    enum match_result r = match_optional(&m->value, present, value);

    if (r == MATCH_FAILED || !m->negate)
        return r;
    return r == MATCH_YES ? MATCH_NO : MATCH_YES;
}

/* CONNECT would get past what a route is for, so only those that name the method take it. */
static bool takes_method(const struct route_match *m, const struct http_head *h)
{
    return !http_is_connect(h) || (m->method.kind == MATCH_EXACT && str_eq(m->method.text, h->method));
}

static enum match_result match_parts(const struct route_match *m, const struct http_head *h)
{
    const struct {
        const struct match_string *want;
        struct str have;
        bool nocase;
    } parts[] = {
        {&m->method,    h->method,               false         },
        {&m->scheme,    h->scheme,               false         },
        {&m->authority, h->authority,            false         },
        {&m->path,      http_path_only(h->path), m->path_nocase},
    };

    for (size_t i = 0; i < COUNT(parts); i++) {
        enum match_result r = match_string(parts[i].want, parts[i].have, parts[i].nocase);

        if (r != MATCH_YES)
            return r;
    }
    return MATCH_YES;
}

static enum match_result match_route(const struct route_match *m, struct matching *q)
{
    const struct http_head *h = q->h;
    enum match_result r = takes_method(m, h) ? match_parts(m, h) : MATCH_NO;

    for (size_t i = 0; r == MATCH_YES && i < m->header_count; i++)
        r = match_header(&m->headers[i], q);
    for (size_t i = 0; r == MATCH_YES && i < m->query_count; i++) {
        struct str value = STR_NONE;
        bool present = http_query_get(h->path, m->queries[i].name, &value);

        r = match_optional(&m->queries[i].value, present, value);
    }
    return r;
}

enum match_result route_find(const struct vhost *v, const struct http_head *h,
                             const struct route **out)
{
    enum match_result r = MATCH_NO;
    struct matching q = {.h = h};

    for (size_t i = 0; i < v->route_count && r == MATCH_NO; i++) {
        r = match_route(&v->routes[i].match, &q);
        if (r == MATCH_YES)
            *out = &v->routes[i];
    }
    return r;
}

/* ---- TCP ---- */

static bool holds_destination(const struct tcp_route *r, const struct addr *original)
{
    for (size_t i = 0; i < r->subnet_count; i++) {
        if (cidr_has(&r->subnets[i], original))
            return true;
    }
    return r->subnet_count == 0;
}

/* How well a route's names fit, by the bytes that are given: 0 not at all, 1 where no name is wanted. */
static size_t name_fit(const struct tcp_route *r, struct str name)
{
    size_t best = r->server_name_count == 0 ? 1 : 0;

    for (size_t i = 0; i < r->server_name_count; i++) {
        struct str want = r->server_names[i];

        if (str_eq(want, name))
            return SIZE_MAX;
        if (want.n > 0 && want.p[0] == '*' && str_ends(name, str_sub(want, 1, want.n)))
            best = MAX(best, want.n + 1);
    }
    return best;
}

const struct tcp_route *route_tcp(const struct listener *l, const struct addr *original, struct str server_name)
{
    const struct tcp_route *found = NULL;
    size_t best = 0;

    for (size_t i = 0; i < l->tcp_count; i++) {
        const struct tcp_route *r = &l->tcp[i];
        size_t fit = holds_destination(r, original) ? name_fit(r, server_name) : 0;

        if (fit > best) {
            best = fit;
            found = r;
        }
    }
    return found;
}

const struct weighted_cluster *route_choose(const struct weighted_cluster *clusters, size_t count,
                                            uint32_t weight_total, uint64_t random)
{
    uint64_t at = weight_total ? random % weight_total : 0;

    for (size_t i = 0; i < count; i++) {
        if (at < clusters[i].weight || weight_total == 0)
            return &clusters[i];
        at -= clusters[i].weight;
    }
    return count ? &clusters[count - 1] : NULL;
}

/* ---- retries ---- */

static bool grpc_wanted(unsigned on, const struct http_head *head)
{
    static const struct {
        unsigned status, on;
    } rows[] = {
        {1,  RETRY_GRPC_CANCELLED  },
        {4,  RETRY_GRPC_DEADLINE   },
        {8,  RETRY_GRPC_RESOURCE   },
        {13, RETRY_GRPC_INTERNAL   },
        {14, RETRY_GRPC_UNAVAILABLE},
    };
    struct str text;
    uint64_t status;

    if (!http_get(head, STR("grpc-status"), &text) || !str_uint(text, 0, 999, &status))
        return false;
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (rows[i].status == status)
            return on & rows[i].on;
    }
    return false;
}

static bool has_one(const struct http_head *head, struct str names)
{
    struct str name;

    while (str_next(&names, ',', &name)) {
        name = str_trim(name);
        for (size_t i = 0; i < head->count; i++) {
            if (str_eq_nocase(head->fields[i].name, name))
                return true;
        }
    }
    return false;
}

static bool answer_wanted(const struct retry_policy *p, const struct http_head *head, struct str names)
{
    unsigned status = head->status;
    struct str limited;

    if (http_get(head, STR("x-envoy-ratelimited"), &limited))
        return p->on & RETRY_ENVOY_RATELIMITED;
    if ((p->on & RETRY_5XX) && status >= 500 && status <= 599)
        return true;
    if ((p->on & RETRY_GATEWAY_ERROR) && status >= 502 && status <= 504)
        return true;
    if ((p->on & RETRY_RETRIABLE_4XX) && status == 409)
        return true;
    for (size_t i = 0; (p->on & RETRY_STATUS_CODES) && i < p->code_count; i++) {
        if (p->codes[i] == status)
            return true;
    }
    if ((p->on & RETRY_HEADERS) && has_one(head, names))
        return true;
    return grpc_wanted(p->on, head);
}

bool route_retry_wanted(const struct retry_policy *p, enum outcome o, const struct http_head *head,
                        struct str names, bool request_sent)
{
    const unsigned any_reset = RETRY_RESET | RETRY_5XX | RETRY_GATEWAY_ERROR;

    switch (o) {
    case OUTCOME_ANSWERED:
        return head && answer_wanted(p, head, names);
    case OUTCOME_CONNECT_FAILED:
    case OUTCOME_CONNECT_TIMEOUT:
    case OUTCOME_UPSTREAM_TLS:
        return p->on & (any_reset | RETRY_CONNECT_FAILURE | RETRY_RESET_BEFORE_REQUEST);
    case OUTCOME_UPSTREAM_REFUSED:
        return p->on & (any_reset | RETRY_REFUSED_STREAM |
                        (request_sent ? 0u : RETRY_RESET_BEFORE_REQUEST));
    case OUTCOME_UPSTREAM_CLOSED:
    case OUTCOME_UPSTREAM_RESET:
    case OUTCOME_UPSTREAM_PROTOCOL:
        return p->on & (any_reset | (request_sent ? 0u : RETRY_RESET_BEFORE_REQUEST));
    case OUTCOME_TRY_TIMEOUT:
        return p->on & any_reset;
    default:
        return false;
    }
}

int64_t route_backoff_ms(const struct retry_policy *p, unsigned retry, uint64_t random)
{
    int64_t base = p->backoff_base_ms > 0 ? p->backoff_base_ms : 25;
    int64_t most = base;

    for (unsigned i = 1; i < retry && most < base * 10; i++)
        most *= 2;
    most = MIN(most, base * 10);
    return (int64_t)(random % (uint64_t)(most + 1));
}
