/* One agent's stream: hello, registrations and subscriptions in; changes and commits out; ack or
 * nack back.
 *
 * The server means an agent to hold `held`. A push computes the view anew and sends the difference;
 * nothing is in force at the agent before the commit that follows. One push is under way at a time:
 * a slow agent gets the latest state later, not every state in between. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/server/server.h"
#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "mesh/catalog.h"
#include "store/ledger.h"
#include "store/registry.h"
#include "store/store.h"

#define SILENCE_MS        45000 /* agents ping every 15 s */
#define CHANGES_BYTES     (1u << 20)
#define OUT_BYTES_MAX     (64u << 20) /* an agent that reads nothing is cut here */
#define SUBSCRIPTIONS_MAX 10000

enum { NOTE_IO = IO_NOTE_READ | IO_NOTE_WRITE | IO_NOTE_ROOM, NOTE_SILENCE = 8 };

struct session {
    struct server *server;
    struct session *next, *prev;
    struct task task;
    struct io io;
    struct timer silence;
    struct reap reap;
    struct bytes in;
    char *host_id, *host_name, *version, *nack;
    struct resources held;
    char held_digest[2 * 32 + 1];
    struct map subscriptions;    /* key -> session */
    struct arena services_arena; /* of `services` */
    struct local_service *services;
    size_t service_count;
    uint64_t seq_sent, seq_acked, revision_sent, revision_acked;
    int64_t connected_ms, seen_ms;
    bool said_hello, closed, dirty;
};

static void send_text(struct session *x, struct str body)
{
    struct buf frame;

    buf_init(&frame, LIMIT_SYNC_FRAME_BYTES + 16u);
    sync_frame(&frame, body);
    (void)io_write_str(&x->io, buf_str(&frame)); /* a dead io is seen by the next read */
    buf_done(&frame);
}

static void reaped(struct reap *r)
{
    struct session *x = CONTAINER(r, struct session, reap);

    resources_done(&x->held);
    map_done(&x->subscriptions);
    arena_done(&x->services_arena);
    mem_free(x->host_id);
    mem_free(x->host_name);
    mem_free(x->version);
    mem_free(x->nack);
    mem_free(x);
}

static void session_close(struct session *x, const char *why)
{
    struct server *s = x->server;

    if (x->closed)
        return;
    x->closed = true;
    log_info("agent gone host=%s why=\"%s\"", x->host_name, why);
    io_close(&x->io);
    bytes_done(&x->in);
    timer_stop(&x->silence);
    task_forget(&x->task);
    if (x->prev)
        x->prev->next = x->next;
    else
        s->sessions = x->next;
    if (x->next)
        x->next->prev = x->prev;
    s->session_count--;
    loop_reap(s->loop, &x->reap, reaped);
}

void session_close_all(struct server *s)
{
    while (s->sessions)
        session_close(s->sessions, "the server stops");
}

/* ---- out ---- */

static void begin_changes(struct buf *b)
{
    buf_clear(b);
    buf_adds(b, "{\"type\":\"changes\",\"items\":[");
}

static void end_changes(struct session *x, struct buf *b, size_t *items)
{
    if (*items == 0)
        return;
    buf_adds(b, "]}");
    send_text(x, buf_str(b));
    *items = 0;
    begin_changes(b);
}

static void add_change(struct session *x, struct buf *b, size_t *items, struct str key,
                       struct str json)
{
    if (b->n + json.n > CHANGES_BYTES)
        end_changes(x, b, items);
    buf_adds(b, (*items)++ ? ",{\"key\":" : "{\"key\":");
    buf_json(b, key);
    buf_adds(b, ",\"value\":");
    buf_add(b, json.p ? json : STR("null"));
    buf_addc(b, '}');
}

/* Send what makes `held` become `want`; true if anything differed. */
static bool send_difference(struct session *x, const struct resources *want)
{
    const struct map_entry *e;
    struct buf b;
    size_t items = 0, all = 0;

    buf_init(&b, LIMIT_SYNC_FRAME_BYTES);
    begin_changes(&b);
    for (size_t i = 0; (e = map_each(&x->held.by_key, &i));) {
        if (!map_get(&want->by_key, e->key)) {
            add_change(x, &b, &items, e->key, STR_NONE);
            all++;
        }
    }
    for (size_t i = 0; (e = map_each(&want->by_key, &i));) {
        const struct resource *have = map_get(&x->held.by_key, e->key), *one = e->value;

        if (have && have->n == one->n && memcmp(have->json, one->json, one->n) == 0)
            continue;
        add_change(x, &b, &items, e->key, (struct str){one->json, one->n});
        all++;
    }
    end_changes(x, &b, &items);
    buf_done(&b);
    return all > 0;
}

