#include "test/test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/agent/dns.h"
#include "mesh/base/loop.h"
#include "mesh/dns.h"

/* ---- messages ---- */

struct message {
    uint8_t p[2048];
    size_t n;
};

static struct str bytes_of(const struct message *m)
{
    return (struct str){(const char *)m->p, m->n};
}

static void put(struct message *m, const void *p, size_t n)
{
    memcpy(m->p + m->n, p, n);
    m->n += n;
}

#define PUT(m, ...) put((m), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static struct message question(uint16_t id, const char *name, uint16_t type)
{
    struct message m = {.n = 0};
    struct str rest = str_from(name), label;

    PUT(&m, (uint8_t)(id >> 8), (uint8_t)id, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0);
    while (str_next(&rest, '.', &label)) {
        PUT(&m, (uint8_t)label.n);
        put(&m, label.p, label.n);
    }
    PUT(&m, 0, (uint8_t)(type >> 8), (uint8_t)type, 0, 1);
    return m;
}

static struct message with_edns(struct message m, uint16_t udp_bytes, uint8_t version)
{
    m.p[11] = 1;
    PUT(&m, 0, 0, 41, (uint8_t)(udp_bytes >> 8), (uint8_t)udp_bytes, 0, version, 0, 0, 0, 0);
    return m;
}

static struct addr address(const char *text)
{
    struct addr a;

    if (!addr_parse_ip(str_from(text), &a))
        fail();
    return a;
}

static unsigned at16(const struct message *m, size_t at)
{
    return (unsigned)m->p[at] << 8 | m->p[at + 1];
}

static unsigned rcode(const struct message *m)
{
    return m->p[3] & 15u;
}

static struct message answer(const struct message *query, enum dns_rcode code,
                             const struct addr *addrs, size_t count, size_t max)
{
    struct message out = {.n = 0};
    struct dns_query q;

    CHECK(dns_parse_query(bytes_of(query), &q));
    out.n = dns_format_answer(bytes_of(query), &q, code, addrs, count, 5, out.p, max);
    return out;
}

TEST(a_question_is_read_with_its_name_in_lower_case)
{
    struct message m = question(0x1234, "ReViews.Default", DNS_AAAA);
    struct dns_query q;

    CHECK(dns_parse_query(bytes_of(&m), &q));
    CHECK_INT(q.id, 0x1234);
    CHECK_INT(q.type, DNS_AAAA);
    CHECK_INT(q.class, DNS_IN);
    CHECK_TEXT(q.name, "reviews.default");
    CHECK_INT(q.name_bytes, 15);
    CHECK(q.is_plain);
    CHECK_INT(q.question_end, m.n);
    CHECK(!q.has_edns);
    CHECK_INT(q.udp_bytes, 512);
}

TEST(edns_says_how_much_the_asker_takes)
{
    struct message m = with_edns(question(1, "a.b", DNS_A), 1400, 0);
    struct dns_query q;

    CHECK(dns_parse_query(bytes_of(&m), &q));
    CHECK(q.has_edns);
    CHECK_INT(q.udp_bytes, 1400);
    m = with_edns(question(1, "a.b", DNS_A), 100, 0); /* less than 512 means 512 */
    CHECK(dns_parse_query(bytes_of(&m), &q));
    CHECK_INT(q.udp_bytes, 512);
}

TEST(every_cut_of_a_query_is_refused)
{
    struct message m = with_edns(question(1, "reviews.mesh", DNS_A), 1400, 0);
    struct dns_query q;

    for (size_t n = 0; n < m.n; n++)
        CHECK(!dns_parse_query((struct str){(const char *)m.p, n}, &q));
    CHECK(dns_parse_query(bytes_of(&m), &q));
}

