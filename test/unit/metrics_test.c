#include "proxy/metrics.h"

#include "mesh/base/mem.h"
#include "proxy/outcome.h"
#include "test/test.h"

static struct metric_labels some_labels(void)
{
    struct metric_labels l = {.is_source = true, .protocol = STR("http"), .code = 200};

    l.source = (struct metric_peer){
        .workload = STR("caller"), .workload_ns = STR("default"), .app = STR("caller")};
    l.destination = (struct metric_peer){.workload = STR("web-v1"), .version = STR("v1")};
    l.service = STR("web.default.svc.cluster.local");
    l.service_name = STR("web");
    l.service_ns = STR("default");
    return l;
}

static struct metrics *table_new(void)
{
    struct metrics *m = MEM_NEW(struct metrics);

    metrics_init(m);
    return m;
}

static void table_free(struct metrics *m)
{
    metrics_done(m);
    mem_free(m);
}

static bool prints(struct metrics *const *tables, size_t count, const char *part)
{
    struct buf text;
    bool found;

    buf_init(&text, 1 << 20);
    metrics_print(tables, count, &text);
    buf_addc(&text, 0);
    found = strstr(text.p, part) != NULL;
    if (!found)
        print_error("no %s in:\n%s\n", part, text.p);
    buf_done(&text);
    return found;
}

TEST(labels_come_in_the_order_of_istios_goldens)
{
    struct metrics *m = table_new();
    struct metric_labels l = some_labels();

    metrics_request(metrics_series(m, NULL, &l), 3, 10, 20);
    CHECK(prints(
        &m, 1,
        "istio_requests_total{reporter=\"source\",source_workload=\"caller\",source_canonical_"
        "service=\"unknown\","
        "source_canonical_revision=\"latest\",source_workload_namespace=\"default\",source_"
        "principal=\"unknown\","
        "source_app=\"caller\",source_version=\"unknown\",source_cluster=\"unknown\","
        "destination_workload=\"web-v1\",destination_workload_namespace=\"unknown\","
        "destination_principal=\"unknown\",destination_app=\"unknown\",destination_version=\"v1\","
        "destination_service=\"web.default.svc.cluster.local\",destination_canonical_service="
        "\"unknown\","
        "destination_canonical_revision=\"latest\",destination_service_name=\"web\","
        "destination_service_namespace=\"default\",destination_cluster=\"unknown\",request_"
        "protocol=\"http\","
        "response_code=\"200\",grpc_response_status=\"\",response_flags=\"-\","
        "connection_security_policy=\"unknown\"} 1\n"));
    table_free(m);
}

TEST(tables_of_workers_are_summed_by_label_set)
{
    struct metrics *tables[2] = {table_new(), table_new()};
    struct metric_labels l = some_labels();

    metrics_request(metrics_series(tables[0], NULL, &l), 0, 0, 0);
    metrics_request(metrics_series(tables[1], NULL, &l), 7, 100, 2000);
    l.code = 503;
    l.flags = RF_UF | RF_URX;
    metrics_request(metrics_series(tables[1], NULL, &l), 1, 1, 1);
    CHECK(prints(tables, 2,
                 "response_code=\"200\",grpc_response_status=\"\",response_flags=\"-\","
                 "connection_security_policy=\"unknown\"} 2\n"));
    CHECK(
        prints(tables, 2, "response_flags=\"UF,URX\",connection_security_policy=\"unknown\"} 1\n"));
    CHECK(prints(tables, 2, "# TYPE istio_request_duration_milliseconds histogram\n"));
    CHECK(prints(tables, 2, "connection_security_policy=\"unknown\",le=\"0.5\"} 1\n"));
    CHECK(prints(tables, 2, "connection_security_policy=\"unknown\",le=\"10\"} 2\n"));
    CHECK(prints(tables, 2, "connection_security_policy=\"unknown\",le=\"+Inf\"} 2\n"));
    table_free(tables[0]);
    table_free(tables[1]);
}

TEST(a_value_on_a_bound_belongs_below_it)
{
    struct metrics *m = table_new();
    struct metric_labels l = some_labels();
    struct series *s = metrics_series(m, NULL, &l);

    metrics_request(s, 1, 5, 3600001);
    CHECK_INT(s->http.duration_ms.buckets[1], 1);
    CHECK_INT(s->http.request_bytes.buckets[2], 1);
    CHECK_INT(s->http.response_bytes.buckets[METRICS_BUCKETS - 1], 1);
    table_free(m);
}