static void digest_of(const struct resources *r, char out[65])
{
    struct buf b;

    buf_init(&b, 128);
    resources_digest(r, &b);
    (void)snprintf(out, 65, "%.*s", STR_ARG(buf_str(&b)));
    buf_done(&b);
}

static void view(struct session *x, struct resources *out)
{
    struct viewer v = {.ns = STR("default"),
                       .services = x->services,
                       .service_count = x->service_count,
                       .subscriptions = &x->subscriptions};

    catalog_view(publish_catalog(x->server->publish), &v, out);
}

static void send_commit(struct session *x, uint64_t revision)
{
    struct buf b;

    buf_init(&b, 512);
    buf_printf(&b, "{\"type\":\"commit\",\"seq\":%llu,\"revision\":%llu,\"digest\":\"%s\"}",
               (unsigned long long)++x->seq_sent, (unsigned long long)revision, x->held_digest);
    send_text(x, buf_str(&b));
    buf_done(&b);
    x->revision_sent = revision;
    x->server->counters.pushes++;
}

void session_push(struct session *x)
{
    uint64_t revision = publish_catalog(x->server->publish)->revision;
    struct resources want;

    if (!x->said_hello || x->closed)
        return;
    if (x->seq_sent != x->seq_acked) { /* one at a time; the answer brings us back here */
        x->dirty = true;
        return;
    }
    x->dirty = false;
    resources_init(&want);
    view(x, &want);
    if (send_difference(x, &want) || revision != x->revision_sent) {
        resources_done(&x->held);
        x->held = want;
        digest_of(&x->held, x->held_digest);
        send_commit(x, revision);
    } else {
        resources_done(&want);
    }
}

/* ---- in ---- */

static void refuse(struct session *x, struct str service, const char *detail)
{
    struct buf b;

    log_warn("registration refused, the rest goes on host=%s service=%.*s: %s", x->host_name,
             STR_ARG(service), detail);
    buf_init(&b, 8192);
    buf_adds(&b, "{\"type\":\"refused\",\"service\":");
    buf_json(&b, service);
    buf_adds(&b, ",\"detail\":");
    buf_json(&b, str_from(detail));
    buf_addc(&b, '}');
    send_text(x, buf_str(&b));
    buf_done(&b);
}

static void workload_of(const struct local_service *s, struct arena *a, struct str address,
                        struct registry_workload *out)
{
    struct registry_port *port = ARENA_NEW(a, struct registry_port);
    struct registry_label *labels = ARENA_ARRAY(a, s->labels.count + 1, struct registry_label);

    *port = (struct registry_port){s->protocol, s->protocol, s->port, s->service_port};
    for (size_t i = 0; i < s->labels.count; i++)
        labels[i] = (struct registry_label){s->labels.items[i].key, s->labels.items[i].value};
    *out = (struct registry_workload){.ns = s->ns,
                                      .service = s->name,
                                      .account = s->account,
                                      .ports = port,
                                      .port_count = s->is_gateway ? 0 : 1,
                                      .labels = labels,
                                      .label_count = s->labels.count,
                                      .version = labels_get(&s->labels, STR("version"))};
    if (address.n) {
        out->addresses = ARENA_NEW(a, struct str);
        out->addresses[0] = address;
        out->address_count = 1;
    }
}

/* Take the registrations into the registry: those outside the grants are refused one by one, the
 * rest stands. */
static void take_services(struct session *x, const struct node *list)
{
    struct server *s = x->server;
    const struct registry_host *h = registry_host(s->registry, str_from(x->host_id));
    struct registry_workload *rows;
    size_t n = 0;
    bool changed = false;
    struct err err;

    arena_done(&x->services_arena);
    arena_init(&x->services_arena);
    x->services =
        ARENA_ARRAY(&x->services_arena, (list ? list->count : 0) + 1, struct local_service);
    rows = ARENA_ARRAY(&x->services_arena, (list ? list->count : 0) + 1, struct registry_workload);
    x->service_count = 0;
    for (const struct node *one = list ? list->first : NULL; one && h; one = one->next) {
        struct local_service *svc = &x->services[n];

        if (n == LIMIT_SERVICES_PER_HOST) {
            refuse(x, node_text(one, "name"), "too many services on this host");
            break;
        }
        if (sync_read_registration(one, &x->services_arena, svc, &err) ||
            registry_may(s->registry, str_from(x->host_id), svc->ns, svc->name, svc->account,
                         &err)) {
            refuse(x, node_text(one, "name"), err.text);
            continue;
        }
        workload_of(svc, &x->services_arena, h->address, &rows[n]);
        n++;
    }
    if (registry_register(s->registry, str_from(x->host_id), rows, n, loop_wall_ms(s->loop), NULL,
                          &changed, &err)) {
        refuse(x, n ? rows[0].service : STR("-"), err.text);
        n = 0;
    }
    x->service_count = n;
    if (changed)
        publish_soon(s->publish);
    send_text(x, STR("{\"type\":\"registered\"}"));
}

