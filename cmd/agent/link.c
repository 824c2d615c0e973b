/* The session to a server: connect over mutual TLS, upgrade to weft-sync/1, say hello with what we
 * hold, take commits, answer ack or nack. Lost sessions are tried again for ever, jittered, over
 * all known servers. Traffic does not wait for any of it. */
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/agent/agent.h"
#include "cmd/frame.h"
#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "mesh/identity.h"
#include "pki/creds.h"
#include "proxy/wire/fetch.h"
#include "proxy/wire/tls.h"

#define PING_MS     15000
#define SILENCE_MS  45000
#define CONNECT_MS  10000
#define BACKOFF_MIN 250
#define BACKOFF_MAX 15000

enum { NOTE_IO = 7, NOTE_RETRY = 8, NOTE_PING = 16, NOTE_SILENCE = 32 };

/* Looking names up blocks, so a thread does it. Its questions go through our own DNS server. */
struct lookup {
    pthread_t thread;
    struct post post;
    bool running; /* until its post came */
    struct addr found[AGENT_SERVERS_MAX];
    size_t found_count;
};

struct link {
    struct agent *agent;
    struct task task;
    struct timer retry, ping, silence;
    struct fetch *fetch; /* connecting */
    struct io io;
    struct bytes in;
    bool up, is_new; /* up: upgraded; is_new: no hello answered yet */
    bool withdrawn;  /* this agent stops: nothing new is taken */
    bool closing;    /* the look-up's post, which is under way, frees it */
    struct lookup lookup;
    struct addr servers[AGENT_SERVERS_MAX]; /* none until the first look-up is done */
    size_t server_count, server_next;
    struct tls_context *tls;      /* with the host certificate */
    struct tls_context *tls_bare; /* without: to come back after expiry */
    struct resources pending;     /* held plus changes since the last commit */
    char *epoch;
    int64_t backoff_ms, since_ms;
    char problem[256]; /* why it is down */
    char server_name[256];
};

/* ---- servers ---- */

static void add_found(struct lookup *k, const struct addr *server)
{
    if (k->found_count < AGENT_SERVERS_MAX)
        k->found[k->found_count++] = *server;
}

static void resolve(struct lookup *k, const char *host_port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    const char *colon = strrchr(host_port, ':');
    struct addrinfo *list = NULL;
    struct addr server;
    char name[256];

    if (addr_parse(str_from(host_port), &server)) {
        add_found(k, &server);
        return;
    }
    if (!colon)
        return;
    (void)snprintf(name, sizeof(name), "%.*s", (int)(colon - host_port), host_port);
    if (getaddrinfo(name, colon + 1, &hints, &list))
        return;
    for (struct addrinfo *a = list; a; a = a->ai_next) {
        if (addr_from_sockaddr(a->ai_addr, &server))
            add_found(k, &server);
    }
    freeaddrinfo(list);
}

static void *look_up(void *arg)
{
    struct link *l = arg;
    const struct agent_member *m = &l->agent->member; /* does not change while we run */

    l->lookup.found_count = 0;
    for (size_t i = 0; i < m->server_count; i++)
        resolve(&l->lookup, m->servers[i]);
    loop_post(l->agent->loop, &l->lookup.post);
    return NULL;
}

static void end_lookup(struct link *l)
{
    if (l->lookup.running)
        (void)pthread_join(l->lookup.thread, NULL); /* it was started */
    l->lookup.running = false;
}

static void retry_later(struct link *l)
{
    int64_t jitter = (int64_t)(text_random_u64() % (uint64_t)(l->backoff_ms / 2 + 1));

    timer_in(&l->retry, l->backoff_ms / 2 + jitter);
    l->backoff_ms = MIN(l->backoff_ms * 2, BACKOFF_MAX);
}

/* There is no session: say so once, and try again. */
static void failed(struct link *l, const char *why)
{
    if (l->up || strncmp(l->problem, why, sizeof(l->problem) - 1) != 0)
        log_warn("no server, serving revision %llu and trying again: %s",
                 (unsigned long long)l->agent->revision, why);
    (void)snprintf(l->problem, sizeof(l->problem), "%s", why);
    retry_later(l);
}

