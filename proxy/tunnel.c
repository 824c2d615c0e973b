#include "proxy/tunnel.h"

#include <stdio.h>
#include <stdlib.h>

#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "proxy/balance_hash.h"
#include "proxy/pick.h"
#include "proxy/route.h"

enum {
    UP_SHIFT = IO_NOTE_BITS,
    N_TIMER = 1 << (2 * IO_NOTE_BITS),
    N_UPSTREAM = 2 << (2 * IO_NOTE_BITS),
    N_GO = 4 << (2 * IO_NOTE_BITS),
};

#define TRIES_MAX      3
#define READ_BYTES     (64u << 10)
#define FINISH_POLL_MS 2

typedef enum tunnel_state step_fn(struct tunnel *t);

static step_fn on_choose, on_connect, on_relay, on_over;

#define TO(state) BIT(TUNNEL_##state)

/* clang-format off */
static const struct {
    const char *name;
    step_fn *step;
    unsigned to;
} steps[TUNNEL_STATES] = {
    [TUNNEL_CHOOSE]  = {"choose",  on_choose,  TO(CONNECT) | TO(OVER)},
    [TUNNEL_CONNECT] = {"connect", on_connect, TO(CHOOSE) | TO(RELAY) | TO(OVER)}, /* the upstream has the deadline */
    [TUNNEL_RELAY]   = {"relay",   on_relay,   TO(OVER)},                          /* idle timer */
    [TUNNEL_OVER]    = {"over",    on_over,    0},
};
/* clang-format on */

static enum tunnel_state end(struct tunnel *t, enum outcome why)
{
    if (t->outcome == OUTCOME_NONE)
        t->outcome = why;
    return TUNNEL_OVER;
}

static int64_t now(const struct tunnel *t)
{
    return loop_now_ms(t->worker->loop);
}

/* ---- where to ---- */

/* The cluster is chosen once, the endpoint per try. */
static enum outcome choose_cluster(struct tunnel *t)
{
    const struct listener *l = t->conn->listener;
    const struct snapshot *s = t->conn->snap->root;
    const struct weighted_cluster *to;
    struct str name = l->cluster;

    if (t->conn->kind != LISTENER_INBOUND) {
        t->route = route_tcp(l, &t->conn->original, str_from(t->conn->sni));
        if (!t->route)
            return OUTCOME_NO_LISTENER;
        to = route_choose(t->route->clusters, t->route->cluster_count, t->route->weight_total,
                          worker_random(t->worker));
        name = to ? to->cluster : STR_NONE;
    }
    t->cluster = snapshot_cluster(s, name);
    return t->cluster ? OUTCOME_NONE : OUTCOME_NO_CLUSTER;
}

static bool choose_endpoint(struct tunnel *t)
{
    uint64_t hash;
    bool has_key = balance_hash_connection(t->cluster, &t->conn->remote, &hash);
    struct picked to;

    if (!pick_endpoint(t->worker, t->cluster, conn_destination(t->conn), &t->tried, has_key ? &hash : NULL, &to))
        return false;
    t->endpoint = to.endpoint;
    t->upstream_host = to.addr;
    t->block = to.block;
    return true;
}

static void leave_block(struct tunnel *t)
{
    if (!t->block)
        return;
    endpoint_block_end(t->block);
    endpoint_block_unref(t->block);
    t->block = NULL;
}

static enum tunnel_state on_choose(struct tunnel *t)
{
    const struct listener *l = t->conn->listener;
    struct upstream_target target = {0};
    enum outcome why = t->cluster ? OUTCOME_NONE : choose_cluster(t);

    if (why != OUTCOME_NONE)
        return end(t, why);
    if (!choose_endpoint(t))
        return end(t, OUTCOME_NO_ENDPOINT);
    endpoint_block_begin(t->block);
    balance_tried_add(&t->tried, &t->upstream_host);
    t->tries++;
    target.cluster = t->cluster;
    target.endpoint = t->endpoint;
    target.addr = t->upstream_host;
    target.identity = l->identity.n ? l->identity : t->conn->snap->root->default_identity;
    target.source = t->conn->remote;
    target.destination = t->conn->original;
    upstream_get(t->worker, &t->wait, &t->task, N_UPSTREAM, &target);
    return TUNNEL_CONNECT;
}

