/* A query by UDP that is passed on (struct ask) has a socket of its own: the kernel chooses a
 * random source port, the id can stay as it is, and only the nameserver's datagrams come in.
 *
 * A connection (struct session) has one connection behind it, made with the first query that is
 * passed on. Both directions are cut into messages, because answers from the table go in between.
 */
#include "cmd/agent/dns.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "mesh/base/buf.h"
#include "mesh/base/loop.h"
#include "mesh/base/mem.h"
#include "mesh/dns.h"

#define BATCH        64u         /* datagrams or connections taken per turn and socket */
#define ANSWER_MAX   4096u       /* bytes of an answer made here */
#define QUEUE_HIGH   (64u << 10) /* nothing more is read while this much waits to be written */
#define QUEUE_MAX    (4u * (DNS_MESSAGE_MAX + 2)) /* never reached: QUEUE_HIGH and one message */
#define LISTENER_MAX (DNS_SERVERS_MAX * 4u)

enum {
    NOTE_READ = BIT(0), /* the listener, or an ask's nameserver, or a session's client */
    NOTE_WRITE = BIT(1),
    NOTE_DEADLINE = BIT(2),
    NOTE_SERVER_READ = BIT(3),
    NOTE_SERVER_WRITE = BIT(4),
};

struct listener {
    struct task task;
    struct watch watch;
    struct dns_server *owner;
    size_t index; /* of the nameserver */
    bool is_udp;
};

struct link {
    struct link *next, *prev;
};

struct ask {
    struct task task;
    struct watch watch;
    struct timer timer;
    struct reap reap;
    struct link link;
    struct listener *from;
    struct sockaddr_storage client;
    socklen_t client_size;
    size_t n;
    char query[];
};

struct session {
    struct task task;
    struct watch client, server; /* server.fd is -1 until something is passed on */
    struct timer timer;
    struct reap reap;
    struct link link;
    struct dns_server *owner;
    struct addr nameserver;
    struct buf in, out;  /* from and to the client */
    struct buf up, down; /* to and from the nameserver */
    size_t pending;      /* messages passed on and not answered */
    bool client_eof, server_eof;
};

struct dns_server {
    struct dns_options options;
    struct addr servers[DNS_SERVERS_MAX];
    size_t server_count;
    struct listener listeners[LISTENER_MAX];
    size_t listener_count, port_count;
    struct dns_table *table;
    struct dns_table *stale; /* replaced during on_lookup, which may still look at it */
    bool looking;
    struct link asks, sessions; /* rings */
    struct dns_stats stats;
    struct reap reap;
    uint8_t *room; /* DNS_MESSAGE_MAX bytes, for one datagram at a time */
};

static void ring_init(struct link *ring)
{
    ring->next = ring->prev = ring;
}

static void ring_add(struct link *ring, struct link *l)
{
    l->next = ring;
    l->prev = ring->prev;
    ring->prev->next = l;
    ring->prev = l;
}

static void ring_del(struct link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    l->next = l->prev = l;
}

/* ---- the table ---- */

static const struct dns_entry *look_up(struct dns_server *d, const struct dns_query *q)
{
    struct str name = {q->name, q->name_bytes};
    const struct dns_entry *e;

    if (!d->table || !q->is_plain || q->class != DNS_IN)
        return NULL;
    e = dns_table_find(d->table, name);
    if (!e || !d->options.on_lookup)
        return e;
    d->looking = true;
    d->options.on_lookup(d->options.arg, name, e->key);
    d->looking = false;
    dns_table_free(d->stale);
    d->stale = NULL;
    return d->table ? dns_table_find(d->table, name) : NULL; /* it may have been replaced */
}

/* The answer to a mesh name; 0 for everything else, which is passed on. */
static size_t answer_here(struct dns_server *d, struct str message, bool is_udp, uint8_t *out)
{
    struct dns_query q;
    const struct dns_entry *e;
    size_t n, max = ANSWER_MAX;

    if (!dns_parse_query(message, &q))
        return 0;
    e = look_up(d, &q);
    if (!e)
        return 0;
    if (is_udp)
        max = MIN(max, q.udp_bytes);
    if (q.has_edns && q.edns_version != 0)
        n = dns_format_answer(message, &q, DNS_BADVERS, NULL, 0, 0, out, max);
    else
        n = dns_format_answer(message, &q, DNS_NOERROR, e->addrs, e->count, DNS_TTL_MESH, out, max);
    d->stats.answered += n > 0;
    return n;
}