static void looked_up(struct post *p)
{
    struct link *l = CONTAINER(p, struct link, lookup.post);

    end_lookup(l);
    if (l->closing) {
        mem_free(l);
        return;
    }
    if (l->lookup.found_count == 0) { /* what is known stays; the next failure looks again */
        if (l->server_count == 0)
            failed(l, "no address of the server can be found; check its name");
        return;
    }
    if (l->server_count == 0) {
        l->server_next = (size_t)(text_random_u64() % l->lookup.found_count);
        timer_in(&l->retry, 1);
    }
    memcpy(l->servers, l->lookup.found, sizeof(l->servers));
    l->server_count = l->lookup.found_count;
}

static void start_lookup(struct link *l)
{
    if (!l->lookup.running)
        l->lookup.running = pthread_create(&l->lookup.thread, NULL, look_up, l) == 0;
}

static const struct addr *server_now(const struct link *l)
{
    return &l->servers[l->server_count ? l->server_next % l->server_count : 0];
}

static void server_uri(const struct link *l, struct buf *out)
{
    identity_server(out, str_from(l->agent->member.trust_domain));
}

static int make_tls(struct link *l, struct err *err)
{
    static const char *const alpn[] = {"http/1.1", NULL};
    const struct tls_options o = {
        .peer = TLS_PEER_REQUIRED, .alpn = alpn, .min_version = 12, .max_version = 12};
    struct creds *host = certs_host(l->agent->certs);
    struct tls_context *with = tls_client_context(host, &o, err), *bare = NULL;
    struct creds *roots = with ? creds_new(STR_NONE, STR_NONE, creds_roots_pem(host), err) : NULL;

    if (roots)
        bare = tls_client_context(roots, &o, err);
    creds_unref(roots);
    if (!bare) {
        tls_context_unref(with);
        return -1;
    }
    tls_context_unref(l->tls);
    tls_context_unref(l->tls_bare);
    l->tls = with;
    l->tls_bare = bare;
    return 0;
}

struct fetch *link_call(struct link *l, bool with_certificate, const char *method, const char *path,
                        struct str body, fetch_fn *done, void *arg)
{
    struct fetch_request r = {.to = *server_now(l),
                              .tls = with_certificate ? l->tls : l->tls_bare,
                              .method = str_from(method),
                              .path = str_from(path),
                              .host = STR("weft-server"),
                              .body = body,
                              .content_type = STR("application/json"),
                              .answer_max = LIMIT_APPLY_BYTES,
                              .timeout_ms = 30000};
    struct buf uri;
    struct fetch *f;

    if (l->server_count == 0)
        return NULL;
    buf_init(&uri, 4096);
    server_uri(l, &uri);
    r.expect_uris = buf_str(&uri);
    f = fetch_start(l->agent->loop, &r, done, arg);
    buf_done(&uri);
    return f;
}

/* ---- down and up ---- */

static void down(struct link *l, const char *why)
{
    failed(l, why);
    if (l->up) {
        io_close(&l->io);
        bytes_done(&l->in);
        l->up = false;
        l->since_ms = loop_wall_ms(l->agent->loop);
    }
    timer_stop(&l->ping);
    timer_stop(&l->silence);
    l->server_next++;
    start_lookup(l); /* its name may have another address by now */
}

static void send_message(struct link *l, struct buf *body)
{
    if (l->up && !frame_send(&l->io, body))
        log_error("a message to the server is too long and was not sent");
    buf_done(body);
}

static void write_services(const struct link *l, struct buf *b)
{
    buf_adds(b, "\"services\":[");
    for (size_t i = 0; i < l->agent->local.service_count; i++) {
        if (i)
            buf_addc(b, ',');
        sync_write_registration(&l->agent->local.services[i], b);
    }
    buf_addc(b, ']');
}