TEST(only_a_standard_query_with_one_question_is_ours)
{
    struct message m = question(1, "a", DNS_A);
    struct dns_query q;

    m.p[2] |= 0x80; /* a response */
    CHECK(!dns_parse_query(bytes_of(&m), &q));
    m.p[2] = 0x28; /* an update */
    CHECK(!dns_parse_query(bytes_of(&m), &q));
    m.p[2] = 1;
    m.p[5] = 2; /* two questions */
    CHECK(!dns_parse_query(bytes_of(&m), &q));
    m.p[5] = 1;
    m.p[12] = 0xc0; /* a pointer in the first name leads nowhere */
    CHECK(!dns_parse_query(bytes_of(&m), &q));
    m = with_edns(with_edns(question(1, "a", DNS_A), 600, 0), 600, 0);
    m.p[11] = 2; /* two OPT records */
    CHECK(!dns_parse_query(bytes_of(&m), &q));
}

TEST(a_name_with_odd_bytes_is_not_taken_for_a_dotted_one)
{
    struct message m = question(1, "a?b", DNS_A);
    struct dns_query q;

    m.p[14] = '.'; /* one label "a.b" */
    CHECK(dns_parse_query(bytes_of(&m), &q));
    CHECK(!q.is_plain);
}

TEST(addresses_of_the_wanted_type_are_answered_with_their_ttl)
{
    struct addr addrs[] = {address("240.240.0.1"), address("2001:2::1"), address("240.240.0.2")};
    struct message q = question(7, "Reviews", DNS_A), a = answer(&q, DNS_NOERROR, addrs, 3, 512);
    static const uint8_t want[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 240, 240, 0, 1,
                                   0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 240, 240, 0, 2};

    CHECK_INT(a.n, q.n + sizeof(want));
    CHECK_INT(at16(&a, 2), 0x8580); /* response, authority, recursion wanted and offered */
    CHECK_INT(at16(&a, 6), 2);
    CHECK(memcmp(a.p + 12, q.p + 12, q.n - 12) == 0); /* the question as it was spelled */
    CHECK(memcmp(a.p + q.n, want, sizeof(want)) == 0);
    CHECK(dns_is_answer(bytes_of(&q), bytes_of(&a)));

    q = question(7, "reviews", DNS_AAAA);
    a = answer(&q, DNS_NOERROR, addrs, 3, 512);
    CHECK_INT(at16(&a, 6), 1);
    CHECK_INT(a.n, q.n + 28);
}

TEST(a_family_that_is_not_there_is_empty_and_no_error)
{
    struct addr v4 = address("240.240.0.1");
    static const uint16_t types[] = {DNS_AAAA, 16 /* TXT */, 33 /* SRV */, 65 /* HTTPS */, 255};

    for (size_t i = 0; i < COUNT(types); i++) {
        struct message q = question(7, "reviews", types[i]),
                       a = answer(&q, DNS_NOERROR, &v4, 1, 512);

        CHECK_INT(rcode(&a), DNS_NOERROR);
        CHECK_INT(at16(&a, 6), 0);
        CHECK_INT(a.n, q.n);
    }
}

TEST(edns_is_answered_with_edns)
{
    struct addr v4 = address("240.240.0.1");
    struct message q = with_edns(question(7, "reviews", DNS_A), 1232, 0);
    struct message a = answer(&q, DNS_NOERROR, &v4, 1, 512);

    CHECK_INT(at16(&a, 10), 1);
    CHECK_INT(a.n, q.n + 16);
    CHECK_INT(a.p[a.n - 9], 41);
    q = with_edns(question(7, "reviews", DNS_A), 1232, 1);
    a = answer(&q, DNS_BADVERS, NULL, 0, 512);
    CHECK_INT(rcode(&a), 0);
    CHECK_INT(a.p[a.n - 6], 1); /* 16 in two parts */
}

TEST(what_does_not_fit_is_left_out_and_said)
{
    struct addr addrs[40];
    struct message q = question(7, "reviews", DNS_A), a;

    for (size_t i = 0; i < COUNT(addrs); i++)
        addrs[i] = address("240.240.0.1");
    a = answer(&q, DNS_NOERROR, addrs, COUNT(addrs), 512);
    CHECK(a.n <= 512);
    CHECK_INT(at16(&a, 6), (512 - q.n) / 16);
    CHECK(a.p[2] & 2);
    a = answer(&q, DNS_NOERROR, addrs, COUNT(addrs), 2048);
    CHECK_INT(at16(&a, 6), 40);
    CHECK(!(a.p[2] & 2));
    a = answer(&q, DNS_NOERROR, addrs, COUNT(addrs), q.n - 1);
    CHECK_INT(a.n, 0);
}

