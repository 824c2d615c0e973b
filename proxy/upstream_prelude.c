/* What is said on a new connection before the bytes it is for: where the client came from (PROXY protocol), and whom a
 * forward proxy shall connect us with (CONNECT). */
#include <stdio.h>
#include <string.h>

#include "mesh/base/limits.h"
#include "proxy/upstream_parts.h"
#include "proxy/wire/proxy_header.h"

struct str prelude_proxy_header(const struct upstream_target *t, char *out)
{
    switch (t->cluster->proxy_header) {
    case CLUSTER_HEADER_TEXT:
        return proxy_header_text(&t->source, &t->destination, out);
    case CLUSTER_HEADER_BINARY:
        return proxy_header_binary(&t->source, &t->destination, out);
    case CLUSTER_HEADER_NONE:
        break;
    }
    return STR_NONE;
}

void prelude_ask(struct upstream *u, struct str authority)
{
    char text[PRELUDE_MAX];
    int n = snprintf(text, sizeof(text), "CONNECT %.*s HTTP/1.1\r\nHost: %.*s\r\n\r\n", STR_ARG(authority),
                     STR_ARG(authority));

    (void)io_write_str(&u->io, (struct str){text, MIN((size_t)n, sizeof(text) - 1)}); /* a dead io shows in prelude_answered */
}

static bool is_whole(const struct bytes *b, size_t *head)
{
    char text[PRELUDE_MAX];
    size_t n = bytes_copy_out(b, 0, text, sizeof(text));
    const char *end = memmem(text, n, "\r\n\r\n", 4);

    *head = end ? (size_t)(end - text) + 4 : 0;
    return end != NULL;
}

enum io_step prelude_answered(struct upstream *u, char *why, size_t max)
{
    struct http_head h;
    struct arena a;
    unsigned status;
    const char *bad;
    size_t head, n;
    enum io_step step = IO_OK;

    while (!is_whole(&u->early, &head)) {
        if (u->early.n >= PRELUDE_MAX) {
            (void)snprintf(why, max, "the forward proxy's answer is too long");
            return IO_FAILED;
        }
        step = io_read(&u->io, &u->early, PRELUDE_MAX - u->early.n, &n);
        if (step == IO_AGAIN)
            return step;
        if (step != IO_OK) {
            (void)snprintf(why, max, "the forward proxy closed the connection");
            return IO_FAILED;
        }
    }
    arena_init(&a);
    bad = http1_parse_head(bytes_flat(&u->early, head).p, head, false, &a, &h, &status);
    if (bad)
        (void)snprintf(why, max, "the forward proxy's answer: %s", bad);
    else if (h.status < 200 || h.status > 299)
        (void)snprintf(why, max, "the forward proxy answered %u", h.status);
    step = bad || h.status < 200 || h.status > 299 ? IO_FAILED : IO_OK;
    arena_done(&a);
    bytes_drop(&u->early, head); /* what follows is the target's */
    return step;
}