static void send_hello(struct link *l)
{
    const struct agent *a = l->agent;
    const struct map_entry *e;
    struct buf b;
    size_t n = 0;

    buf_init(&b, LIMIT_SYNC_FRAME_BYTES);
    buf_printf(&b,
               "{\"type\":\"hello\",\"version\":\"%s\",\"features\":[\"weft-sync/1\"],\"host\":",
               WEFT_VERSION);
    buf_json(&b, str_from(a->member.host_id));
    buf_adds(&b, ",\"epoch\":");
    buf_json(&b, str_from(a->epoch ? a->epoch : ""));
    buf_printf(&b, ",\"revision\":%llu,\"digest\":\"", (unsigned long long)a->revision);
    resources_digest(&a->held, &b);
    buf_adds(&b, "\",\"subscriptions\":[");
    for (size_t i = 0; (e = map_each(&a->subscriptions, &i));) {
        if (n++)
            buf_addc(&b, ',');
        buf_json(&b, e->key);
    }
    buf_adds(&b, "],");
    write_services(l, &b);
    buf_addc(&b, '}');
    send_message(l, &b);
}

static void connected(void *arg, const struct fetch_answer *answer, const struct err *err)
{
    struct link *l = arg;
    char why[512];

    l->fetch = NULL;
    if (err) {
        down(l, err->text);
        return;
    }
    if (answer->status != 101 || !answer->io) {
        (void)snprintf(why, sizeof(why), "the server answered %u: %.*s", answer->status,
                       (int)MIN(answer->body.n, 300), answer->body.p);
        down(l, why);
        return;
    }
    bytes_init(&l->in);
    io_move(&l->io, answer->io, &l->task, 0);
    bytes_move(&l->in, answer->first, answer->first->n);
    l->up = true;
    l->is_new = true;
    l->since_ms = loop_wall_ms(l->agent->loop);
    resources_done(&l->pending);
    resources_copy(&l->pending, &l->agent->held);
    map_done(&l->agent->refusing); /* of an answer that was cut off */
    io_want_read(&l->io, true);
    timer_in(&l->ping, PING_MS);
    timer_in(&l->silence, SILENCE_MS);
    send_hello(l);
    task_note(&l->task, IO_NOTE_READ);
}

static void connect_now(struct link *l)
{
    struct fetch_request r = {.tls = l->tls,
                              .method = STR("GET"),
                              .path = STR("/v1/agent/stream"),
                              .host = STR("weft-server"),
                              .upgrade = "weft-sync/1",
                              .answer_max = LIMIT_API_BODY_BYTES,
                              .timeout_ms = CONNECT_MS};
    struct buf uri;

    if (l->withdrawn || l->fetch || l->up)
        return;
    if (l->server_count == 0) {
        start_lookup(l);
        return;
    }
    r.to = *server_now(l);
    buf_init(&uri, 4096);
    server_uri(l, &uri);
    r.expect_uris = buf_str(&uri);
    l->fetch = fetch_start(l->agent->loop, &r, connected, l);
    buf_done(&uri);
}

/* ---- messages ---- */

static void take_welcome(struct link *l, const struct node *msg)
{
    mem_free(l->epoch);
    l->epoch = str_dup(node_text(msg, "epoch"));
    (void)snprintf(l->server_name, sizeof(l->server_name), "%.*s",
                   STR_ARG(node_text(msg, "server")));
    if (node_is_true(msg, "reset")) {
        resources_done(&l->pending);
        resources_init(&l->pending);
    }
    l->is_new = false;
    if (!node_is_true(msg, "reset")) /* else once we agree: not everything again and again */
        l->backoff_ms = BACKOFF_MIN;
    l->problem[0] = 0;
    log_info("server connected server=%s in_sync=%d", l->server_name, !node_is_true(msg, "reset"));
    certs_want(l->agent->certs);
}

static void take_changes(struct link *l, const struct node *msg)
{
    const struct node *items = node_get(msg, STR("items"));
    struct buf text;

    buf_init(&text, LIMIT_SYNC_FRAME_BYTES);
    for (const struct node *n = items ? items->first : NULL; n; n = n->next) {
        const struct node *value = node_get(n, STR("value"));
        struct str key = node_text(n, "key");

        if (!value || value->kind == NODE_NULL) {
            resources_del(&l->pending, key);
            continue;
        }
        buf_clear(&text);
        json_write(value, 0, &text);
        resources_put(&l->pending, key, buf_str(&text));
    }
    buf_done(&text);
}