TEST(failure_answers_even_what_cannot_be_read)
{
    struct message q = question(9, "x", DNS_A), out = {.n = 0};

    out.n = dns_format_failure(bytes_of(&q), out.p, 512);
    CHECK_INT(rcode(&out), DNS_SERVFAIL);
    CHECK_INT(out.n, q.n);
    q.n = 13;
    out.n = dns_format_failure(bytes_of(&q), out.p, 512);
    CHECK_INT(out.n, 12);
    CHECK_INT(at16(&out, 0), 9);
    CHECK_INT(rcode(&out), DNS_SERVFAIL);
    q.p[2] |= 0x80; /* answers to answers would never end */
    CHECK_INT(dns_format_failure(bytes_of(&q), out.p, 512), 0);
    q.n = 11;
    CHECK_INT(dns_format_failure(bytes_of(&q), out.p, 512), 0);
}

TEST(an_answer_must_fit_its_question)
{
    struct message q = question(9, "a.example", DNS_A), other = question(9, "b.example", DNS_A);
    struct message a = answer(&q, DNS_NXDOMAIN, NULL, 0, 512);

    CHECK(dns_is_answer(bytes_of(&q), bytes_of(&a)));
    CHECK(!dns_is_answer(bytes_of(&other), bytes_of(&a)));
    CHECK(!dns_is_answer(bytes_of(&q), bytes_of(&q)));
    a.p[0] = 1;
    CHECK(!dns_is_answer(bytes_of(&q), bytes_of(&a)));
}

/* ---- the table ---- */

static void check_found(const struct dns_table *t, const char *name, const char *want)
{
    const struct dns_entry *e = dns_table_find(t, str_from(name));

    if (want) {
        CHECK(e != NULL);
        CHECK_STR(e->name, want);
    } else {
        CHECK(e == NULL);
    }
}

TEST(exact_names_win_then_the_longest_wildcard)
{
    struct dns_table *t = dns_table_new();
    struct addr v4 = address("240.240.0.1");

    CHECK(dns_table_add(t, STR("Reviews.Default."), STR("key"), &v4, 1));
    CHECK(dns_table_add(t, STR("*.example.com"), STR(""), &v4, 1));
    CHECK(dns_table_add(t, STR("*.eu.example.com"), STR(""), &v4, 1));
    CHECK(dns_table_add(t, STR("api.example.com"), STR(""), NULL, 0));
    CHECK(!dns_table_add(t, STR("reviews.default"), STR("second"), &v4, 1));
    CHECK_INT(dns_table_count(t), 4);

    check_found(t, "REVIEWS.default.", "reviews.default");
    check_found(t, "reviews", NULL);
    check_found(t, "a.reviews.default", NULL);
    check_found(t, "a.example.com", "*.example.com");
    check_found(t, "a.b.example.com", "*.example.com");
    check_found(t, "a.eu.example.com", "*.eu.example.com");
    check_found(t, "eu.example.com", "*.example.com");
    check_found(t, "api.example.com", "api.example.com");
    check_found(t, "example.com", NULL); /* a wildcard stands for something */
    check_found(t, "*.example.com", NULL);
    check_found(t, "", NULL);
    CHECK_STR(dns_table_find(t, STR("reviews.default"))->key, "key");
    CHECK(addr_same_ip(dns_table_find(t, STR("reviews.default"))->addrs, &v4));
    dns_table_free(t);
}

