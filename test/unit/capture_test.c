/* What is captured, how a plan is changed, and DNS. */
#include "test/unit/capture_world.h"

#include <sys/mman.h>

#include "cmd/agent/dns.h"
#include "mesh/base/loop.h"
#include "mesh/dns.h"

/* ---- outbound ---- */

EACH(virtual_addresses_reach_the_outbound_port_without_any_default_route)
{
    struct world w;

    world_init(&w);
    apply(&w);
    CHECK(capture_has_ipv6(w.capture));
    check_arrived(dial("240.240.0.7:80"), w.outbound4, "240.240.0.7:80");
    check_arrived(dial("240.240.255.1:65535"), w.outbound4, "240.240.255.1:65535");
    check_arrived(dial("[2001:2::7]:443"), w.outbound6, "[2001:2::7]:443");
    world_done(&w);
}

EACH(a_host_with_nothing_but_lo_is_enough)
{
    struct world w;

    world_init(&w);
    shell("ip link del eth0");
    apply(&w);
    check_arrived(dial("240.240.0.7:80"), w.outbound4, "240.240.0.7:80");
    check_arrived(dial("[2001:2::7]:80"), w.outbound6, "[2001:2::7]:80");
    world_done(&w);
}

EACH(without_ipv6_the_rest_works_and_it_is_said)
{
    struct world w;

    world_init(&w);
    shell("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6");
    apply(&w);
    CHECK(!capture_has_ipv6(w.capture));
    check_arrived(dial("240.240.0.7:80"), w.outbound4, "240.240.0.7:80");
    world_done(&w);
}

EACH(addresses_of_service_entries_are_taken_by_address_and_port)
{
    struct world w;
    struct addr services[] = {address("10.9.0.2:8080"), address("[fd09::2]:8080"),
                              address("10.9.0.2:8080")}; /* one twice */

    world_init(&w);
    enter(w.peer);
    close(w.nobody);
    w.nobody = bound("[::]:8081", SOCK_STREAM, true);
    enter(w.host);
    w.plan.services = services;
    w.plan.service_count = COUNT(services);
    apply(&w);
    check_arrived(dial("10.9.0.2:8080"), w.outbound4, "10.9.0.2:8080");
    check_arrived(dial("[fd09::2]:8080"), w.outbound6, "[fd09::2]:8080");
    check_arrived(dial("10.9.0.2:8081"), w.nobody, NULL); /* another port */

    w.plan.service_count = 0;
    apply(&w);
    check_arrived(dial("10.9.0.2:8080"), w.peer_app, NULL);
    world_done(&w);
}

EACH(the_agents_own_sockets_are_exempt)
{
    struct world w;
    struct addr service = address("10.9.0.2:8080");

    world_init(&w);
    w.plan.services = &service;
    w.plan.service_count = 1;
    apply(&w);
    check_arrived(dial_marked("10.9.0.2:8080", CAPTURE_MARK), w.peer_app, NULL);
    check_arrived(dial_marked("127.0.0.1:8080", CAPTURE_MARK), w.app, NULL);
    check_arrived(dial_marked("10.9.0.1:8080", CAPTURE_MARK), w.app, NULL);
    check_refused(dial_marked("240.240.0.7:80", CAPTURE_MARK)); /* no loop: nobody is there */
    world_done(&w);
}

EACH(ssh_loopback_and_metadata_are_never_taken)
{
    struct world w;
    struct addr services[] = {address("10.9.0.2:22"), address("169.254.169.254:80"),
                              address("127.0.0.1:7070")};
    int ssh, metadata;

    world_init(&w);
    enter(w.peer);
    shell("ip addr add 169.254.169.254/32 dev eth0");
    ssh = bound("0.0.0.0:22", SOCK_STREAM, false);
    metadata = bound("169.254.169.254:80", SOCK_STREAM, false);
    enter(w.host);
    shell("ip route add 169.254.169.254 dev eth0");
    w.plan.services = services;
    w.plan.service_count = COUNT(services);
    apply(&w);
    check_arrived(dial("10.9.0.2:22"), ssh, NULL);
    check_arrived(dial("169.254.169.254:80"), metadata, NULL);
    check_arrived(dial("127.0.0.1:7070"), w.nobody, NULL);
    check_refused(dial("240.240.0.7:22"));
    close(ssh);
    close(metadata);
    world_done(&w);
}