/* A connection that stands is all the success that bytes have: it counts as an answer, too. */
static void report_connect(struct tunnel *t, enum outlier_result result, unsigned status)
{
    if (t->cluster->outlier.is_on && t->endpoint)
        outlier_report(worker_view(t->worker, t->cluster), t->cluster, t->block, result, status, now(t));
}

static enum tunnel_state connect_failed(struct tunnel *t)
{
    enum outcome why = t->wait.outcome;
    bool others = t->cluster->endpoints && t->cluster->endpoints->count > 1;

    snprintf(t->failure, sizeof(t->failure), "%s", t->wait.failure);
    if (why != OUTCOME_OVERFLOW)
        atomic_fetch_add_explicit(&t->block->connect_failures, 1, memory_order_relaxed);
    if (why != OUTCOME_OVERFLOW)
        report_connect(t, OUTLIER_LOCAL, 0);
    leave_block(t);
    t->wait.done = false;
    if (t->tries >= TRIES_MAX || !others || why == OUTCOME_OVERFLOW)
        return end(t, why);
    live_add(&t->worker->live.retries, 1);
    return TUNNEL_CHOOSE;
}

static int64_t idle_ms(const struct tunnel *t)
{
    return t->cluster->tcp_idle_ms > 0 ? t->cluster->tcp_idle_ms : t->conn->listener->tcp_idle_ms;
}

/* The last bytes of one that has ended may not stall for ever, whatever its idle timeout. */
static int64_t idle_until(const struct tunnel *t)
{
    if (idle_ms(t) > 0)
        return t->moved_ms + idle_ms(t);
    return t->up_ended && t->down_ended ? t->moved_ms + LIMIT_WRITE_STALL_MS : INT64_MAX;
}

static int64_t old_at(const struct tunnel *t)
{
    return t->cluster->age_ms_max > 0 ? t->began_ms + t->cluster->age_ms_max : INT64_MAX;
}

static void wait_for_limits(struct tunnel *t)
{
    int64_t at = MIN(idle_until(t), old_at(t));

    if (at < INT64_MAX)
        timer_in(&t->timer, MAX(at - now(t), 0));
}

static void labels_of(const struct tunnel *t, struct metric_labels *out);

static void open_series(struct tunnel *t)
{
    struct metric_labels labels;

    if (t->series)
        return;
    labels_of(t, &labels);
    t->series = metrics_series(&t->worker->metrics, NULL, &labels);
    metrics_tcp(t->series, 1, 0, 0, 0);
}

static enum tunnel_state on_connect(struct tunnel *t)
{
    struct upstream *u = t->wait.up;
    struct bytes early;

    if (!t->wait.done)
        return TUNNEL_CONNECT;
    if (!u)
        return connect_failed(t);
    report_connect(t, OUTLIER_CONNECTED, 0);
    report_connect(t, OUTLIER_ANSWER, 200);
    t->upstream_local = u->local;
    t->peer_uri = str_copy(u->peer_uri);
    bytes_init(&early);
    t->view = upstream_take(&t->wait, &t->up, &early, &t->task, UP_SHIFT);
    t->sent += early.n;
    (void)io_write(&t->down, &early); /* a dead one shows in on_relay */
    bytes_done(&early);
    t->received += t->first.n;
    io_write(&t->up, &t->first); /* a dead one shows in on_relay */
    if (t->down_eof) {
        t->down_ended = true;
        io_shutdown(&t->up);
    }
    t->moved_ms = t->began_ms = now(t);
    wait_for_limits(t);
    open_series(t);
    return TUNNEL_RELAY;
}

/* ---- relay ---- */