TEST(what_is_no_name_does_not_enter_the_table)
{
    static const char *const bad[] = {"", ".", "a..b", ".a", "a b", "a*.b", "*", "a.*.b", "a\\b"};
    struct dns_table *t = dns_table_new();
    char label[65];

    for (size_t i = 0; i < COUNT(bad); i++)
        CHECK(!dns_table_add(t, str_from(bad[i]), STR(""), NULL, 0));
    memset(label, 'a', sizeof(label));
    CHECK(!dns_table_add(t, (struct str){label, 64}, STR(""), NULL, 0));
    CHECK(dns_table_add(t, (struct str){label, 63}, STR(""), NULL, 0));
    dns_table_free(t);
}

/* ---- resolv.conf ---- */

TEST(resolv_conf_is_read_as_the_c_library_reads_it)
{
    static const struct {
        const char *text;
        const char *want; /* joined with blanks */
    } rows[] = {
        {"nameserver 10.0.0.1\n",                                             "10.0.0.1"        },
        {"search x\nnameserver\t10.0.0.1  # first\nnameserver fd00::1\n",     "10.0.0.1 fd00::1"},
        {"nameserver 10.0.0.1\nnameserver 10.0.0.1",                          "10.0.0.1"        },
        {"#nameserver 10.0.0.1\n nameserver 10.0.0.2\nnameserverx 1.1.1.1\n", "127.0.0.1"       },
        {"",                                                                  "127.0.0.1"       }, /* none at all */
        {"nameserver fe80::1%eth0\nnameserver 10.0.0.1\n",                    "10.0.0.1"        },
        {"nameserver fe80::1%eth0\n",                                         ""                }, /* one, but none that we can redirect */
        {"nameserver junk\nnameserver 0.0.0.0\nnameserver 1.2.3.4\n",         "1.2.3.4"         },
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct addr servers[DNS_SERVERS_MAX];
        size_t count = dns_resolv_conf(str_from(rows[i].text), servers, DNS_SERVERS_MAX);
        char got[256] = "", text[ADDR_TEXT_MAX];

        for (size_t j = 0; j < count; j++) {
            CHECK_INT(servers[j].port, 53);
            snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", j ? " " : "",
                     addr_format_ip(&servers[j], text));
        }
        CHECK_TEXT(got, rows[i].want);
    }
}

/* ---- the server, with nameservers that the test plays ---- */

struct world {
    struct loop *loop;
    struct dns_server *server;
    uint16_t port;
    int udp[2], tcp;              /* what the nameservers listen on; tcp at the first one */
    char asked[256];              /* by on_lookup: "name key" */
    struct dns_table *next_table; /* on_lookup puts it in */
};

/* -1: the port is taken. */
static int bound(int type, struct addr *at)
{
    struct sockaddr_storage raw;
    socklen_t size;
    int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0), on = 1;

    CHECK(fd >= 0);
    CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
    size = addr_to_sockaddr(at, &raw);
    if (bind(fd, (struct sockaddr *)&raw, size)) {
        CHECK_INT(errno, EADDRINUSE);
        close(fd);
        return -1;
    }
    size = sizeof(raw);
    CHECK_INT(getsockname(fd, (struct sockaddr *)&raw, &size), 0);
    CHECK(addr_from_sockaddr((struct sockaddr *)&raw, at));
    return fd;
}

static void on_lookup(void *arg, struct str name, struct str key)
{
    struct world *w = arg;

    if (w->next_table) {
        dns_server_apply(w->server, w->next_table);
        w->next_table = NULL;
    }
    snprintf(w->asked, sizeof(w->asked), "%.*s %.*s", STR_ARG(name), STR_ARG(key));
}

static struct dns_table *small_table(const char *ip)
{
    struct dns_table *t = dns_table_new();
    struct addr a = address(ip);

    CHECK(dns_table_add(t, STR("reviews"), STR("default/reviews"), &a, 1));
    CHECK(
        dns_table_add(t, STR("reviews.default.svc.cluster.local"), STR("default/reviews"), &a, 1));
    return t;
}

