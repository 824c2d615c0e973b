#include "proxy/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "mesh/base/mem.h"
#include "mesh/identity.h"
#include "proxy/outcome.h"

#define LABELS_MAX (16u << 10)

/* Envoy's default buckets (observability.md section 1). */
static const struct {
    uint64_t twice; /* twice the bound: the first is 0.5 */
    const char *text;
} bounds[METRICS_BUCKETS] = {
    {1,          "0.5"    },
    {2,          "1"      },
    {10,         "5"      },
    {20,         "10"     },
    {50,         "25"     },
    {100,        "50"     },
    {200,        "100"    },
    {500,        "250"    },
    {1000,       "500"    },
    {2000,       "1000"   },
    {5000,       "2500"   },
    {10000,      "5000"   },
    {20000,      "10000"  },
    {60000,      "30000"  },
    {120000,     "60000"  },
    {600000,     "300000" },
    {1200000,    "600000" },
    {3600000,    "1800000"},
    {7200000,    "3600000"},
    {UINT64_MAX, "+Inf"   },
};

static void add(atomic_ullong *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static uint64_t get(atomic_ullong *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void metrics_init(struct metrics *m)
{
    memset(m, 0, sizeof(*m));
    map_init(&m->by_labels);
}

void metrics_done(struct metrics *m)
{
    struct series *s = m->first;

    while (s) {
        struct series *next = s->next;

        mem_free(s);
        s = next;
    }
    map_done(&m->by_labels);
}

void metrics_forget(struct metrics *m)
{
    memset(m->cache, 0, sizeof(m->cache));
}

/* ---- labels ---- */

static void add_label(struct buf *b, const char *name, struct str value, const char *unknown)
{
    if (b->n > 0)
        buf_addc(b, ',');
    buf_printf(b, "%s=\"", name);
    if (value.n == 0)
        value = str_from(unknown);
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == '\n')
            buf_adds(b, "\\n");
        else if (value.p[i] == '"' || value.p[i] == '\\')
            buf_printf(b, "\\%c", value.p[i]);
        else
            buf_addc(b, value.p[i]);
    }
    buf_addc(b, '"');
}

/* The order is that of Istio's golden files. */
static void labels_format(const struct metric_labels *l, struct buf *b)
{
    const struct metric_peer *src = &l->source, *dst = &l->destination;
    char code[16], flags[RESPONSE_FLAGS_TEXT];
    const char *security = l->is_source ? "unknown" : l->is_mutual ? "mutual_tls" : "none";

    snprintf(code, sizeof(code), "%u", l->code);
    add_label(b, "reporter", l->is_source ? STR("source") : STR("destination"), "");
    add_label(b, "source_workload", src->workload, "unknown");
    add_label(b, "source_canonical_service", src->canonical_service, "unknown");
    add_label(b, "source_canonical_revision", src->canonical_revision, "latest");
    add_label(b, "source_workload_namespace", src->workload_ns, "unknown");
    add_label(b, "source_principal", src->principal, "unknown");
    add_label(b, "source_app", src->app, "unknown");
    add_label(b, "source_version", src->version, "unknown");
    add_label(b, "source_cluster", STR_NONE, "unknown");
    add_label(b, "destination_workload", dst->workload, "unknown");
    add_label(b, "destination_workload_namespace", dst->workload_ns, "unknown");
    add_label(b, "destination_principal", dst->principal, "unknown");
    add_label(b, "destination_app", dst->app, "unknown");
    add_label(b, "destination_version", dst->version, "unknown");
    add_label(b, "destination_service", l->service, "unknown");
    add_label(b, "destination_canonical_service", dst->canonical_service, "unknown");
    add_label(b, "destination_canonical_revision", dst->canonical_revision, "latest");
    add_label(b, "destination_service_name", l->service_name, "unknown");
    add_label(b, "destination_service_namespace", l->service_ns, "unknown");
    add_label(b, "destination_cluster", STR_NONE, "unknown");
    add_label(b, "request_protocol", l->protocol, "unknown");
    if (l->kind == SERIES_HTTP) {
        add_label(b, "response_code", str_from(code), "");
        add_label(b, "grpc_response_status", l->grpc_status, "");
    }
    if (l->kind != SERIES_MESSAGES)
        add_label(b, "response_flags", str_from(response_flags_format(l->flags, flags)), "-");
    add_label(b, "connection_security_policy", str_from(security), "");
}

static struct metric_labels other_labels(const struct metric_labels *like)
{
    const struct str other = STR("other");
    const struct metric_peer peer = {other, other, other, other, other, other, other};