static void answer_commit(struct link *l, uint64_t seq, uint64_t revision, const struct findings *f)
{
    struct buf b;

    buf_init(&b, LIMIT_SYNC_FRAME_BYTES);
    buf_printf(&b, "{\"type\":\"%s\",\"seq\":%llu,\"revision\":%llu", f ? "nack" : "ack",
               (unsigned long long)seq, (unsigned long long)revision);
    if (f) {
        buf_adds(&b, ",\"errors\":");
        findings_json(f, SEVERITY_ERROR, &b);
    }
    buf_addc(&b, '}');
    send_message(l, &b);
}

static void take_commit(struct link *l, const struct node *msg)
{
    struct findings f;
    struct arena a;
    struct buf digest;
    struct resources copy;
    uint64_t seq = 0, revision = 0;

    if (l->withdrawn)
        return;
    arena_init(&a);
    findings_init(&f, &a);
    buf_init(&digest, 128);
    resources_digest(&l->pending, &digest);
    if (!str_uint(node_text(msg, "seq"), 0, UINT64_MAX, &seq) ||
        !str_uint(node_text(msg, "revision"), 0, UINT64_MAX, &revision) ||
        !str_eq(buf_str(&digest), node_text(msg, "digest"))) {
        down(l, "the server and this agent do not agree on what was sent; asking again");
    } else {
        l->backoff_ms = BACKOFF_MIN;
        resources_init(&copy);
        resources_copy(&copy, &l->pending);
        if (agent_commit(l->agent, &copy, str_from(l->epoch), revision, &f)) {
            struct err err;

            (void)findings_err(&f, &err);
            log_error("revision %llu cannot be built, keeping revision %llu: %s",
                      (unsigned long long)revision, (unsigned long long)l->agent->revision,
                      err.text);
            resources_done(&copy);
            answer_commit(l, seq, revision, &f);
        } else {
            answer_commit(l, seq, revision, NULL);
        }
    }
    buf_done(&digest);
    arena_done(&a);
}

static void take_message(struct link *l, struct str body)
{
    struct arena a;
    struct node *msg;
    struct err err;
    struct str type;
    char why[300];

    arena_init(&a);
    if (json_read(body, &a, &msg, &err)) {
        down(l, "the server sent something that is not JSON");
        arena_done(&a);
        return;
    }
    type = node_text(msg, "type");
    if (str_eq(type, STR("welcome"))) {
        take_welcome(l, msg);
    } else if (str_eq(type, STR("changes"))) {
        take_changes(l, msg);
    } else if (str_eq(type, STR("commit"))) {
        take_commit(l, msg);
    } else if (str_eq(type, STR("refused"))) {
        agent_refused(l->agent, node_text(msg, "namespace"), node_text(msg, "service"),
                      node_text(msg, "detail"));
    } else if (str_eq(type, STR("registered"))) {
        agent_registered(l->agent);
        if (!l->is_new) /* else with the welcome that follows */
            certs_want(l->agent->certs);
    } else if (str_eq(type, STR("ejected"))) {
        (void)snprintf(why, sizeof(why), "this host was ejected: %.*s",
                       STR_ARG(node_text(msg, "detail")));
        down(l, why);
    }
    arena_done(&a);
}

static void take_frames(struct link *l)
{
    struct buf body;
    int rc;

    buf_init(&body, LIMIT_SYNC_FRAME_BYTES);
    while (l->up && (rc = frame_next(&l->in, &body))) {
        if (rc < 0)
            down(l, "the server sent a message that is too long");
        else
            take_message(l, buf_str(&body));
    }
    buf_done(&body);
}

static void read_some(struct link *l)
{
    size_t n = 0;
    enum io_step step = io_read(&l->io, &l->in, LIMIT_TURN_BYTES, &n);

    if (n)
        timer_in(&l->silence, SILENCE_MS);
    take_frames(l);
    if (!l->up || step == IO_AGAIN)
        return;
    if (step == IO_OK)
        task_note(&l->task, IO_NOTE_READ); /* the others first */
    else
        down(l, step == IO_EOF ? "the server closed the session" : "the session broke");
}