static void world_init(struct world *w)
{
    struct addr servers[2] = {address("127.0.0.1"), address("127.0.0.1")};
    struct err err;

    *w = (struct world){.loop = loop_new(&err)};
    /* The port that is free for UDP may be some program's for TCP. */
    for (unsigned i = 0; i < 50 && w->tcp <= 0; i++) {
        if (i)
            close(w->udp[0]);
        servers[0].port = 0;
        w->udp[0] = bound(SOCK_DGRAM, &servers[0]);
        w->tcp = bound(SOCK_STREAM, &servers[0]);
    }
    CHECK_INT(listen(w->tcp, 8), 0);
    w->udp[1] = bound(SOCK_DGRAM, &servers[1]);
    for (unsigned i = 0; i < 50 && !w->server; i++) {
        struct dns_options o = {.loop = w->loop,
                                .nameservers = servers,
                                .nameserver_count = 2,
                                .port =
                                    (uint16_t)(20000 + ((unsigned)getpid() * 16 + i * 640) % 10000),
                                .on_lookup = on_lookup,
                                .arg = w};

        w->port = o.port;
        w->server = dns_server_open(&o, &err); /* a port in use: the next one */
    }
    CHECK(w->server != NULL);
    dns_server_apply(w->server, small_table("240.240.0.1"));
}

static void world_done(struct world *w)
{
    dns_server_close(w->server);
    loop_free(w->loop);
    close(w->udp[0]);
    close(w->udp[1]);
    close(w->tcp);
}

/* Turn the loop until `fd` has something to read. */
static bool wait_for(struct world *w, int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    for (unsigned i = 0; i < 500; i++) {
        loop_turn(w->loop, 2);
        if (poll(&p, 1, 0) == 1)
            return true;
    }
    return false;
}

static int client_of(struct world *w, int type, unsigned index)
{
    struct addr to = address("127.0.0.1");
    struct sockaddr_storage raw;
    socklen_t size;
    int fd = socket(AF_INET, type, 0);

    to.port = (uint16_t)(w->port + index);
    size = addr_to_sockaddr(&to, &raw);
    CHECK_INT(connect(fd, (struct sockaddr *)&raw, size), 0);
    return fd;
}

static void send_message(int fd, const struct message *m)
{
    CHECK_INT(send(fd, m->p, m->n, 0), m->n);
}

static struct message receive(struct world *w, int fd)
{
    struct message m = {.n = 0};
    ssize_t n;

    CHECK(wait_for(w, fd));
    n = recv(fd, m.p, sizeof(m.p), MSG_DONTWAIT);
    CHECK(n >= 0);
    m.n = (size_t)n;
    return m;
}

static void check_same(const struct message *got, const struct message *want)
{
    CHECK_INT(got->n, want->n);
    CHECK(memcmp(got->p, want->p, want->n) == 0);
}

/* Play the nameserver: take a query, check it, answer with `a`. */
static void serve_udp(struct world *w, int fd, const struct message *query, const struct message *a)
{
    struct message got = {.n = 0};
    struct sockaddr_storage from;
    socklen_t size = sizeof(from);
    ssize_t n;

    CHECK(wait_for(w, fd));
    n = recvfrom(fd, got.p, sizeof(got.p), 0, (struct sockaddr *)&from, &size);
    CHECK(n >= 0);
    got.n = (size_t)n;
    check_same(&got, query);
    if (a)
        CHECK_INT(sendto(fd, a->p, a->n, 0, (struct sockaddr *)&from, size), a->n);
}

TEST(mesh_names_are_answered_and_reported)
{
    struct world w;
    struct message q = question(1, "reviews", DNS_A), got;
    int fd;

    world_init(&w);
    fd = client_of(&w, SOCK_DGRAM, 0);
    send_message(fd, &q);
    got = receive(&w, fd);
    CHECK_INT(at16(&got, 6), 1);
    CHECK(memcmp(got.p + got.n - 4, "\xf0\xf0\0\1", 4) == 0);
    CHECK_TEXT(w.asked, "reviews default/reviews");

    q = question(2, "Reviews.Default.Svc.Cluster.Local", DNS_AAAA);
    send_message(fd, &q);
    got = receive(&w, fd);
    CHECK_INT(rcode(&got), DNS_NOERROR);
    CHECK_INT(at16(&got, 6), 0);
    CHECK_TEXT(w.asked, "reviews.default.svc.cluster.local default/reviews");
    close(fd);
    world_done(&w);
}