    return (struct metric_labels){.kind = like->kind,
                                  .is_source = like->is_source,
                                  .source = peer,
                                  .destination = peer,
                                  .service = other,
                                  .service_name = other,
                                  .service_ns = other,
                                  .protocol = like->protocol,
                                  .code = 0};
}

struct metric_peer metrics_peer_of(struct str uri)
{
    struct metric_peer p = {.principal = uri};
    struct identity id;
    struct err err;

    if (uri.n == 0 || identity_parse(uri, &id, &err) < 0 || id.kind != IDENTITY_SERVICE)
        return p;
    p.workload = p.app = p.canonical_service = id.account;
    p.workload_ns = id.ns;
    return p;
}

/* ---- series ---- */

static struct series *series_new(struct metrics *m, struct str labels, enum series_kind kind)
{
    struct series *s = mem_zalloc(sizeof(*s) + labels.n);

    memcpy(s + 1, labels.p, labels.n);
    s->labels = (struct str){(const char *)(s + 1), labels.n};
    s->kind = kind;
    map_put(&m->by_labels, s->labels, s);
    if (m->last)
        atomic_store_explicit(&m->last->next, s, memory_order_release);
    else
        atomic_store_explicit(&m->first, s, memory_order_release);
    m->last = s;
    m->count++;
    return s;
}

static struct series *series_find(struct metrics *m, const struct metric_labels *labels)
{
    struct metric_labels other;
    struct series *s;
    struct buf text;

    buf_init(&text, LABELS_MAX);
    labels_format(labels, &text);
    s = text.failed ? NULL : map_get(&m->by_labels, buf_str(&text));
    if (!s) {
        if (text.failed || m->count >= METRICS_SERIES_MAX) {
            other = other_labels(labels);
            buf_clear(&text);
            labels_format(&other, &text);
            s = map_get(&m->by_labels, buf_str(&text));
        }
        if (!s)
            s = series_new(m, buf_str(&text), labels->kind);
    }
    buf_done(&text);
    return s;
}

static bool key_eq(const struct metric_key *a, const struct metric_key *b)
{
    return a->listener == b->listener && a->cluster == b->cluster && a->endpoint == b->endpoint &&
           a->peer == b->peer && a->code == b->code && a->flags == b->flags &&
           a->grpc_status == b->grpc_status && a->kind == b->kind;
}

static size_t key_slot(const struct metric_key *k)
{
    uint64_t h = (uint64_t)(uintptr_t)k->listener * 31 + (uint64_t)(uintptr_t)k->cluster;

    h = (h * 31 + (uint64_t)(uintptr_t)k->endpoint) * 31 + k->peer;
    h = (h * 1009 + k->code) * 31 + k->flags * 4 + k->kind;
    h += (uint64_t)(unsigned)k->grpc_status << 7;
    return (size_t)((h ^ (h >> 17) ^ (h >> 41)) % METRICS_CACHE);
}

struct series *metrics_series(struct metrics *m, const struct metric_key *key,
                              const struct metric_labels *labels)
{
    size_t slot = key ? key_slot(key) : 0;
    struct series *s;

    if (key && m->cache[slot].series && key_eq(&m->cache[slot].key, key))
        return m->cache[slot].series;
    s = series_find(m, labels);
    if (key) {
        m->cache[slot].key = *key;
        m->cache[slot].series = s;
    }
    return s;
}

static void observe(struct histogram *h, uint64_t value)
{
    size_t i = 0;

    while (i < METRICS_BUCKETS - 1 && value > bounds[i].twice / 2)
        i++;
    if (i == 0 && value > 0) /* 0.5 is not 0 */
        i = 1;
    add(&h->buckets[i], 1);
    add(&h->sum, value);
}

void metrics_request(struct series *s, uint64_t duration_ms, uint64_t request_bytes,
                     uint64_t response_bytes)
{
    add(&s->http.requests, 1);
    observe(&s->http.duration_ms, duration_ms);
    observe(&s->http.request_bytes, request_bytes);
    observe(&s->http.response_bytes, response_bytes);
}

void metrics_messages(struct series *s, uint64_t requests, uint64_t responses)
{
    add(&s->messages.requests, requests);
    add(&s->messages.responses, responses);
}

void metrics_tcp(struct series *s, unsigned opened, unsigned closed, uint64_t sent,
                 uint64_t received)
{
    add(&s->tcp.opened, opened);
    add(&s->tcp.closed, closed);
    add(&s->tcp.sent, sent);
    add(&s->tcp.received, received);
}

/* ---- printing ---- */