static void take_subscriptions(struct session *x, const struct node *list)
{
    for (const struct node *one = list ? list->first : NULL; one; one = one->next) {
        if (x->subscriptions.count < SUBSCRIPTIONS_MAX)
            map_put(&x->subscriptions, one->text, x);
    }
}

static void take_hello(struct session *x, const struct node *msg)
{
    struct server *s = x->server;
    struct str epoch = str_from(store_epoch(s->store));
    struct resources want;
    char digest[65];
    bool same;
    struct buf b;

    mem_free(x->version);
    x->version = str_dup(node_text(msg, "version"));
    take_subscriptions(x, node_get(msg, STR("subscriptions")));
    take_services(x, node_get(msg, STR("services")));
    /* Registered names have addresses only once the catalog was built with them. */
    {
        struct err err;

        if (publish_now(s->publish, &err))
            log_error("the mesh cannot be published, agents keep what they have: %s", err.text);
    }
    resources_init(&want);
    view(x, &want);
    digest_of(&want, digest);
    same = str_eq(node_text(msg, "epoch"), epoch) &&
           str_eq(node_text(msg, "digest"), str_from(digest));
    buf_init(&b, 1024);
    buf_adds(&b, "{\"type\":\"welcome\",\"epoch\":");
    buf_json(&b, epoch);
    buf_adds(&b, ",\"server\":");
    buf_json(&b, str_from(s->name));
    buf_printf(&b, ",\"reset\":%s}", same ? "false" : "true");
    send_text(x, buf_str(&b));
    buf_done(&b);
    x->said_hello = true;
    if (same) {
        x->held = want;
        (void)snprintf(x->held_digest, sizeof(x->held_digest), "%s", digest);
        /* It may hold the same content under an older number: the push then tells it the new one. */
        if (!str_uint(node_text(msg, "revision"), 0, UINT64_MAX, &x->revision_sent))
            x->revision_sent = UINT64_MAX;
        x->revision_acked = x->revision_sent;
        session_push(x);
    } else {
        resources_done(&want);
        x->revision_sent = UINT64_MAX; /* so that an empty view is committed too */
        session_push(x);
    }
    log_info("agent connected host=%s version=%s services=%zu in_sync=%d", x->host_name, x->version,
             x->service_count, same);
}

static void take_answer(struct session *x, const struct node *msg, bool good)
{
    uint64_t seq = 0, revision = 0;

    if (!str_uint(node_text(msg, "seq"), 0, UINT64_MAX, &seq) ||
        !str_uint(node_text(msg, "revision"), 0, UINT64_MAX, &revision) || seq != x->seq_sent)
        return;
    x->seq_acked = seq;
    mem_free(x->nack);
    x->nack = NULL;
    if (good) {
        x->revision_acked = revision;
        x->server->counters.acks++;
    } else {
        const struct node *errors = node_get(msg, STR("errors"));
        struct str first =
            errors && errors->first ? node_text(errors->first, "detail") : STR("no reason given");

        x->nack = str_dup(first);
        x->server->counters.nacks++;
        log_error("agent refused revision %llu and keeps the former host=%s: %s",
                  (unsigned long long)revision, x->host_name, x->nack);
    }
    if (x->dirty)
        session_push(x);
}

static void take_message(struct session *x, struct str body)
{
    struct arena a;
    struct node *msg;
    struct err err;
    struct str type;

    arena_init(&a);
    if (json_read(body, &a, &msg, &err)) {
        session_close(x, "its message is not JSON");
        arena_done(&a);
        return;
    }
    type = node_text(msg, "type");
    if (str_eq(type, STR("hello")) && !x->said_hello) {
        take_hello(x, msg);
    } else if (!x->said_hello) {
        session_close(x, "it did not say hello first");
    } else if (str_eq(type, STR("register"))) {
        take_services(x, node_get(msg, STR("services")));
        session_push(x);
    } else if (str_eq(type, STR("subscribe"))) {
        take_subscriptions(x, node_get(msg, STR("services")));
        session_push(x);
    } else if (str_eq(type, STR("ack")) || str_eq(type, STR("nack"))) {
        take_answer(x, msg, type.p[0] == 'a');
    } else if (str_eq(type, STR("ping"))) {
        send_text(x, STR("{\"type\":\"pong\"}"));
    }
    arena_done(&a);
}