/* Move what may be moved one way. False: that side has failed. */
static bool relay(struct io *from, struct io *to, bool *ended, uint64_t *count, int64_t *moved_ms,
                  int64_t at_ms)
{
    size_t budget = LIMIT_TURN_BYTES;
    struct bytes b;

    bytes_init(&b);
    while (!*ended && budget > 0 && io_pending(to) < LIMIT_STREAM_HIGH) {
        size_t n = 0;
        enum io_step step = io_read(from, &b, MIN(budget, (size_t)READ_BYTES), &n);

        if (step == IO_EOF) {
            *ended = true;
            io_shutdown(to);
        } else if (step == IO_FAILED) {
            bytes_done(&b);
            return false;
        } else if (step == IO_AGAIN) {
            break;
        }
        if (n > 0) {
            *count += n;
            *moved_ms = at_ms;
            budget -= n;
            if (io_write(to, &b) != IO_OK)
                return false;
        }
    }
    bytes_done(&b);
    if (!*ended)
        io_want_read(from, io_pending(to) < LIMIT_STREAM_HIGH);
    if (budget == 0) /* more may be there: come back after the others */
        task_note(from->task, N_GO);
    return true;
}

static enum tunnel_state check_limits(struct tunnel *t)
{
    t->timed_out = false;
    if (now(t) >= old_at(t))
        return end(t, OUTCOME_TOO_OLD);
    if (now(t) >= idle_until(t))
        return end(t, OUTCOME_IDLE_TIMEOUT);
    wait_for_limits(t);
    return TUNNEL_RELAY;
}

/* Both have ended; the last bytes may still be on their way, and nobody notes when they are out. */
static enum tunnel_state finish(struct tunnel *t)
{
    size_t left = io_pending(&t->up) + io_pending(&t->down);

    if (io_is_shut(&t->up) && io_is_shut(&t->down))
        return end(t, OUTCOME_TUNNEL_DONE);
    if (left != t->unsent)
        t->moved_ms = now(t);
    t->unsent = left;
    timer_in(&t->timer, FINISH_POLL_MS);
    return TUNNEL_RELAY;
}

static enum tunnel_state on_relay(struct tunnel *t)
{
    if (t->timed_out && check_limits(t) == TUNNEL_OVER)
        return TUNNEL_OVER;
    if (!relay(&t->down, &t->up, &t->down_ended, &t->received, &t->moved_ms, now(t)))
        return end(t, t->up.failed && !t->down.failed ? OUTCOME_UPSTREAM_CUT : OUTCOME_CLIENT_GONE);
    if (!relay(&t->up, &t->down, &t->up_ended, &t->sent, &t->moved_ms, now(t)))
        return end(t, t->down.failed && !t->up.failed ? OUTCOME_CLIENT_GONE : OUTCOME_UPSTREAM_CUT);
    if (t->up.failed || t->down.failed)
        return end(t, t->up.failed ? OUTCOME_UPSTREAM_CUT : OUTCOME_CLIENT_GONE);
    return t->down_ended && t->up_ended ? finish(t) : TUNNEL_RELAY;
}

static enum tunnel_state on_over(struct tunnel *t)
{
    (void)t; /* the connection closes us */
    return TUNNEL_OVER;
}

static void run(struct task *task, unsigned notes)
{
    struct tunnel *t = CONTAINER(task, struct tunnel, task);
    enum tunnel_state next;

    t->timed_out |= (notes & N_TIMER) != 0;
    next = steps[t->state].step(t);
    while (next != t->state) {
        if (!(steps[t->state].to & BIT(next))) {
            log_error("internal: a tunnel may not go from %s to %s", steps[t->state].name,
                      steps[next].name);
            next = end(t, OUTCOME_INTERNAL);
        }
        t->state = next;
        if (next == TUNNEL_OVER)
            task_note(&t->conn->task, t->done_note);
        next = steps[next].step(t);
    }
}

struct tunnel *tunnel_open(struct conn *c, struct io *io, struct bytes *first, bool first_eof,
                           unsigned done_note)
{
    struct tunnel *t = MEM_NEW(struct tunnel);

    t->conn = c;
    t->worker = c->worker;
    t->done_note = done_note;
    task_init(&t->task, c->worker->loop, run);
    timer_init(&t->timer, &t->task, N_TIMER);
    io_move(&t->down, io, &t->task, 0);
    t->first = *first;
    bytes_init(first);
    t->down_eof = first_eof;
    link_push(&c->worker->tunnels, &t->link);
    live_add(&c->worker->live.tunnels, 1);
    task_note(&t->task, N_GO);
    return t;
}