TEST(other_names_pass_unchanged_both_ways)
{
    struct world w;
    struct message q = with_edns(question(0xbeef, "Example.ORG", DNS_A), 4096, 0);
    struct message a = answer(&q, DNS_NOERROR, (struct addr[]){address("192.0.2.1")}, 1, 512), got;
    int fd;

    PUT(&a, 'w', 'h', 'a', 't', 'e', 'v', 'e', 'r');
    world_init(&w);
    fd = client_of(&w, SOCK_DGRAM, 0);
    send_message(fd, &q);
    serve_udp(&w, w.udp[0], &q, &a);
    got = receive(&w, fd);
    check_same(&got, &a);
    CHECK_TEXT(w.asked, "");
    close(fd);
    world_done(&w);
}

TEST(each_port_stands_for_its_nameserver)
{
    struct world w;
    struct message q = question(3, "example.org", DNS_A),
                   a = answer(&q, DNS_NXDOMAIN, NULL, 0, 512);
    struct message got;
    int fd;

    world_init(&w);
    fd = client_of(&w, SOCK_DGRAM, 1);
    send_message(fd, &q);
    serve_udp(&w, w.udp[1], &q, &a);
    got = receive(&w, fd);
    check_same(&got, &a);
    close(fd);
    world_done(&w);
}

TEST(what_is_no_query_passes_too)
{
    struct world w;
    struct message q =
                       {
                           .p = {0, 5, 0x28, 0, 0, 1, 0, 0, 0, 0, 0, 0, 9},
                             .n = 13
    },
                   a = q, got;
    int fd;

    a.p[2] |= 0x80;
    world_init(&w);
    fd = client_of(&w, SOCK_DGRAM, 0);
    send_message(fd, &q);
    serve_udp(&w, w.udp[0], &q, &a);
    got = receive(&w, fd);
    check_same(&got, &a);
    close(fd);
    world_done(&w);
}

TEST(an_answer_to_another_question_is_not_passed_on)
{
    struct world w;
    struct message q = question(3, "example.org", DNS_A), other = question(3, "evil.org", DNS_A);
    struct message wrong = answer(&other, DNS_NXDOMAIN, NULL, 0, 512), got;
    int fd;

    world_init(&w);
    fd = client_of(&w, SOCK_DGRAM, 0);
    send_message(fd, &q);
    serve_udp(&w, w.udp[0], &q, &wrong);
    for (unsigned i = 0; i < 20; i++)
        loop_turn(w.loop, 1);
    CHECK_INT(recv(fd, got.p, sizeof(got.p), MSG_DONTWAIT), -1);
    loop_advance(w.loop, DNS_FORWARD_MS);
    got = receive(&w, fd);
    CHECK_INT(rcode(&got), DNS_SERVFAIL);
    close(fd);
    world_done(&w);
}

TEST(a_silent_nameserver_means_servfail_in_time)
{
    struct world w;
    struct message q = question(4, "example.org", DNS_A), got;
    struct dns_stats stats;
    int fd;

    world_init(&w);
    fd = client_of(&w, SOCK_DGRAM, 0);
    send_message(fd, &q);
    serve_udp(&w, w.udp[0], &q, NULL);
    dns_server_stats(w.server, &stats);
    CHECK_INT(stats.inflight, 1);
    loop_advance(w.loop, DNS_FORWARD_MS);
    got = receive(&w, fd);
    CHECK_INT(rcode(&got), DNS_SERVFAIL);
    CHECK_INT(at16(&got, 0), 4);
    dns_server_stats(w.server, &stats);
    CHECK_INT(stats.inflight, 0);
    CHECK_INT(stats.failed, 1);
    close(fd);
    world_done(&w);
}