/* ---- inbound ---- */

EACH(registered_ports_are_taken_from_outside_and_others_are_not)
{
    struct world w;

    world_init(&w);
    apply(&w);
    check_arrived(dial_from_peer(&w, "10.9.0.1:8080"), w.inbound, "10.9.0.1:8080");
    check_arrived(dial_from_peer(&w, "[fd09::1]:8080"), w.inbound, "[fd09::1]:8080");
    check_arrived(dial_from_peer(&w, "10.9.0.1:9090"), w.inbound, "10.9.0.1:9090");
    check_arrived(dial_from_peer(&w, "10.9.0.1:7070"), w.nobody, NULL);
    check_arrived(dial_from_peer(&w, "[fd09::1]:7070"), w.nobody, NULL);
    world_done(&w);
}

EACH(a_local_call_by_the_hosts_own_address_is_judged_and_loopback_is_not)
{
    struct world w;

    world_init(&w);
    apply(&w);
    check_arrived(dial("10.9.0.1:8080"), w.inbound, "10.9.0.1:8080");
    check_arrived(dial("[fd09::1]:8080"), w.inbound, "[fd09::1]:8080");
    check_arrived(dial("127.0.0.1:8080"), w.app, NULL);
    check_arrived(dial("[::1]:8080"), w.app, NULL);
    check_arrived(dial("10.9.0.1:7070"), w.nobody, NULL);
    check_arrived(dial("10.9.0.2:8080"), w.peer_app, NULL); /* the same port elsewhere */
    world_done(&w);
}

EACH(a_call_to_the_agents_own_port_shows_as_not_redirected)
{
    struct world w;

    world_init(&w);
    apply(&w);
    check_arrived(dial("127.0.0.1:15001"), w.outbound4, NULL);
    check_arrived(dial_from_peer(&w, "10.9.0.1:15006"), w.inbound, NULL);
    world_done(&w);
}

/* Packets on their way to the container. */
static int forwarded(void)
{
    for (int n = 0; n < 2; n++) {
        char command[256];

        snprintf(command, sizeof(command),
                 by_nft() ? "nft list table ip docker | grep -q 'packets %d '"
                          : "iptables -t mangle -L FORWARD -v -x -n | grep -Eq '^ +%d .* 10.8.0.2'",
                 n);
        if (shell_says(command))
            return n;
    }
    return -1;
}

/* Docker publishes a port with DNAT at -100 and would win against a later chain. */
EACH(a_published_port_of_a_container_is_taken_first_and_guarded)
{
    struct world w;

    world_init(&w);
    shell("echo 1 >/proc/sys/net/ipv4/ip_forward");
    shell("ip link add docker0 type veth peer name docker1 && ip link set docker1 up && ip addr "
          "add 10.8.0.1/24 dev docker0 && ip link set docker0 up");
    if (by_nft())
        shell("nft 'table ip docker { chain p { type nat hook prerouting priority -100; tcp dport "
              "{ 8080, 9090 } dnat to 10.8.0.2:80; }; chain f { type filter hook forward priority "
              "-10; ip daddr 10.8.0.2 counter; }; }'");
    else
        shell("iptables -t nat -N DOCKER && iptables -t nat -A PREROUTING -m addrtype --dst-type "
              "LOCAL -j DOCKER && iptables -t nat -A DOCKER -p tcp -m multiport --dports 8080,9090 "
              "-j DNAT --to-destination 10.8.0.2:80 && iptables -t mangle -A FORWARD -d 10.8.0.2 "
              "&& iptables -I FORWARD -d 10.8.0.2 -j ACCEPT");
    apply(&w);
    check_arrived(dial_from_peer(&w, "10.9.0.1:8080"), w.inbound, "10.9.0.1:8080");
    CHECK_INT(forwarded(), 0);

    capture_close(w.capture, false);
    w.capture = NULL;
    check_refused(dial_from_peer(&w, "10.9.0.1:8080"));
    CHECK_INT(forwarded(), 1);
    CHECK(dial_from_peer(&w, "10.9.0.1:9090") != -ECONNREFUSED); /* permissive: Docker's again */
    world_done(&w);
}

