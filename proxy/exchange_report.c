/* What is told of a request when it has ended: its series and its access line. */
#include "proxy/exchange_parts.h"

#include <string.h>

static struct metric_peer self_of(const struct listener *l)
{
    return (struct metric_peer){l->workload, l->workload_ns,       l->identity,          l->app,
                                l->version,  l->canonical_service, l->canonical_revision};
}

static void labels_of(const struct exchange *x, struct metric_labels *out)
{
    const struct listener *l = x->listener ? x->listener : x->conn->listener;
    const struct endpoint *ep = x->endpoint;
    int grpc = x->grpc_status;

    *out = (struct metric_labels){.is_source = x->conn->kind != LISTENER_INBOUND,
                                  .protocol = STR("http")};
    out->code = x->status;
    out->flags = outcome_flag(x->outcome) | x->flags;
    if (x->is_grpc) {
        if (grpc < 0 && x->status)
            grpc = grpc_status_of_http(x->status);
        out->protocol = STR("grpc");
        out->grpc_status = grpc_status_text(grpc);
    }
    if (!out->is_source) {
        out->source = metrics_peer_of(x->conn->is_mutual ? x->conn->peer_uri : STR_NONE);
        out->destination = self_of(l);
        out->is_mutual = x->conn->is_mutual;
        if (!out->is_mutual)
            out->destination.principal = STR_NONE;
        out->service = l->service_fqdn;
        out->service_name = l->service_name;
        out->service_ns = l->service_ns;
        return;
    }
    out->source = self_of(l);
    if (x->peer_uri.n == 0)
        out->source.principal = STR_NONE;
    if (ep)
        out->destination = (struct metric_peer){
            ep->workload, ep->workload_ns,       x->peer_uri,           ep->app,
            ep->version,  ep->canonical_service, ep->canonical_revision};
    if (!x->cluster)
        return;
    out->service = x->cluster->service_fqdn;
    out->service_name = x->cluster->service_name;
    out->service_ns = x->cluster->service_ns;
}

void exchange_watch_messages(struct exchange *x)
{
    if (x->report.at_ms == 0 && (x->up_messages.messages != x->up_reported || x->down_messages.messages != x->down_reported))
        timer_in(&x->report, LIMIT_REPORT_MS);
}

void exchange_count_messages(struct exchange *x)
{
    uint64_t up = x->up_messages.messages - x->up_reported;
    uint64_t down = x->down_messages.messages - x->down_reported;
    struct metric_labels labels;

    if (up + down == 0)
        return;
    labels_of(x, &labels);
    labels.kind = SERIES_MESSAGES;
    metrics_messages(metrics_series(&x->worker->metrics, NULL, &labels), up, down);
    x->up_reported += up;
    x->down_reported += down;
}

void exchange_count(struct exchange *x, int64_t duration_ms)
{
    struct metric_labels labels;
    struct metric_key key = {
        .listener = x->listener, .cluster = x->cluster, .endpoint = x->endpoint};
    bool cached = x->snap && x->snap == x->worker->snap && x->listener;
    struct series *s;

    labels_of(x, &labels);
    key.peer =
        str_hash(labels.is_source ? x->peer_uri : labels.source.principal) + labels.protocol.n;
    key.code = labels.code;
    key.flags = labels.flags;
    key.grpc_status = x->grpc_status;
    s = metrics_series(&x->worker->metrics, cached ? &key : NULL, &labels);
    metrics_request(s, (uint64_t)duration_ms,
                    x->request_head_bytes + x->down->in_body_bytes,
                    x->response_head_bytes + x->down->out_body_bytes);
}

const char *exchange_details(struct exchange *x)
{
    const char *details = outcome_details(x->outcome == OUTCOME_NONE ? OUTCOME_ANSWERED : x->outcome);
    const char *why = x->outcome == OUTCOME_UPSTREAM_TLS ? "TLS_error" : x->failure;
    char *word;

    if ((x->outcome != OUTCOME_CONNECT_FAILED && x->outcome != OUTCOME_UPSTREAM_TLS) || !why[0])
        return details;
    word = (char *)(uintptr_t)arena_str(&x->arena, str_from(why)).p;
    for (char *p = word; *p; p++)
        *p = *p > ' ' && *p < 0x7f ? *p : '_'; /* a forward proxy may have its part in it */
    return arena_printf(&x->arena, "%.*s|%s}", (int)strlen(details) - 1, details, word).p;
}

void exchange_log(struct exchange *x, int64_t duration_ms)
{
    const struct http_head *h = &x->down->in_head;
    struct access_line line = {.start_wall_ms = x->started_wall_ms, .duration_ms = duration_ms};

    if (!access_is_on(&x->worker->proxy->access))
        return;
    line.method = h->method;
    line.path = h->path;
    line.protocol = http_version(h);
    line.code = x->status;
    line.flags = outcome_flag(x->outcome) | x->flags;
    line.details = exchange_details(x);
    line.transport_failure = str_from(x->failure);
    line.bytes_received = x->down->in_body_bytes;
    line.bytes_sent = x->down->out_body_bytes;
    line.service_time_ms = x->outcome == OUTCOME_ANSWERED ? x->service_time_ms : -1;
    line.authority = h->authority;
    (void)http_get(h, STR("x-forwarded-for"), &line.forwarded_for); /* absent prints as "-" */
    (void)http_get(h, STR("user-agent"), &line.user_agent);
    (void)http_get(x->request.arena ? &x->request : h, STR("x-request-id"), &line.request_id); /* as a rule sets it */
    line.upstream_host = x->upstream_host;
    line.upstream_local = x->upstream_local;
    line.downstream_local = x->conn->original;
    line.downstream_remote = x->conn->remote;
    line.cluster = x->cluster ? x->cluster->name : STR_NONE;
    line.server_name = str_from(x->conn->sni);
    line.route = x->route ? x->route->name : STR_NONE;
    access_write(&x->worker->proxy->access, x->worker->index, &line);
}