void dns_server_apply(struct dns_server *d, struct dns_table *t)
{
    struct dns_table *old = d->table;

    d->table = t;
    if (d->looking && !d->stale)
        d->stale = old;
    else
        dns_table_free(old);
}

/* ---- sockets ---- */

static int new_socket(uint8_t family, int type, uint32_t mark)
{
    int fd = socket(family == 4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd >= 0 && mark != 0 && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* A marked socket on its way to the nameserver, or -1. */
static int connect_to(const struct dns_server *d, const struct addr *server, int type)
{
    struct sockaddr_storage to;
    socklen_t size = addr_to_sockaddr(server, &to);
    int fd = new_socket(server->family, type, d->options.mark);
    int on = 1;

    if (fd < 0)
        return -1;
    if (type == SOCK_STREAM)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
                         sizeof(on)); /* only a matter of speed */
    if (connect(fd, (struct sockaddr *)&to, size) < 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

/* ---- UDP ---- */

static void reply(const struct listener *l, const struct sockaddr_storage *to, socklen_t size,
                  const void *p, size_t n)
{
    /* A lost answer is a datagram lost: the asker asks again. */
    (void)sendto(l->watch.fd, p, n, MSG_DONTWAIT, (const struct sockaddr *)to, size);
}

static void reply_failure(const struct listener *l, const struct sockaddr_storage *to,
                          socklen_t size, struct str query)
{
    uint8_t out[DNS_UDP_MAX];
    size_t n = dns_format_failure(query, out, sizeof(out));

    l->owner->stats.failed++;
    if (n > 0)
        reply(l, to, size, out, n);
}

static void free_ask(struct reap *r)
{
    mem_free(CONTAINER(r, struct ask, reap));
}

static void end_ask(struct ask *a)
{
    struct dns_server *d = a->from->owner;

    watch_close(&a->watch);
    timer_stop(&a->timer);
    task_forget(&a->task);
    ring_del(&a->link);
    d->stats.inflight--;
    loop_reap(d->options.loop, &a->reap, free_ask);
}

static void run_ask(struct task *t, unsigned notes)
{
    struct ask *a = CONTAINER(t, struct ask, task);
    struct dns_server *d = a->from->owner;
    struct str query = {a->query, a->n};
    bool failed = notes & NOTE_DEADLINE;

    while (notes & NOTE_READ) {
        ssize_t n = recv(a->watch.fd, d->room, DNS_MESSAGE_MAX, 0);

        if (n < 0) {
            failed |= errno != EAGAIN && errno != EINTR; /* it refused */
            break;
        }
        if (dns_is_answer(query, (struct str){(const char *)d->room, (size_t)n})) {
            reply(a->from, &a->client, a->client_size, d->room, (size_t)n);
            end_ask(a);
            return;
        }
    }
    if (failed) {
        reply_failure(a->from, &a->client, a->client_size, query);
        end_ask(a);
    }
}

/* False if nothing is under way for it. */
static bool start_ask(struct listener *l, const struct sockaddr_storage *client, socklen_t size,
                      struct str query)
{
    struct dns_server *d = l->owner;
    struct ask *a;
    int fd;

    if (d->stats.inflight >= DNS_INFLIGHT_MAX || l->index >= d->server_count)
        return false;
    fd = connect_to(d, &d->servers[l->index], SOCK_DGRAM);
    if (fd < 0)
        return false;
    if (send(fd, query.p, query.n, 0) < 0) {
        close(fd);
        return false;
    }

    a = mem_zalloc(sizeof(*a) + query.n);
    a->from = l;
    a->client = *client;
    a->client_size = size;
    a->n = query.n;
    if (query.n > 0)
        memcpy(a->query, query.p, query.n);
    task_init(&a->task, d->options.loop, run_ask);
    watch_init(&a->watch, &a->task, fd, NOTE_READ, NOTE_WRITE);
    watch_want(&a->watch, true, false);
    timer_init(&a->timer, &a->task, NOTE_DEADLINE);
    timer_in(&a->timer, DNS_FORWARD_MS);
    ring_add(&d->asks, &a->link);
    d->stats.inflight++;
    d->stats.forwarded++;
    return true;
}

static void take_datagrams(struct listener *l)
{
    struct dns_server *d = l->owner;
    uint8_t out[ANSWER_MAX];

    for (unsigned i = 0; i < BATCH; i++) {
        struct sockaddr_storage client;
        socklen_t size = sizeof(client);
        ssize_t n =
            recvfrom(l->watch.fd, d->room, DNS_MESSAGE_MAX, 0, (struct sockaddr *)&client, &size);
        struct str query = {(const char *)d->room, n < 0 ? 0 : (size_t)n};
        size_t answer;

        if (n < 0)
            break;
        answer = answer_here(d, query, true, out);
        if (answer > 0)
            reply(l, &client, size, out, answer);
        else if (!start_ask(l, &client, size, query))
            reply_failure(l, &client, size, query);
    }
}

/* ---- TCP ---- */

static void drop_front(struct buf *b, size_t n)
{
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
}

static void add_message(struct buf *b, struct str message)
{
    buf_addc(b, (char)(message.n >> 8));
    buf_addc(b, (char)message.n);
    buf_add(b, message);
}

/* The first whole message of a stream. */
static bool first_message(const struct buf *b, struct str *out)
{
    size_t n;

    if (b->n < 2)
        return false;
    n = (size_t)(uint8_t)b->p[0] << 8 | (uint8_t)b->p[1];
    if (b->n - 2 < n)
        return false;
    *out = (struct str){b->p + 2, n};
    return true;
}

/* Read at most once. False on an error; *eof on the end. */
static bool fill(struct dns_server *d, int fd, struct buf *to, bool *eof)
{
    ssize_t n = recv(fd, d->room, DNS_MESSAGE_MAX, 0);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0)
        *eof = true;
    else
        buf_add(to, (struct str){(const char *)d->room, (size_t)n});
    return !to->failed;
}

static bool drain(int fd, struct buf *from)
{
    ssize_t n;

    if (from->n == 0)
        return true;
    n = send(fd, from->p, from->n, MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    drop_front(from, (size_t)n);
    return true;
}

static void free_session(struct reap *r)
{
    struct session *s = CONTAINER(r, struct session, reap);

    buf_done(&s->in);
    buf_done(&s->out);
    buf_done(&s->up);
    buf_done(&s->down);
    mem_free(s);
}

static void end_session(struct session *s)
{
    watch_close(&s->client);
    watch_close(&s->server);
    timer_stop(&s->timer);
    task_forget(&s->task);
    ring_del(&s->link);
    s->owner->stats.sessions--;
    loop_reap(s->owner->options.loop, &s->reap, free_session);
}

/* Queries of the client: answered or put on their way. */
static void sort_queries(struct session *s)
{
    uint8_t out[ANSWER_MAX];
    struct str message;

    while (s->out.n < QUEUE_HIGH && s->up.n < QUEUE_HIGH && first_message(&s->in, &message)) {
        size_t n = answer_here(s->owner, message, false, out);

        if (n > 0) {
            add_message(&s->out, (struct str){(const char *)out, n});
        } else {
            add_message(&s->up, message);
            s->pending++;
            s->owner->stats.forwarded++;
        }
        drop_front(&s->in, message.n + 2);
    }
}

static void sort_answers(struct session *s)
{
    struct str message;

    while (s->out.n < QUEUE_HIGH && first_message(&s->down, &message)) {
        add_message(&s->out, message);
        if (s->pending > 0) /* a zone transfer has many answers to one query */
            s->pending--;
        drop_front(&s->down, message.n + 2);
    }
}

/* The connection to the nameserver: made when needed, forgotten when it ends idle. False: it
 * failed. */
static bool tend_server(struct session *s, unsigned notes)
{
    if (s->server.fd < 0 && s->up.n > 0) {
        int fd = connect_to(s->owner, &s->nameserver, SOCK_STREAM);

        if (fd < 0)
            return false;
        watch_init(&s->server, &s->task, fd, NOTE_SERVER_READ, NOTE_SERVER_WRITE);
        return true; /* written to when it is writable, which is when it is connected */
    }
    if (s->server.fd < 0)
        return true;
    if ((notes & NOTE_SERVER_READ) && s->down.n < DNS_MESSAGE_MAX + 2u &&
        !fill(s->owner, s->server.fd, &s->down, &s->server_eof))
        return false;
    if ((notes & NOTE_SERVER_WRITE) && !drain(s->server.fd, &s->up))
        return false;
    return true;
}

/* After a nameserver's end: nothing was waiting, so the client may go on; or it waits in vain. */
static bool end_server(struct session *s)
{
    struct str message;

    if (!s->server_eof || first_message(&s->down, &message))
        return true;
    watch_close(&s->server);
    s->server_eof = false;
    buf_clear(&s->down);
    return s->pending == 0 && s->up.n == 0;
}

static void rearm(struct session *s)
{
    watch_want(&s->client, !s->client_eof && s->in.n < DNS_MESSAGE_MAX + 2u &&
                               s->out.n<QUEUE_HIGH, s->out.n> 0);
    watch_want(&s->server, !s->server_eof && s->down.n < DNS_MESSAGE_MAX + 2u &&
                               s->out.n<QUEUE_HIGH, s->up.n> 0);
    timer_in(&s->timer, s->pending > 0 ? DNS_FORWARD_MS : DNS_SESSION_IDLE_MS);
}

static void run_session(struct task *t, unsigned notes)
{
    struct session *s = CONTAINER(t, struct session, task);
    bool alive = !(notes & NOTE_DEADLINE);

    if ((notes & NOTE_READ) && alive)
        alive = fill(s->owner, s->client.fd, &s->in, &s->client_eof);
    if (alive)
        sort_queries(s);
    if (alive && !tend_server(s, notes)) {
        alive = false;
        s->owner->stats.failed++;
    }
    if (alive) {
        sort_answers(s);
        alive = drain(s->client.fd, &s->out);
    }
    /* What the full queue kept back may go on now. */
    if (alive) {
        sort_answers(s);
        sort_queries(s);
        alive = end_server(s);
    }
    if (alive && s->client_eof && s->pending == 0 && s->out.n == 0 && s->up.n == 0)
        alive = false;
    if (alive && s->up.n > 0 && s->server.fd < 0)
        task_note(&s->task, NOTE_SERVER_WRITE);
    if (alive)
        rearm(s);
    else
        end_session(s);
}

static void take_connections(struct listener *l)
{
    struct dns_server *d = l->owner;

    for (unsigned i = 0; i < BATCH; i++) {
        int fd = accept4(l->watch.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        struct session *s;

        if (fd < 0)
            break;
        if (d->stats.sessions >= DNS_SESSIONS_MAX || l->index >= d->server_count) {
            d->stats.failed++;
            close(fd);
            continue;
        }
        s = MEM_NEW(struct session);
        s->owner = d;
        s->nameserver = d->servers[l->index];
        buf_init(&s->in, QUEUE_MAX);
        buf_init(&s->out, QUEUE_MAX);
        buf_init(&s->up, QUEUE_MAX);
        buf_init(&s->down, QUEUE_MAX);
        task_init(&s->task, d->options.loop, run_session);
        watch_init(&s->client, &s->task, fd, NOTE_READ, NOTE_WRITE);
        watch_init(&s->server, &s->task, -1, NOTE_SERVER_READ, NOTE_SERVER_WRITE);
        timer_init(&s->timer, &s->task, NOTE_DEADLINE);
        ring_add(&d->sessions, &s->link);
        d->stats.sessions++;
        rearm(s);
    }
}

/* ---- listeners ---- */

static void run_listener(struct task *t, unsigned notes)
{
    struct listener *l = CONTAINER(t, struct listener, task);

    (void)notes; /* there is only one */
    if (l->is_udp)
        take_datagrams(l);
    else
        take_connections(l);
}

static int bind_listener(const struct addr *at, bool is_udp)
{
    struct sockaddr_storage to;
    socklen_t size = addr_to_sockaddr(at, &to);
    int fd = new_socket(at->family, is_udp ? SOCK_DGRAM : SOCK_STREAM, 0);
    int on = 1, saved;

    if (fd < 0)
        return -1;
    if ((is_udp || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0) &&
        bind(fd, (struct sockaddr *)&to, size) == 0 && (is_udp || listen(fd, 128) == 0))
        return fd;
    saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

/* Both transports at both loopback addresses; only the nameserver's own family must succeed, since
 * the redirect of the other one leads nowhere near. */
static int open_port(struct dns_server *d, size_t index, uint8_t must_family, struct err *err)
{
    struct addr at[2] = {
        {.family = 4, .ip = {127, 0, 0, 1}},
        {.family = 6, .ip = {[15] = 1}    }
    };
    size_t before = d->listener_count;
    char text[ADDR_TEXT_MAX];

    for (size_t i = 0; i < 4; i++) {
        struct addr *a = &at[i / 2];
        struct listener *l = &d->listeners[d->listener_count];
        int fd;

        a->port = (uint16_t)(d->options.port + index);
        fd = bind_listener(a, i % 2 == 0);
        if (fd < 0 && a->family != must_family)
            continue;
        if (fd < 0) {
            err_errno(err, ERR_IO, "cannot listen for DNS on %s by %s", addr_format(a, text),
                      i % 2 == 0 ? "UDP" : "TCP");
            while (d->listener_count > before)
                watch_close(&d->listeners[--d->listener_count].watch);
            return -1;
        }
        *l = (struct listener){.owner = d, .index = index, .is_udp = i % 2 == 0};
        task_init(&l->task, d->options.loop, run_listener);
        watch_init(&l->watch, &l->task, fd, NOTE_READ, NOTE_WRITE);
        d->listener_count++;
    }
    for (size_t i = before; i < d->listener_count; i++)
        watch_want(&d->listeners[i].watch, true, false);
    return 0;
}

int dns_server_set_nameservers(struct dns_server *d, const struct addr *servers, size_t count,
                               struct err *err)
{
    if (count > DNS_SERVERS_MAX)
        return err_set(err, ERR_LIMIT, "%zu nameservers; at most %u", count, DNS_SERVERS_MAX);
    if (d->options.port == 0 || d->options.port + DNS_SERVERS_MAX > 65536)
        return err_set(err, ERR_INVALID, "port %u leaves no room for one port per nameserver",
                       d->options.port);
    while (d->port_count < count) {
        if (open_port(d, d->port_count, servers[d->port_count].family, err) < 0)
            return -1;
        d->port_count++;
    }
    for (size_t i = 0; i < count; i++) {
        d->servers[i] = servers[i];
        if (d->servers[i].port == 0)
            d->servers[i].port = 53;
    }
    d->server_count = count;
    return 0;
}

static int check_mark(uint32_t mark, struct err *err)
{
    int fd = new_socket(4, SOCK_DGRAM, mark);

    if (fd < 0)
        return err_errno(err, ERR_DENIED,
                         "cannot mark the sockets towards nameservers "
                         "(this needs the capability CAP_NET_ADMIN)");
    close(fd);
    return 0;
}

struct dns_server *dns_server_open(const struct dns_options *o, struct err *err)
{
    struct dns_server *d;

    if (check_mark(o->mark, err) < 0)
        return NULL;
    d = MEM_NEW(struct dns_server);
    d->options = *o;
    d->options.nameservers = NULL; /* copied, and the caller's may go */
    ring_init(&d->asks);
    ring_init(&d->sessions);
    d->room = mem_alloc(DNS_MESSAGE_MAX);
    if (dns_server_set_nameservers(d, o->nameservers, o->nameserver_count, err) < 0) {
        dns_server_close(d);
        return NULL;
    }
    return d;
}

static void free_server(struct reap *r)
{
    struct dns_server *d = CONTAINER(r, struct dns_server, reap);

    dns_table_free(d->table);
    dns_table_free(d->stale);
    mem_free(d->room);
    mem_free(d);
}

void dns_server_close(struct dns_server *d)
{
    if (!d)
        return;
    while (d->asks.next != &d->asks)
        end_ask(CONTAINER(d->asks.next, struct ask, link));
    while (d->sessions.next != &d->sessions)
        end_session(CONTAINER(d->sessions.next, struct session, link));
    for (size_t i = 0; i < d->listener_count; i++) {
        watch_close(&d->listeners[i].watch);
        task_forget(&d->listeners[i].task);
    }
    loop_reap(d->options.loop, &d->reap, free_server);
}

void dns_server_stats(const struct dns_server *d, struct dns_stats *out)
{
    *out = d->stats;
}