/* ---- changing the plan ---- */

/* What a child that connects all the time counts. */
struct tally {
    volatile unsigned connects, lost, wrong;
    volatile bool stop;
};

/* `listener` must get every connection. */
static _Noreturn void connect_often(struct tally *t, const struct world *w, const char *to,
                                    int listener, bool from_peer)
{
    if (from_peer)
        enter(w->peer);
    while (!t->stop) {
        int fd = dial(to), got;
        struct linger none = {1, 0};
        struct pollfd p = {.fd = listener, .events = POLLIN};

        t->connects++;
        if (fd < 0) {
            t->lost++;
            continue;
        }
        got = poll(&p, 1, PATIENCE_MS) == 1 ? accept(listener, NULL, NULL) : -1;
        if (got < 0)
            t->wrong++;
        /* By reset, so that no port stays in TIME_WAIT. */
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
        close(fd);
        if (got >= 0)
            close(got);
    }
    _exit(0);
}

static void check_swaps(const char *to, bool inbound)
{
    struct world w;
    struct capture_inbound more[] = {
        {OTHER, false},
        {APP,   false},
        {1234,  true }
    };
    struct addr service = address("10.9.0.2:1234");
    unsigned swaps = flavour == &nftables ? 150 : 50; /* of iptables each takes several processes */
    struct tally *t =
        mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status;
    pid_t child;

    CHECK(t != MAP_FAILED);
    world_init(&w);
    apply(&w);
    child = fork();
    CHECK(child >= 0);
    if (child == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0)
        connect_often(t, &w, to, inbound ? w.inbound : w.outbound4, inbound);
    for (unsigned i = 0; i < swaps || t->connects < 2000; i++) {
        w.plan.inbound = i % 2 ? w.ports : more;
        w.plan.inbound_count = i % 2 ? COUNT(w.ports) : COUNT(more);
        w.plan.services = &service;
        w.plan.service_count = i % 3 == 0;
        apply(&w);
    }
    t->stop = true;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(t->lost, 0);
    CHECK_INT(t->wrong, 0);
    CHECK_INT(munmap(t, sizeof(*t)), 0);
    world_done(&w);
}

EACH(replacing_the_plan_loses_no_outbound_connection)
{
    check_swaps("240.240.0.7:80", false);
}

EACH(replacing_the_plan_loses_no_inbound_connection)
{
    check_swaps("10.9.0.1:8080", true);
}

TEST(others_changing_nftables_meanwhile_do_not_cost_the_ownership)
{
    struct world w;
    int status;
    pid_t child;

    use(&nftables);
    world_init(&w);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "while :; do nft add table ip t; nft delete table ip t; done",
              NULL);
        _exit(1);
    }
    for (unsigned i = 0; i < 100; i++) {
        apply(&w);
        CHECK(capture_is_whole(w.capture));
    }
    CHECK_INT(kill(child, SIGTERM), 0);
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(!shell_says("nft delete table inet weft 2>/dev/null")); /* still ours */
    world_done(&w);
}

EACH(a_changed_range_moves_its_route)
{
    struct world w;

    world_init(&w);
    apply(&w);
    CHECK(cidr_parse(STR("240.241.0.0/16"), &w.plan.range4));
    w.plan.range6 = (struct cidr){0};
    apply(&w);
    check_arrived(dial("240.241.0.7:80"), w.outbound4, "240.241.0.7:80");
    CHECK(shell_says("test \"$(ip route show proto 119 | wc -l)\" = 1"));
    CHECK(shell_says("test -z \"$(ip -6 route show proto 119)\""));
    world_done(&w);
}

