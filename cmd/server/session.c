/* One agent's stream: hello, registrations and subscriptions in; changes and commits out; ack or
 * nack back.
 *
 * The server means an agent to hold `held`. A push computes the view anew and sends the difference;
 * nothing is in force at the agent before the commit that follows. One push is under way at a time:
 * a slow agent gets the latest state later, not every state in between. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/frame.h"
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
#define KEY_BYTES_MAX     512  /* of a subscription: NAMESPACE/FQDN */
#define TEXT_BYTES_MAX    1000 /* of what an agent says about itself */
#define REGISTERS_MINUTE  60   /* registrations of one host; then the session is closed */
#define EJECT_MS          1000 /* to read why; then it is cut */

enum { NOTE_IO = IO_NOTE_READ | IO_NOTE_WRITE | IO_NOTE_ROOM, NOTE_SILENCE = 8, NOTE_PUSH = 16 };

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
    bool said_hello, closed, dirty, ejected;
};

static void send_message(struct session *x, struct buf *body)
{
    if (!frame_send(&x->io, body))
        log_error("a message is too long, the agent does not get it host=%s", x->host_name);
    buf_done(body);
}

static void send_type(struct session *x, const char *type)
{
    struct buf b;

    buf_init(&b, 64);
    buf_printf(&b, "{\"type\":\"%s\"}", type);
    send_message(x, &b);
}

/* What an agent says about itself, fit for terminals and of bounded length. */
static char *clean_text(struct str s)
{
    char *text = str_dup(str_sub(s, 0, TEXT_BYTES_MAX));

    for (char *p = text; *p; p++)
        *p = (unsigned char)*p < ' ' || *p == 0x7f ? ' ' : *p;
    return text;
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
    send_message(x, b);
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
    send_message(x, &b);
    x->revision_sent = revision;
    x->server->counters.pushes++;
}

static void push(struct session *x)
{
    uint64_t revision = publish_catalog(x->server->publish)->revision;
    struct resources want;

    if (x->seq_sent != x->seq_acked) { /* one at a time; the answer brings us back here */
        x->dirty = true;
        return;
    }
    x->dirty = false;
    resources_init(&want);
    view(x, &want);
    /* What was refused is tried again whenever something changes, be it on the host alone. */
    if (send_difference(x, &want) || revision != x->revision_sent || x->nack) {
        resources_done(&x->held);
        x->held = want;
        digest_of(&x->held, x->held_digest);
        send_commit(x, revision);
    } else {
        resources_done(&want);
    }
}

void session_push_all(struct server *s)
{
    for (struct session *x = s->sessions; x; x = x->next)
        task_note(&x->task, NOTE_PUSH);
}

/* ---- in ---- */

static void refuse(struct session *x, struct str ns, struct str service, const char *detail)
{
    struct buf b;

    ns = str_sub(ns, 0, TEXT_BYTES_MAX);
    service = str_sub(service, 0, TEXT_BYTES_MAX);
    log_warn("registration refused, the rest goes on host=%s service=%.*s/%.*s: %s", x->host_name,
             STR_ARG(ns), STR_ARG(service), detail);
    buf_init(&b, 32u << 10);
    buf_adds(&b, "{\"type\":\"refused\",\"namespace\":");
    buf_json(&b, ns);
    buf_adds(&b, ",\"service\":");
    buf_json(&b, service);
    buf_adds(&b, ",\"detail\":");
    buf_json(&b, str_from(detail));
    buf_addc(&b, '}');
    send_message(x, &b);
}

/* Where the service listens itself, else the host's address. */
static struct str workload_address(const struct local_service *s, struct arena *a, struct str host)
{
    char text[ADDR_TEXT_MAX];

    return s->listen.family ? arena_str(a, str_from(addr_format_ip(&s->listen, text))) : host;
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
                                      .version = labels_get(&s->labels, STR("version")),
                                      .locality = s->locality};
    if (address.n) {
        out->addresses = ARENA_NEW(a, struct str);
        out->addresses[0] = address;
        out->address_count = 1;
    }
}

static int put_services(struct session *x, const struct registry_workload *rows, size_t n,
                        struct err *err)
{
    struct server *s = x->server;
    bool changed = false;