static void take_frames(struct session *x)
{
    struct str body;
    size_t used;

    while (!x->closed && x->in.n >= 4) {
        unsigned char head[4];
        struct buf flat;
        size_t n;
        int rc;

        (void)bytes_copy_out(&x->in, 0, head, sizeof(head));
        n = ((size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 |
             (size_t)head[3]) +
            4;
        if (n - 4 > LIMIT_SYNC_FRAME_BYTES) {
            session_close(x, "its message is too long");
            return;
        }
        if (x->in.n < n)
            return;
        buf_init(&flat, n + 1);
        for (size_t at = 0; at < n;) { /* in pieces: frames may be larger than a slice */
            struct str front = bytes_front(&x->in);
            size_t take = MIN(front.n, n - at);

            buf_add(&flat, (struct str){front.p, take});
            bytes_drop(&x->in, take);
            at += take;
        }
        rc = sync_frame_next(buf_str(&flat), &body, &used);
        if (rc == 1)
            take_message(x, body);
        buf_done(&flat);
    }
}

static void run(struct task *t, unsigned notes)
{
    struct session *x = CONTAINER(t, struct session, task);

    if (notes & NOTE_SILENCE) {
        session_close(x, "nothing heard for 45 s");
        return;
    }
    for (;;) {
        size_t n = 0;
        enum io_step step = io_read(&x->io, &x->in, LIMIT_TURN_BYTES, &n);

        if (n) {
            x->seen_ms = loop_wall_ms(x->server->loop);
            timer_in(&x->silence, SILENCE_MS);
        }
        if (step == IO_AGAIN)
            break;
        if (step != IO_OK) {
            session_close(x, step == IO_EOF ? "it closed the connection" : "the connection broke");
            return;
        }
        take_frames(x);
        if (x->closed)
            return;
    }
    if (io_pending(&x->io) > OUT_BYTES_MAX)
        session_close(x, "it does not read");
}

void session_start(struct server *s, struct serve_request *r, struct str host_id)
{
    const struct registry_host *h = registry_host(s->registry, host_id);
    struct session *x, *old = session_of(s, host_id);

    if (!h || h->state != REGISTRY_ACTIVE) {
        reply_problem(r, 403, "Forbidden",
                      "this host is no member (any more); join it again with a new token");
        return;
    }
    if (s->session_count >= LIMIT_HOSTS) {
        serve_header(r, "retry-after", STR("30"));
        reply_problem(r, 503, "Service Unavailable", "too many agents on this server");
        return;
    }
    if (old)
        session_close(old, "the same host connected again");
    x = mem_zalloc(sizeof(*x));
    x->server = s;
    x->host_id = str_dup(host_id);
    x->host_name = str_dup(h->name);
    x->version = str_dup(STR("?"));
    x->connected_ms = x->seen_ms = loop_wall_ms(s->loop);
    resources_init(&x->held);
    map_init(&x->subscriptions);
    arena_init(&x->services_arena);
    bytes_init(&x->in);
    task_init(&x->task, s->loop, run);
    timer_init(&x->silence, &x->task, NOTE_SILENCE);
    timer_in(&x->silence, SILENCE_MS);
    x->next = s->sessions;
    if (s->sessions)
        s->sessions->prev = x;
    s->sessions = x;
    s->session_count++;
    serve_upgrade(r, "weft-sync/1", &x->io, &x->task, 0, &x->in);
    io_want_read(&x->io, true);
    task_note(&x->task, IO_NOTE_READ);
}

void session_eject(struct server *s, struct str host_id, const char *why)
{
    struct session *x = session_of(s, host_id);
    struct buf b;

    if (!x)
        return;
    buf_init(&b, 4096);
    buf_adds(&b, "{\"type\":\"ejected\",\"detail\":");
    buf_json(&b, str_from(why));
    buf_addc(&b, '}');
    send_text(x, buf_str(&b));
    buf_done(&b);
    io_shutdown(&x->io);
    timer_in(&x->silence, 1000); /* time to read why; then it is cut */
}

struct session *session_of(const struct server *s, struct str host_id)
{
    for (struct session *x = s->sessions; x; x = x->next) {
        if (str_eq(str_from(x->host_id), host_id))
            return x;
    }
    return NULL;
}

struct session *session_next(const struct session *after)
{
    return after->next;
}

void session_json(const struct session *x, struct buf *out)
{
    buf_adds(out, "\"connected\":true,\"version\":");
    buf_json(out, str_from(x->version));
    buf_printf(out, ",\"revision\":%llu,\"wanted\":%llu,\"inSync\":%s,\"since\":\"",
               (unsigned long long)x->revision_acked, (unsigned long long)x->revision_sent,
               x->seq_acked == x->seq_sent && !x->nack && !x->dirty ? "true" : "false");
    text_time(out, x->connected_ms, false);
    buf_adds(out, "\",\"lastSeen\":\"");
    text_time(out, x->seen_ms, false);
    buf_printf(out, "\",\"subscriptions\":%zu", x->subscriptions.count);
    if (x->nack) {
        buf_adds(out, ",\"refused\":");
        buf_json(out, str_from(x->nack));
    }
}