/* ---- numbers ---- */

static struct metric_peer self_of(const struct listener *l)
{
    return (struct metric_peer){l->workload, l->workload_ns,       l->identity,          l->app,
                                l->version,  l->canonical_service, l->canonical_revision};
}

static void labels_of(const struct tunnel *t, struct metric_labels *out)
{
    const struct listener *l = t->conn->listener;
    const struct endpoint *ep = t->endpoint;
    bool is_source = t->conn->kind != LISTENER_INBOUND;

    *out = (struct metric_labels){.kind = SERIES_TCP, .is_source = is_source, .protocol = STR("tcp")};
    out->flags = outcome_flag(t->outcome);
    if (is_source) {
        out->source = self_of(l);
        if (ep)
            out->destination = (struct metric_peer){
                ep->workload, ep->workload_ns,       t->peer_uri,           ep->app,
                ep->version,  ep->canonical_service, ep->canonical_revision};
        if (t->peer_uri.n == 0)
            out->source.principal = STR_NONE;
        out->service = t->cluster ? t->cluster->service_fqdn : STR_NONE;
        out->service_name = t->cluster ? t->cluster->service_name : STR_NONE;
        out->service_ns = t->cluster ? t->cluster->service_ns : STR_NONE;
        return;
    }
    out->source = metrics_peer_of(t->conn->is_mutual ? t->conn->peer_uri : STR_NONE);
    out->destination = self_of(l);
    out->is_mutual = t->conn->is_mutual;
    if (!out->is_mutual)
        out->destination.principal = STR_NONE;
    out->service = l->service_fqdn;
    out->service_name = l->service_name;
    out->service_ns = l->service_ns;
}

void tunnel_report(struct tunnel *t)
{
    if (!t->series)
        return;
    metrics_tcp(t->series, 0, 0, t->sent - t->reported_sent, t->received - t->reported_received);
    t->reported_sent = t->sent;
    t->reported_received = t->received;
}

static void log_end(struct tunnel *t)
{
    struct conn *c = t->conn;
    struct access_line line = {.start_wall_ms = c->started_wall_ms, .service_time_ms = -1};

    line.flags = outcome_flag(t->outcome);
    line.details = outcome_details(t->outcome);
    line.transport_failure = str_from(t->failure);
    line.bytes_received = t->received;
    line.bytes_sent = t->sent;
    line.duration_ms = now(t) - c->started_ms;
    line.upstream_host = t->upstream_host;
    line.upstream_local = t->upstream_local;
    line.downstream_local = c->original;
    line.downstream_remote = c->remote;
    line.cluster = t->cluster ? t->cluster->name : STR_NONE;
    line.server_name = str_from(c->sni);
    line.route = t->route ? t->route->name : STR_NONE;
    access_write(&t->worker->proxy->access, t->worker->index, &line);
}

static void free_tunnel(struct reap *r)
{
    mem_free(CONTAINER(r, struct tunnel, reap));
}

void tunnel_close(struct tunnel *t)
{
    if (t->outcome == OUTCOME_NONE)
        t->outcome = t->conn->outcome != OUTCOME_NONE ? t->conn->outcome : OUTCOME_DRAINED;
    open_series(t);
    tunnel_report(t);
    metrics_tcp(t->series, 0, 1, 0, 0);
    log_end(t);
    if (t->view)
        upstream_gone(t->worker, t->view);
    else
        upstream_cancel(&t->wait);
    leave_block(t);
    if (outcome_is_error(t->outcome) || t->outcome == OUTCOME_CLIENT_GONE) { /* the other side must not take a cut for an end */
        io_reset(&t->down);
        io_reset(&t->up);
    } else {
        io_close(&t->down);
        io_close(&t->up);
    }
    bytes_done(&t->first);
    timer_stop(&t->timer);
    task_forget(&t->task);
    link_del(&t->link);
    str_free(t->peer_uri);
    t->conn->tunnel = NULL;
    live_sub(&t->worker->live.tunnels, 1);
    loop_reap(t->worker->loop, &t->reap, free_tunnel);
}