EACH(a_plan_that_cannot_be_changes_nothing)
{
    static const struct {
        struct capture_inbound port;
        const char *want;
    } rows[] = {
        {{22, false},    "port 22 is never captured"  },
        {{15006, false}, "port 15006 is the agent's"  },
        {{15001, true},  "port 15001 is the agent's"  },
        {{15053, true},  "port 15053 is the agent's"  },
        {{0, false},     "port 0"                     },
        {{APP, false},   "port 8080 is registered twi"},
    };
    struct world w;
    struct capture_dns dns = {address("10.9.0.2:53"), 15053};

    world_init(&w);
    w.plan.dns = &dns;
    w.plan.dns_count = 1;
    apply(&w);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err err = {0};

        w.ports[1] = rows[i].port;
        CHECK_INT(try_apply(w.capture, &w.plan, &err), -1);
        if (!strstr(err.text, rows[i].want))
            CHECK_TEXT(err.text, rows[i].want);
    }
    check_arrived(dial_from_peer(&w, "10.9.0.1:9090"), w.inbound, "10.9.0.1:9090");
    world_done(&w);
}

EACH(many_service_addresses_fit)
{
    struct world w;
    size_t count = 20000;
    struct addr *services = calloc(count, sizeof(*services));

    CHECK(services != NULL);
    world_init(&w);
    for (size_t i = 0; i < count; i++)
        services[i] = (struct addr){
            .family = 4, .port = 80, .ip = {10, 9, (uint8_t)(i >> 8), (uint8_t)i}
        };
    w.plan.services = services;
    w.plan.service_count = count;
    apply(&w);
    check_arrived(dial("10.9.0.200:80"), w.outbound4, "10.9.0.200:80");
    free(services);
    world_done(&w);
}

/* ---- DNS ---- */

static int dial_udp(const char *to, uint32_t mark)
{
    struct addr a = address(to);
    struct sockaddr_storage raw;
    socklen_t size = addr_to_sockaddr(&a, &raw);
    int fd = socket(raw.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    CHECK(fd >= 0);
    if (mark)
        CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)), 0);
    CHECK_INT(connect(fd, (struct sockaddr *)&raw, size), 0);
    return fd;
}

/* What is sent on `client` comes to `server`, and the answer comes back as if from where it was
 * sent. */
static void check_datagram(int client, int server)
{
    struct pollfd p = {.fd = server, .events = POLLIN};
    struct sockaddr_storage from;
    socklen_t size = sizeof(from);
    char byte;

    CHECK_INT(send(client, "q", 1, 0), 1);
    CHECK_INT(poll(&p, 1, PATIENCE_MS), 1);
    CHECK_INT(recvfrom(server, &byte, 1, 0, (struct sockaddr *)&from, &size), 1);
    CHECK_INT(sendto(server, "a", 1, 0, (struct sockaddr *)&from, size), 1);
    p.fd = client;
    CHECK_INT(poll(&p, 1, PATIENCE_MS), 1);
    CHECK_INT(recv(client, &byte, 1, 0), 1); /* connected: only the address asked counts */
    close(client);
}