TEST(a_refusing_nameserver_means_servfail_at_once)
{
    struct world w;
    struct message q = question(4, "example.org", DNS_A), got;
    int fd;

    world_init(&w);
    close(w.udp[0]);
    w.udp[0] = -1;
    fd = client_of(&w, SOCK_DGRAM, 0);
    send_message(fd, &q);
    got = receive(&w, fd);
    CHECK_INT(rcode(&got), DNS_SERVFAIL);
    close(fd);
    world_done(&w);
}

TEST(queries_under_way_are_bounded)
{
    struct rlimit files;
    struct world w;
    struct message q = question(0, "example.org", DNS_A);
    struct dns_stats stats;
    int fd;

    CHECK_INT(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &files), 0);
    world_init(&w);
    fd = client_of(&w, SOCK_DGRAM, 0);
    for (unsigned i = 0; i < DNS_INFLIGHT_MAX + 7; i++) {
        q.p[0] = (uint8_t)(i >> 8);
        q.p[1] = (uint8_t)i;
        send_message(fd, &q);
        if (i % 16 == 15)
            loop_turn(w.loop, 0);
    }
    do {
        loop_turn(w.loop, 1);
        dns_server_stats(w.server, &stats);
    } while (stats.forwarded + stats.failed < DNS_INFLIGHT_MAX + 7);
    CHECK(stats.inflight <= DNS_INFLIGHT_MAX);
    CHECK(stats.failed >= 7); /* more where few descriptors are allowed */
    close(fd);
    world_done(&w);
}

TEST(the_table_may_be_replaced_by_a_lookup)
{
    struct world w;
    struct message q = question(1, "reviews", DNS_A), got;
    int fd;

    world_init(&w);
    w.next_table = small_table("240.240.0.9");
    fd = client_of(&w, SOCK_DGRAM, 0);
    send_message(fd, &q);
    got = receive(&w, fd);
    CHECK(memcmp(got.p + got.n - 4, "\xf0\xf0\0\x09", 4) == 0);
    CHECK_TEXT(w.asked, "reviews default/reviews");
    close(fd);
    world_done(&w);
}

static struct message framed(const struct message *m)
{
    struct message out = {.n = 0};

    PUT(&out, (uint8_t)(m->n >> 8), (uint8_t)m->n);
    put(&out, m->p, m->n);
    return out;
}

static struct message receive_n(struct world *w, int fd, size_t n)
{
    struct message all = {.n = 0};

    while (all.n < n) {
        ssize_t got;

        CHECK(wait_for(w, fd));
        got = recv(fd, all.p + all.n, n - all.n, MSG_DONTWAIT);
        CHECK(got > 0);
        all.n += (size_t)got;
    }
    return all;
}

TEST(tcp_answers_mesh_names_and_passes_others_on)
{
    struct world w;
    struct message mesh = question(1, "reviews", DNS_A), other = question(2, "example.org", 252);
    struct message a = answer(&other, DNS_NOERROR, NULL, 0, 512), all, got, want;
    int fd, behind;

    world_init(&w);
    fd = client_of(&w, SOCK_STREAM, 0);
    /* Both in one stream, given byte by byte: the mesh name is answered while the other waits. */
    all = framed(&other);
    got = framed(&mesh);
    put(&all, got.p, got.n);
    for (size_t i = 0; i < all.n; i++) {
        CHECK_INT(send(fd, all.p + i, 1, 0), 1);
        loop_turn(w.loop, 0);
    }
    got = receive_n(&w, fd, mesh.n + 2 + 16);
    CHECK_INT(at16(&got, 0), mesh.n + 16);
    CHECK_INT(at16(&got, 2), 1);
    CHECK_TEXT(w.asked, "reviews default/reviews");

    CHECK(wait_for(&w, w.tcp));
    behind = accept4(w.tcp, NULL, NULL, SOCK_NONBLOCK);
    CHECK(behind >= 0);
    got = receive_n(&w, behind, other.n + 2);
    want = framed(&other);
    check_same(&got, &want);
    want = framed(&a);
    for (size_t i = 0; i < want.n; i++) {
        CHECK_INT(send(behind, want.p + i, 1, 0), 1);
        loop_turn(w.loop, 0);
    }
    got = receive_n(&w, fd, want.n);
    check_same(&got, &want);

    /* The nameserver ends the idle connection; the client asks on, over a new one. */
    close(behind);
    for (unsigned i = 0; i < 5; i++)
        loop_turn(w.loop, 1);
    want = framed(&other);
    send_message(fd, &want);
    CHECK(wait_for(&w, w.tcp));
    behind = accept4(w.tcp, NULL, NULL, SOCK_NONBLOCK);
    got = receive_n(&w, behind, other.n + 2);
    check_same(&got, &want);

    /* It ends without an answer: so does the client's connection. */
    close(behind);
    CHECK(wait_for(&w, fd));
    CHECK_INT(recv(fd, got.p, 1, MSG_DONTWAIT), 0);
    close(fd);
    world_done(&w);
}

