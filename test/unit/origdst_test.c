/* Connections that nobody redirected; capture_test.c has the redirected ones. */
#include "test/test.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/origdst.h"

/* An accepted connection from `to` (with any port) to a listener bound to `at`. */
static int accepted(const char *at, const char *to, struct addr *listening)
{
    struct sockaddr_storage raw;
    socklen_t size = sizeof(raw);
    struct addr a;
    int server, client, fd, off = 0;

    CHECK(addr_parse(str_from(at), &a));
    size = addr_to_sockaddr(&a, &raw);
    server = socket(raw.ss_family, SOCK_STREAM, 0);
    CHECK(server >= 0);
    if (raw.ss_family == AF_INET6)
        CHECK_INT(setsockopt(server, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)), 0);
    CHECK_INT(bind(server, (struct sockaddr *)&raw, size), 0);
    CHECK_INT(listen(server, 1), 0);
    size = sizeof(raw);
    CHECK_INT(getsockname(server, (struct sockaddr *)&raw, &size), 0);
    CHECK(addr_from_sockaddr((struct sockaddr *)&raw, &a));

    CHECK(addr_parse_ip(str_from(to), listening));
    listening->port = a.port;
    size = addr_to_sockaddr(listening, &raw);
    client = socket(raw.ss_family, SOCK_STREAM, 0);
    CHECK_INT(connect(client, (struct sockaddr *)&raw, size), 0);
    fd = accept(server, NULL, NULL);
    CHECK(fd >= 0);
    close(client);
    close(server);
    return fd;
}

static void check_direct(const char *at, const char *to)
{
    struct addr listening, got;
    int fd = accepted(at, to, &listening);

    CHECK(!origdst_get(fd, &got));
    CHECK(addr_eq(&got, &listening));
    close(fd);
}

TEST(direct_connection_has_its_own_address_and_is_not_redirected)
{
    check_direct("127.0.0.1:0", "127.0.0.1");
}

TEST(direct_connection_by_ipv6)
{
    check_direct("[::1]:0", "::1");
}

TEST(ipv4_on_a_dual_stack_socket_is_folded)
{
    check_direct("[::]:0", "127.0.0.1");
}

TEST(what_is_no_connection_has_no_destination)
{
    struct addr got = {.family = 4};
    int pair[2];

    CHECK(!origdst_get(-1, &got));
    CHECK_INT(got.family, 0);
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    CHECK(!origdst_get(pair[0], &got));
    CHECK_INT(got.family, 0);
    close(pair[0]);
    close(pair[1]);
}