static void sum_histogram(struct histogram *to, struct histogram *from)
{
    for (size_t i = 0; i < METRICS_BUCKETS; i++)
        add(&to->buckets[i], get(&from->buckets[i]));
    add(&to->sum, get(&from->sum));
}

static void sum_series(struct metrics *sum, struct series *s)
{
    struct series *to = map_get(&sum->by_labels, s->labels);

    if (!to)
        to = series_new(sum, s->labels, s->kind);
    switch (s->kind) {
    case SERIES_HTTP:
        add(&to->http.requests, get(&s->http.requests));
        sum_histogram(&to->http.duration_ms, &s->http.duration_ms);
        sum_histogram(&to->http.request_bytes, &s->http.request_bytes);
        sum_histogram(&to->http.response_bytes, &s->http.response_bytes);
        break;
    case SERIES_MESSAGES:
        metrics_messages(to, get(&s->messages.requests), get(&s->messages.responses));
        break;
    case SERIES_TCP:
        metrics_tcp(to, 0, 0, get(&s->tcp.sent), get(&s->tcp.received));
        add(&to->tcp.opened, get(&s->tcp.opened));
        add(&to->tcp.closed, get(&s->tcp.closed));
        break;
    }
}

static const struct {
    const char *name;
    enum series_kind kind;
    bool is_histogram;
    size_t at;
} families[] = {
    {"istio_requests_total",                SERIES_HTTP,     false, offsetof(struct series, http.requests)      },
    {"istio_request_duration_milliseconds", SERIES_HTTP,     true,  offsetof(struct series, http.duration_ms)   },
    {"istio_request_bytes",                 SERIES_HTTP,     true,  offsetof(struct series, http.request_bytes) },
    {"istio_response_bytes",                SERIES_HTTP,     true,  offsetof(struct series, http.response_bytes)},
    {"istio_request_messages_total",        SERIES_MESSAGES, false, offsetof(struct series, messages.requests)  },
    {"istio_response_messages_total",       SERIES_MESSAGES, false, offsetof(struct series, messages.responses) },
    {"istio_tcp_connections_opened_total",  SERIES_TCP,      false, offsetof(struct series, tcp.opened)         },
    {"istio_tcp_connections_closed_total",  SERIES_TCP,      false, offsetof(struct series, tcp.closed)         },
    {"istio_tcp_sent_bytes_total",          SERIES_TCP,      false, offsetof(struct series, tcp.sent)           },
    {"istio_tcp_received_bytes_total",      SERIES_TCP,      false, offsetof(struct series, tcp.received)       },
};

static void print_histogram(struct buf *out, const char *name, struct str labels,
                            struct histogram *h)
{
    uint64_t count = 0;

    for (size_t i = 0; i < METRICS_BUCKETS; i++) {
        count += get(&h->buckets[i]);
        buf_printf(out, "%s_bucket{%.*s,le=\"%s\"} %" PRIu64 "\n", name, STR_ARG(labels),
                   bounds[i].text, count);
    }
    buf_printf(out, "%s_sum{%.*s} %" PRIu64 "\n", name, STR_ARG(labels), get(&h->sum));
    buf_printf(out, "%s_count{%.*s} %" PRIu64 "\n", name, STR_ARG(labels), count);
}

void metrics_print(struct metrics *const *tables, size_t count, struct buf *out)
{
    struct metrics *sum = MEM_NEW(struct metrics);

    metrics_init(sum);
    for (size_t i = 0; i < count; i++) {
        struct series *s = atomic_load_explicit(&tables[i]->first, memory_order_acquire);

        for (; s; s = atomic_load_explicit(&s->next, memory_order_acquire))
            sum_series(sum, s);
    }
    for (size_t f = 0; f < COUNT(families); f++) {
        bool named = false;

        for (struct series *s = sum->first; s; s = s->next) {
            void *value = (char *)s + families[f].at;

            if (s->kind != families[f].kind)
                continue;
            if (!named)
                buf_printf(out, "# TYPE %s %s\n", families[f].name,
                           families[f].is_histogram ? "histogram" : "counter");
            named = true;
            if (families[f].is_histogram)
                print_histogram(out, families[f].name, s->labels, value);
            else
                buf_printf(out, "%s{%.*s} %" PRIu64 "\n", families[f].name, STR_ARG(s->labels),
                           get(value));
        }
    }
    metrics_done(sum);
    mem_free(sum);
}

void metrics_print_one(struct buf *out, const char *name, const char *type, const char *help,
                       const char *labels, uint64_t value)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s", name, help, name, type, name);
    if (*labels)
        buf_printf(out, "{%s}", labels);
    buf_printf(out, " %" PRIu64 "\n", value);
}