    if (registry_register(s->registry, str_from(x->host_id), rows, n, loop_wall_ms(s->loop), NULL,
                          &changed, err))
        return -1;
    if (changed)
        publish_soon(s->publish);
    return 0;
}

/* The registry takes a set whole or not at all. If it does not, find out one by one which of them
 * it will not have, and leave those out. -1: it is the store that failed, not the set. */
static int store_services(struct session *x, struct registry_workload *rows, size_t *count,
                          struct err *err)
{
    size_t n = 0;

    if (put_services(x, rows, *count, err) == 0)
        return 0;
    for (size_t i = 0; i < *count; i++) {
        if (err->code == ERR_IO || err->code == ERR_FULL)
            return -1;
        rows[n] = rows[i];
        x->services[n] = x->services[i];
        if (put_services(x, rows, n + 1, err) == 0)
            n++;
        else if (err->code != ERR_IO && err->code != ERR_FULL)
            refuse(x, rows[n].ns, rows[n].service, err->text);
    }
    *count = n;
    return put_services(x, rows, n, err);
}

/* Take the registrations into the registry: those outside the grants are refused one by one, the
 * rest stands. */
static void take_services(struct session *x, const struct node *list)
{
    struct server *s = x->server;
    const struct registry_host *h = registry_host(s->registry, str_from(x->host_id));
    struct arena *a = &x->services_arena;
    size_t n = 0, room = MIN(list ? list->count : 0, LIMIT_SERVICES_PER_HOST);
    struct registry_workload *rows;
    struct err err;

    x->service_count = 0;
    arena_done(a);
    arena_init(a);
    x->services = ARENA_ARRAY(a, room + 1, struct local_service);
    rows = ARENA_ARRAY(a, room + 1, struct registry_workload);
    for (const struct node *one = list ? list->first : NULL; one && h; one = one->next) {
        struct local_service *svc = &x->services[n];
        struct str ns = node_text(one, "namespace"), name = node_text(one, "name");

        if (n == room) {
            refuse(x, ns, name, "too many services on this host");
            break;
        }
        if (sync_read_registration(one, a, svc, &err) ||
            registry_may(s->registry, str_from(x->host_id), svc->ns, svc->name, svc->account,
                         &err)) {
            refuse(x, ns, name, err.text);
            continue;
        }
        svc->fqdn = model_fqdn(a, svc->name, svc->ns, str_from(s->settings.domain));
        svc->key = model_service_key(a, svc->ns, svc->fqdn);
        workload_of(svc, a, workload_address(svc, a, h->address), &rows[n]);
        n++;
    }
    if (store_services(x, rows, &n, &err)) {
        session_close(x, err.text); /* it will come again with all of them */
        return;
    }
    x->service_count = n;
    send_type(x, "registered");
}