TEST(an_answer_by_tcp_outlives_the_askers_half_close)
{
    struct world w;
    struct message other = question(2, "example.org", DNS_A),
                   a = answer(&other, DNS_NXDOMAIN, NULL, 0, 512);
    struct message got, want = framed(&other);
    struct dns_stats stats;
    int fd, behind;

    world_init(&w);
    fd = client_of(&w, SOCK_STREAM, 0);
    send_message(fd, &want);
    CHECK_INT(shutdown(fd, SHUT_WR), 0);
    CHECK(wait_for(&w, w.tcp));
    behind = accept4(w.tcp, NULL, NULL, SOCK_NONBLOCK);
    got = receive_n(&w, behind, want.n);
    want = framed(&a);
    send_message(behind, &want);
    got = receive_n(&w, fd, want.n);
    check_same(&got, &want);
    CHECK(wait_for(&w, fd));
    CHECK_INT(recv(fd, got.p, 1, MSG_DONTWAIT), 0);
    dns_server_stats(w.server, &stats);
    CHECK_INT(stats.sessions, 0);
    close(behind);
    close(fd);
    world_done(&w);
}

TEST(an_idle_connection_is_closed)
{
    struct world w;
    char byte;
    int fd;

    world_init(&w);
    fd = client_of(&w, SOCK_STREAM, 0);
    for (unsigned i = 0; i < 5; i++)
        loop_turn(w.loop, 1);
    CHECK_INT(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    loop_advance(w.loop, DNS_SESSION_IDLE_MS);
    CHECK(wait_for(&w, fd));
    CHECK_INT(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
    close(fd);
    world_done(&w);
}

TEST(a_port_in_use_is_one_clear_error)
{
    struct world w;
    struct addr server = address("127.0.0.1");
    struct err err = {0};
    struct dns_options o;

    world_init(&w);
    o = (struct dns_options){
        .loop = w.loop, .nameservers = &server, .nameserver_count = 1, .port = w.port};
    CHECK(dns_server_open(&o, &err) == NULL);
    CHECK(strstr(err.text, "cannot listen for DNS on 127.0.0.1:") != NULL);
    CHECK(strstr(err.text, "in use") != NULL);
    world_done(&w);
}

TEST(nameservers_can_change_while_running)
{
    struct world w;
    struct addr servers[3] = {address("127.0.0.1"), address("127.0.0.1"), address("127.0.0.1")};
    struct message q = question(3, "example.org", DNS_A),
                   a = answer(&q, DNS_NXDOMAIN, NULL, 0, 512);
    struct message got;
    struct err err;
    int udp, fd;

    world_init(&w);
    udp = bound(SOCK_DGRAM, &servers[2]);
    CHECK_INT(dns_server_set_nameservers(w.server, servers, 3, &err), 0);
    fd = client_of(&w, SOCK_DGRAM, 2);
    send_message(fd, &q);
    serve_udp(&w, udp, &q, &a);
    got = receive(&w, fd);
    check_same(&got, &a);
    CHECK_INT(dns_server_set_nameservers(w.server, servers, 2, &err), 0);
    send_message(fd, &q); /* nobody stands behind that port any more */
    got = receive(&w, fd);
    CHECK_INT(rcode(&got), DNS_SERVFAIL);
    close(udp);
    close(fd);
    world_done(&w);
}
