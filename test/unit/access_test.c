#include "proxy/access.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "proxy/outcome.h"
#include "test/test.h"

static struct access_line sample(void)
{
    struct access_line l = {
        .start_wall_ms = 1767607872345, .code = 418, .service_time_ms = 2, .duration_ms = 3};

    l.method = STR("GET");
    l.path = STR("/status/418");
    l.protocol = STR("HTTP/1.1");
    l.details = "via_upstream";
    l.bytes_sent = 135;
    l.user_agent = STR("curl/8.5.0");
    l.request_id = STR("6e7d0a3c-5b0e-9c1f-8a4b-0f3f6c2d1e00");
    l.authority = STR("httpbin:8000");
    assert_true(addr_parse(STR("10.0.0.7:80"), &l.upstream_host));
    assert_true(addr_parse(STR("10.0.0.5:41234"), &l.upstream_local));
    assert_true(addr_parse(STR("240.240.0.9:8000"), &l.downstream_local));
    assert_true(addr_parse(STR("10.0.0.5:50112"), &l.downstream_remote));
    l.cluster = STR("outbound|8000||httpbin.default.svc.cluster.local");
    l.route = STR("default");
    return l;
}

TEST(a_request_prints_as_envoy_prints_it)
{
    struct access_line l = sample();
    struct buf b;

    buf_init(&b, 4096);
    access_format(&l, &b);
    CHECK_STR(
        buf_str(&b),
        "[2026-01-05T10:11:12.345Z] \"GET /status/418 HTTP/1.1\" 418 - via_upstream - \"-\" 0 135 "
        "3 2 \"-\" "
        "\"curl/8.5.0\" \"6e7d0a3c-5b0e-9c1f-8a4b-0f3f6c2d1e00\" \"httpbin:8000\" \"10.0.0.7:80\" "
        "outbound|8000||httpbin.default.svc.cluster.local 10.0.0.5:41234 240.240.0.9:8000 "
        "10.0.0.5:50112 - "
        "default\n");
    buf_done(&b);
}

TEST(what_is_absent_prints_as_a_dash)
{
    struct access_line l = {
        .service_time_ms = -1, .flags = RF_NR, .details = "filter_chain_not_found"};
    struct buf b;

    buf_init(&b, 4096);
    access_format(&l, &b);
    CHECK_STR(buf_str(&b), "[1970-01-01T00:00:00.000Z] \"- - -\" 0 NR filter_chain_not_found - "
                           "\"-\" 0 0 0 - \"-\" \"-\" \"-\" "
                           "\"-\" \"-\" - - - - - -\n");
    buf_done(&b);
}

TEST(nobody_forges_a_line)
{
    struct access_line l = sample();
    struct buf b;

    buf_init(&b, 4096);
    l.user_agent = STR("x\"\n[2030] \"GET / HTTP/1.1\" 200");
    access_format(&l, &b);
    buf_addc(&b, 0);
    CHECK(strstr(b.p, "\"x\\x22\\x0a[2030] \\x22GET / HTTP/1.1\\x22 200\"") != NULL);
    CHECK(strchr(b.p, '\n') == b.p + b.n - 2);
    buf_done(&b);
}

TEST(lines_reach_the_descriptor_and_the_rest_is_counted)
{
    struct access_line l = sample();
    struct access_log a;
    struct err err;
    char name[] = "/tmp/weft-access-XXXXXX", one[4096];
    int fd = mkstemp(name);
    off_t end;
    size_t line_bytes;
    struct buf b;

    CHECK(fd >= 0);
    buf_init(&b, 4096);
    access_format(&l, &b);
    line_bytes = b.n;
    buf_done(&b);
    CHECK_INT(access_start(&a, 2, fd, &err), 0);
    for (int i = 0; i < 20000; i++) { /* more than a ring holds */
        access_write(&a, 0, &l);
        access_write(&a, 1, &l);
    }
    {
        uint64_t written = a.rings[0].lines + a.rings[1].lines, dropped;

        access_stop(&a);
        dropped = 40000 - written;
        end = lseek(fd, 0, SEEK_END);
        CHECK_INT((uint64_t)end, written * line_bytes);
        CHECK(dropped < 40000);
    }
    CHECK_INT(pread(fd, one, line_bytes, end - (off_t)line_bytes), line_bytes);
    CHECK(memcmp(one, "[2026-", 6) == 0 && one[line_bytes - 1] == '\n');
    close(fd);
    unlink(name);
}

TEST(a_reader_that_has_stopped_does_not_hold_up_the_end)
{
    struct access_line l = sample();
    struct access_log a;
    struct err err;
    struct timespec before, after;
    int pipe_fds[2];

    CHECK_INT(pipe(pipe_fds), 0);
    CHECK_INT(access_start(&a, 1, pipe_fds[1], &err), 0);
    for (int i = 0; i < 2000; i++)
        access_write(&a, 0, &l);
    CHECK(a.rings[0].dropped > 0); /* the worker never waited */
    clock_gettime(CLOCK_MONOTONIC, &before);
    access_stop(&a);
    clock_gettime(CLOCK_MONOTONIC, &after);
    CHECK(after.tv_sec - before.tv_sec <= 30);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

TEST(without_a_descriptor_nothing_is_kept)
{
    struct access_line l = sample();
    struct access_log a;
    struct err err;

    CHECK_INT(access_start(&a, 1, -1, &err), 0);
    CHECK(!access_is_on(&a));
    access_write(&a, 0, &l);
    CHECK_INT(a.rings[0].lines, 0);
    access_stop(&a);
}
