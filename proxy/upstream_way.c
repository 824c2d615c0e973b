#include <string.h>

#include "mesh/base/mem.h"
#include "pki/creds.h"
#include "proxy/upstream_parts.h"
#include "proxy/wire/tls.h"

static bool wants_tls(const struct upstream_target *t)
{
    const struct cluster *c = t->cluster;

    switch (c->tls) {
    case CLUSTER_TLS_WEB:
        return true;
    case CLUSTER_TLS_MUTUAL:
        return c->kind == CLUSTER_ENDPOINTS;
    case CLUSTER_TLS_AUTO:
        return c->kind == CLUSTER_ENDPOINTS && t->endpoint && t->endpoint->is_mesh;
    case CLUSTER_TLS_OFF:
        break;
    }
    return false;
}

/* TLS with a server outside of the mesh ends at the application itself, wherever it is. */
bool way_is_local(const struct upstream_target *t)
{
    return t->endpoint && t->endpoint->is_local && t->cluster->tls != CLUSTER_TLS_WEB &&
           t->cluster->proxy_header == CLUSTER_HEADER_NONE;
}

/* Made for every request: no printf. `at` is NULL once something did not fit. */
static char *put(char *at, const char *end, struct str s)
{
    size_t n = s.n ? strnlen(s.p, s.n) : 0; /* the key is a C string, too */

    if (!at || n + 2 > (size_t)(end - at))
        return NULL;
    if (n)
        memcpy(at, s.p, n);
    at[n] = '|';
    return at + n + 1;
}

static char *put_addr(char *at, const char *end, const struct addr *a)
{
    static const char digits[] = "0123456789abcdef";
    size_t ip_bytes = a->family == 6 ? 16 : 4;
    const uint8_t *ip = a->ip;
    char hex[2 * sizeof(a->ip)], port[STR_UINT_MAX];

    for (size_t i = 0; i < ip_bytes; i++) {
        hex[2 * i] = digits[ip[i] >> 4];
        hex[2 * i + 1] = digits[ip[i] & 15];
    }
    at = put(at, end, (struct str){hex, a->family ? 2 * ip_bytes : 0});
    return put(at, end, str_of_uint(a->port, port));
}

static struct str protocol_name(enum upstream_protocol p)
{
    static const struct str names[UPSTREAM_PROTOCOLS] = {
        [UPSTREAM_TCP] = STR_INIT("tcp"), [UPSTREAM_HTTP1] = STR_INIT("http"), [UPSTREAM_HTTP2] = STR_INIT("h2")};

    return names[p];
}

static struct str transport_of(const struct upstream_target *t, const struct way *way)
{
    if (way_is_local(t))
        return t->cluster->tls == CLUSTER_TLS_OFF ? STR("pair-plain") : STR("pair");
    return way->is_tls ? STR("tls") : STR("plain");
}

/* Everything that decides who is at the other end, and as whom we speak to it. Empty: it does not fit. */
static struct str key_of(const struct upstream_target *t, struct way *way)
{
    const char *end = way->text + sizeof(way->text);
    uint64_t generation = way->id ? creds_generation(way->id->creds) : 0;
    char number[STR_UINT_MAX], *at = put(way->text, end, t->cluster->name);

    at = put(at, end, t->identity);
    at = put(at, end, way->creds);
    at = put(at, end, str_of_uint(generation, number));
    at = put(at, end, way->expect);
    at = put_addr(at, end, &t->addr);
    at = put(at, end, way->sni);
    if (t->cluster->proxy_header != CLUSTER_HEADER_NONE) /* the server was told whose connection it is */
        at = put_addr(put_addr(at, end, &t->source), end, &t->destination);
    at = put(at, end, protocol_name(t->protocol));
    at = put(at, end, transport_of(t, way));
    if (!at) /* two long names must not meet in one pool */
        return STR_NONE;
    *at = '\0';
    return (struct str){way->text, (size_t)(at - way->text)};
}

static void into_mesh(const struct upstream_target *t, struct way *way)
{
    way->creds = t->identity;
    way->sni = t->cluster->sni;
    if (t->cluster->sans.n)
        way->expect = t->cluster->sans;
    else if (t->endpoint)
        way->expect = t->endpoint->identity;
}

/* An address is no server name (RFC 6066 section 3), but a certificate may be for one. */
static void out_of_mesh(const struct upstream_target *t, struct way *way)
{
    const struct origination *o = t->cluster->origination;
    struct addr literal;

    way->creds = o->material.creds;
    way->sni = o->sni;
    if (o->sni.n == 0 && !addr_parse_ip(t->host, &literal))
        way->sni = t->host;
    way->expect = o->names.n ? o->names : t->host.n ? t->host : STR("*");
}

bool way_find(struct upstream_wait *wait, struct way *way)
{
    const struct upstream_target *t = &wait->target;
    bool is_web = t->cluster->tls == CLUSTER_TLS_WEB;

    way->is_tls = wants_tls(t) && !way_is_local(t);
    way->creds = way->sni = way->expect = STR_NONE;
    way->id = NULL;
    if (way->is_tls) {
        (is_web ? out_of_mesh : into_mesh)(t, way);
        way->id = worker_identity(wait->worker, way->creds);
    }
    if (way->is_tls && !way->id) {
        upstream_answer(wait, NULL, OUTCOME_UPSTREAM_TLS,
                        is_web ? STR("the files of the rule's tls cannot be used; the agent's log says why")
                               : STR("there is no certificate for the caller's identity yet"));
        return false;
    }
    way->key = key_of(t, way);
    if (way->key.n == 0) {
        upstream_answer(wait, NULL, OUTCOME_INTERNAL, STR("names of this cluster are too long"));
        return false;
    }
    way->pool = t->protocol != UPSTREAM_TCP ? pool_get(wait->worker, t, way) : NULL;
    return true;
}

bool way_start_tls(struct upstream *u, const struct upstream_target *t, const struct way *way)
{
    const struct origination *o = t->cluster->origination;
    struct tls_context *context =
        t->cluster->tls == CLUSTER_TLS_WEB
            ? worker_web_context(u->worker, way->id, t->protocol, o->skip_verify)
            : worker_client_context(u->worker, way->id, t->protocol);
    struct err err;
    struct tls *tls = context ? tls_new(context, way->sni, way->key, &err) : NULL;

    if (!tls)
        return false;
    tls_expect(tls, way->expect);
    io_start_tls(&u->io, tls, NULL);
    return true;
}