static void take_subscriptions(struct session *x, const struct node *list)
{
    for (const struct node *one = list ? list->first : NULL; one; one = one->next) {
        if (x->subscriptions.count < SUBSCRIPTIONS_MAX && one->text.n &&
            one->text.n <= KEY_BYTES_MAX)
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
    struct err err;

    mem_free(x->version);
    x->version = clean_text(node_text(msg, "version"));
    take_subscriptions(x, node_get(msg, STR("subscriptions")));
    take_services(x, node_get(msg, STR("services")));
    if (x->closed)
        return;
    /* Registered names have addresses only once the catalog was built with them. */
    if (publish_now(s->publish, &err))
        log_error("the mesh cannot be published, agents keep what they have: %s", err.text);
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
    send_message(x, &b);
    x->said_hello = true;
    if (same) {
        x->held = want;
        (void)snprintf(x->held_digest, sizeof(x->held_digest), "%s", digest);
        /* It may hold the same content under an older number: the push then tells it the new one.
         */
        if (!str_uint(node_text(msg, "revision"), 0, UINT64_MAX, &x->revision_sent))
            x->revision_sent = UINT64_MAX;
        x->revision_acked = x->revision_sent;
    } else {
        resources_done(&want);
        x->revision_sent = UINT64_MAX; /* so that an empty view is committed too */
    }
    push(x);
    log_info("agent connected host=%s version=%s services=%zu in_sync=%d", x->host_name, x->version,
             x->service_count, same);
}

static void take_answer(struct session *x, const struct node *msg, bool good)
{
    uint64_t seq = 0;

    if (!str_uint(node_text(msg, "seq"), 0, UINT64_MAX, &seq) || seq != x->seq_sent ||
        seq == x->seq_acked)
        return;
    x->seq_acked = seq;
    mem_free(x->nack);
    x->nack = NULL;
    if (good) {
        x->revision_acked = x->revision_sent;
        x->server->counters.acks++;
    } else {
        const struct node *errors = node_get(msg, STR("errors"));
        struct str first =
            errors && errors->first ? node_text(errors->first, "detail") : STR("no reason given");

        x->nack = clean_text(first);
        x->server->counters.nacks++;
        log_error("agent refused revision %llu and keeps the former host=%s: %s",
                  (unsigned long long)x->revision_sent, x->host_name, x->nack);
    }
    if (x->dirty)
        push(x);
}

static void take_registration(struct session *x, const struct node *msg)
{
    struct server *s = x->server;
    char who[64];

    (void)snprintf(who, sizeof(who), "register %s", x->host_id); /* counted by itself */
    if (!throttle_take(s->throttle, str_from(who), 1, REGISTERS_MINUTE, loop_now_ms(s->loop))) {
        session_close(x, "it registers too often");
        return;
    }
    take_services(x, node_get(msg, STR("services")));
    if (!x->closed)
        push(x);
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
        take_registration(x, msg);
    } else if (str_eq(type, STR("subscribe"))) {
        take_subscriptions(x, node_get(msg, STR("services")));
        task_note(&x->task, NOTE_PUSH); /* once, if more of them follow */
    } else if (str_eq(type, STR("ack")) || str_eq(type, STR("nack"))) {
        take_answer(x, msg, type.p[0] == 'a');
    } else if (str_eq(type, STR("ping"))) {
        send_type(x, "pong");
    }
    arena_done(&a);
}

static void take_frames(struct session *x)
{
    struct buf body;
    int rc;

    buf_init(&body, LIMIT_SYNC_FRAME_BYTES);
    while (!x->closed && (rc = frame_next(&x->in, &body))) {
        if (rc < 0)
            session_close(x, "its message is too long");
        else
            take_message(x, buf_str(&body));
    }
    buf_done(&body);
}

static void read_some(struct session *x)
{
    size_t n = 0;
    enum io_step step = io_read(&x->io, &x->in, LIMIT_TURN_BYTES, &n);

    if (n) {
        x->seen_ms = loop_wall_ms(x->server->loop);
        timer_in(&x->silence, SILENCE_MS);
    }
    take_frames(x);
    if (x->closed || step == IO_AGAIN)
        return;
    if (step == IO_OK)
        task_note(&x->task, IO_NOTE_READ); /* the others first */
    else
        session_close(x, step == IO_EOF ? "it closed the connection" : "the connection broke");
}

static void run(struct task *t, unsigned notes)
{
    struct session *x = CONTAINER(t, struct session, task);

    if (notes & NOTE_SILENCE) {
        session_close(x, x->ejected ? "it was ejected" : "nothing heard for 45 s");
        return;
    }
    if (x->ejected)
        return; /* nothing more for it or from it; the timer ends it */
    if (notes & NOTE_IO)
        read_some(x);
    if (!x->closed && (notes & NOTE_PUSH) && x->said_hello)
        push(x);
    if (!x->closed && io_pending(&x->io) > OUT_BYTES_MAX)
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
    if (!str_eq_nocase(r->head->upgrade, STR("weft-sync/1"))) {
        serve_header(r, "upgrade", STR("weft-sync/1"));
        reply_problem(r, 426, "Upgrade Required", "this is the stream of agents: weft-sync/1");
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
    send_message(x, &b);
    io_shutdown(&x->io);
    io_want_read(&x->io, false);
    x->ejected = true;
    timer_in(&x->silence, EJECT_MS);
}

struct session *session_of(const struct server *s, struct str host_id)
{
    for (struct session *x = s->sessions; x; x = x->next) {
        if (str_eq(str_from(x->host_id), host_id))
            return x;
    }
    return NULL;
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