TEST(the_cache_gives_the_same_series_and_forgets)
{
    struct metrics *m = table_new();
    struct metric_labels l = some_labels(), other = some_labels();
    struct metric_key key = {.listener = m, .code = 200};
    struct series *s = metrics_series(m, &key, &l);

    other.service = STR("elsewhere");
    CHECK(metrics_series(m, &key, &other) == s); /* the key is believed */
    metrics_forget(m);
    CHECK(metrics_series(m, &key, &other) != s);
    CHECK(metrics_series(m, NULL, &l) == s);
    table_free(m);
}

TEST(too_many_series_end_in_other_and_nothing_is_lost)
{
    struct metrics *m = table_new();
    struct metric_labels l = some_labels();
    char name[32];

    for (unsigned i = 0; i < METRICS_SERIES_MAX + 500; i++) {
        snprintf(name, sizeof(name), "svc-%u", i);
        l.service = str_from(name);
        metrics_request(metrics_series(m, NULL, &l), 1, 1, 1);
    }
    CHECK(m->count <= METRICS_SERIES_MAX + 1);
    l = some_labels();
    l.service = STR("one-more");
    CHECK_INT(metrics_series(m, NULL, &l)->http.requests, 500);
    table_free(m);
}

TEST(tcp_series_have_no_response_code)
{
    struct metrics *m = table_new();
    struct metric_labels l = some_labels();
    struct series *s;

    l.kind = SERIES_TCP;
    l.is_source = false;
    l.is_mutual = true;
    l.protocol = STR("tcp");
    s = metrics_series(m, NULL, &l);
    metrics_tcp(s, 1, 0, 0, 0);
    metrics_tcp(s, 0, 1, 70, 30);
    CHECK(prints(&m, 1, "istio_tcp_connections_opened_total{reporter=\"destination\""));
    CHECK(prints(&m, 1,
                 "request_protocol=\"tcp\",response_flags=\"-\",connection_security_policy="
                 "\"mutual_tls\"} 70\n"));
    table_free(m);
}

TEST(messages_have_the_labels_of_a_request_without_those_of_its_answer)
{
    struct metrics *m = table_new();
    struct metric_labels l = some_labels();

    l.protocol = STR("grpc");
    l.grpc_status = STR("5");
    metrics_request(metrics_series(m, NULL, &l), 1, 1, 1);
    l.kind = SERIES_MESSAGES;
    metrics_messages(metrics_series(m, NULL, &l), 3, 4);
    CHECK(prints(&m, 1, "request_protocol=\"grpc\",response_code=\"200\",grpc_response_status=\"5\",response_flags=\"-\","));
    CHECK(prints(&m, 1, "request_protocol=\"grpc\",connection_security_policy=\"unknown\"} 3\n"));
    CHECK(prints(&m, 1, "istio_response_messages_total{reporter=\"source\""));
    CHECK(prints(&m, 1, "request_protocol=\"grpc\",connection_security_policy=\"unknown\"} 4\n"));
    table_free(m);
}

TEST(hostile_label_values_are_escaped)
{
    struct metrics *m = table_new();
    struct metric_labels l = some_labels();

    l.service = STR("a\"b\\c\nd");
    metrics_request(metrics_series(m, NULL, &l), 1, 1, 1);
    CHECK(prints(&m, 1, "destination_service=\"a\\\"b\\\\c\\nd\""));
    table_free(m);
}

TEST(a_peer_is_what_its_identity_says)
{
    struct metric_peer p = metrics_peer_of(STR("spiffe://cluster.local/ns/shop/sa/cart"));

    CHECK_STR(p.workload, "cart");
    CHECK_STR(p.canonical_service, "cart");
    CHECK_STR(p.workload_ns, "shop");
    CHECK_STR(p.principal, "spiffe://cluster.local/ns/shop/sa/cart");
    CHECK_INT(metrics_peer_of(STR("")).principal.n, 0);
    CHECK_INT(metrics_peer_of(STR("spiffe://cluster.local/weft/server")).workload.n, 0);
}