EACH(queries_to_each_nameserver_reach_its_own_port)
{
    struct world w;
    struct capture_dns dns[] = {
        {address("10.9.0.2:53"),  15053},
        {address("[fd09::2]:53"), 15054}
    };
    int first, second, real, elsewhere, tcp;

    world_init(&w);
    first = bound("127.0.0.1:15053", SOCK_DGRAM, false);
    second = bound("[::1]:15054", SOCK_DGRAM, false);
    tcp = bound("127.0.0.1:15053", SOCK_STREAM, false);
    enter(w.peer);
    real = bound("[::]:53", SOCK_DGRAM, true);
    shell("ip addr add 10.9.0.3/24 dev eth0");
    elsewhere = bound("10.9.0.3:53", SOCK_DGRAM, false);
    enter(w.host);
    w.plan.dns = dns;
    w.plan.dns_count = COUNT(dns);
    apply(&w);
    check_datagram(dial_udp("10.9.0.2:53", 0), first);
    check_datagram(dial_udp("[fd09::2]:53", 0), second);
    check_arrived(dial("10.9.0.2:53"), tcp, "10.9.0.2:53");
    check_datagram(dial_udp("10.9.0.2:53", CAPTURE_MARK), real);
    check_datagram(dial_udp("[fd09::2]:53", CAPTURE_MARK), real);
    check_datagram(dial_udp("10.9.0.3:53", 0), elsewhere); /* no nameserver of resolv.conf */
    w.plan.dns_count = 0;
    apply(&w);
    check_datagram(dial_udp("10.9.0.2:53", 0), real);
    close(first);
    close(second);
    close(tcp);
    close(elsewhere);
    close(real);
    world_done(&w);
}

/* The real name server behind the real redirect. */
static size_t ask(struct loop *loop, int fd, int nameserver, const char *name, uint8_t *answer,
                  size_t max)
{
    uint8_t q[64] = {0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0};
    size_t n = strlen(name);

    q[12] = (uint8_t)n;
    memcpy(q + 13, name, n);
    memcpy(q + 13 + n, "\0\0\1\0\1", 5);
    CHECK_INT(send(fd, q, 18 + n, 0), 18 + n);
    for (unsigned i = 0; i < 1000; i++) {
        struct sockaddr_storage from;
        socklen_t size = sizeof(from);
        ssize_t got;

        loop_turn(loop, 2);
        got = recvfrom(nameserver, q, sizeof(q), 0, (struct sockaddr *)&from, &size);
        if (got > 0) {
            q[2] = 0x81;
            q[3] = 0x83; /* no such name, says the real one */
            CHECK_INT(sendto(nameserver, q, (size_t)got, 0, (struct sockaddr *)&from, size), got);
        }
        got = recv(fd, answer, max, 0);
        if (got > 0)
            return (size_t)got;
    }
    return 0;
}

static void check_resolver(const char *nameserver, bool at_host)
{
    struct world w;
    struct err err;
    struct loop *loop = loop_new(&err);
    struct capture_dns dns = {address(nameserver), CAPTURE_DNS};
    struct dns_options o = {.loop = loop,
                            .nameservers = &dns.server,
                            .nameserver_count = 1,
                            .port = CAPTURE_DNS,
                            .mark = CAPTURE_MARK};
    struct dns_table *t = dns_table_new();
    struct addr vip = address("240.240.0.7:0");
    struct dns_server *d;
    uint8_t answer[512];
    int real, fd;

    world_init(&w);
    if (!at_host)
        enter(w.peer);
    real = bound(nameserver, SOCK_DGRAM, false);
    enter(w.host);
    w.plan.dns = &dns;
    w.plan.dns_count = 1;
    d = dns_server_open(&o, &err);
    CHECK(d != NULL);
    CHECK(dns_table_add(t, STR("reviews"), STR(""), &vip, 1));
    dns_server_apply(d, t);
    apply(&w);

    fd = dial_udp(nameserver, 0);
    CHECK_INT(ask(loop, fd, real, "reviews", answer, sizeof(answer)), 25 + 16);
    CHECK(memcmp(answer + 37, "\xf0\xf0\0\7", 4) == 0);
    CHECK_INT(ask(loop, fd, real, "another", answer, sizeof(answer)), 25);
    CHECK_INT(answer[3], 0x83);
    close(fd);
    close(real);
    dns_server_close(d);
    loop_free(loop);
    world_done(&w);
}

EACH(mesh_names_resolve_and_others_come_from_the_nameserver)
{
    check_resolver("10.9.0.2:53", false);
    check_resolver("[fd09::2]:53", false);
}

/* systemd-resolved, or no nameserver line at all. */
EACH(a_nameserver_on_loopback_works_too)
{
    check_resolver("127.0.0.53:53", true);
    check_resolver("127.0.0.1:53", true);
}