static void send_ping(struct link *l)
{
    struct buf b;

    buf_init(&b, 64);
    buf_adds(&b, "{\"type\":\"ping\"}");
    send_message(l, &b);
}

static void run(struct task *t, unsigned notes)
{
    struct link *l = CONTAINER(t, struct link, task);

    if (notes & NOTE_RETRY)
        connect_now(l);
    if (l->up && (notes & NOTE_SILENCE))
        down(l, "nothing heard from the server for 45 s");
    if (l->up && (notes & NOTE_PING)) {
        send_ping(l);
        timer_in(&l->ping, PING_MS);
    }
    if (l->up && (notes & NOTE_IO))
        read_some(l);
}

/* ---- face ---- */

void link_subscribe(struct link *l, struct str service_key)
{
    struct buf b;

    buf_init(&b, 4096);
    buf_adds(&b, "{\"type\":\"subscribe\",\"services\":[");
    buf_json(&b, service_key);
    buf_adds(&b, "]}");
    send_message(l, &b);
}

void link_register(struct link *l)
{
    struct buf b;

    buf_init(&b, LIMIT_SYNC_FRAME_BYTES);
    buf_adds(&b, "{\"type\":\"register\",");
    write_services(l, &b);
    buf_addc(&b, '}');
    send_message(l, &b);
}

void link_withdraw(struct link *l)
{
    struct buf b;

    l->withdrawn = true;
    buf_init(&b, 64);
    buf_adds(&b, "{\"type\":\"register\",\"services\":[]}");
    send_message(l, &b);
}

void link_restart(struct link *l)
{
    struct err err;

    if (make_tls(l, &err))
        log_error("the new host certificate cannot be used, keeping the session: %s", err.text);
    else if (!l->up && !l->fetch)
        timer_in(&l->retry, 1);
}

bool link_is_up(const struct link *l)
{
    return l && l->up && !l->is_new;
}

const char *link_problem(const struct link *l)
{
    return l->problem;
}

void link_json(const struct link *l, struct buf *out)
{
    char at[ADDR_TEXT_MAX];

    buf_printf(out, "{\"connected\":%s,\"server\":", link_is_up(l) ? "true" : "false");
    buf_json(out, str_from(l->server_name));
    buf_printf(out, ",\"address\":\"%s\",\"since\":\"",
               l->server_count ? addr_format(server_now(l), at) : "");
    text_time(out, l->since_ms, false);
    buf_adds(out, "\",\"problem\":");
    buf_json(out, str_from(l->problem));
    buf_addc(out, '}');
}

struct link *link_new(struct agent *a, struct err *err)
{
    struct link *l = mem_zalloc(sizeof(*l));

    l->agent = a;
    l->backoff_ms = BACKOFF_MIN;
    l->since_ms = text_wall_ms();
    bytes_init(&l->in);
    resources_init(&l->pending);
    task_init(&l->task, a->loop, run);
    timer_init(&l->retry, &l->task, NOTE_RETRY);
    timer_init(&l->ping, &l->task, NOTE_PING);
    timer_init(&l->silence, &l->task, NOTE_SILENCE);
    l->lookup.post.fn = looked_up;
    if (make_tls(l, err)) {
        link_free(l);
        return NULL;
    }
    start_lookup(l); /* then looked_up connects */
    return l;
}

void link_free(struct link *l)
{
    if (!l)
        return;
    l->closing = l->lookup.running;
    end_lookup(l);
    if (l->fetch)
        fetch_cancel(l->fetch);
    if (l->up)
        io_close(&l->io);
    bytes_done(&l->in);
    timer_stop(&l->retry);
    timer_stop(&l->ping);
    timer_stop(&l->silence);
    task_forget(&l->task);
    resources_done(&l->pending);
    tls_context_unref(l->tls);
    tls_context_unref(l->tls_bare);
    mem_free(l->epoch);
    if (!l->closing)
        mem_free(l);
}
