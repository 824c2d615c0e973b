/* Two sessions back to back in memory. */
#pragma once

#include "mesh/base/mem.h"
#include "proxy/wire/tls.h"
#include "test/unit/pki_world.h"

/* One direction of ciphertext. */
struct pipe {
    struct buf b;
    size_t at;
};

struct pair {
    struct tls *client, *server;
    struct pipe up, down; /* client to server, server to client */
    size_t chunk;         /* bytes handed over at a time */
};

static void to_pipe(void *arg, const void *bytes, size_t n)
{
    struct pipe *p = arg;

    buf_add(&p->b, (struct str){bytes, n});
    CHECK(!p->b.failed);
}

static struct tls_input take(struct pipe *p, size_t chunk)
{
    size_t n = MIN(p->b.n - p->at, chunk);
    const uint8_t *at = (const uint8_t *)p->b.p + p->at;

    return (struct tls_input){n ? at : NULL, n};
}

static enum tls_step shake(struct tls *t, struct pipe *from, size_t chunk)
{
    struct tls_input in = take(from, chunk);
    size_t had = in.n;
    enum tls_step step = tls_handshake(t, &in);

    from->at += had - in.n;
    return step;
}

__attribute__((unused)) static void pair_init(struct pair *p, struct tls_context *client, struct tls_context *server,
                      const char *sni, const char *key)
{
    struct err err = {0};

    memset(p, 0, sizeof(*p));
    p->chunk = 100000;
    buf_init(&p->up.b, 8 << 20);
    buf_init(&p->down.b, 8 << 20);
    p->client = tls_new(client, str_from(sni), str_from(key), &err);
    p->server = tls_new(server, STR_NONE, STR_NONE, &err);
    CHECK(p->client && p->server);
    tls_set_sink(p->client, to_pipe, &p->up);
    tls_set_sink(p->server, to_pipe, &p->down);
}

__attribute__((unused)) static void pair_done(struct pair *p)
{
    tls_free(p->client);
    tls_free(p->server);
    buf_done(&p->up.b);
    buf_done(&p->down.b);
}

/* True when both sides are established. */
__attribute__((unused)) static bool pair_shake(struct pair *p)
{
    enum tls_step c = TLS_AGAIN, s = TLS_AGAIN;

    for (int i = 0; i < 100000 && (c == TLS_AGAIN || s == TLS_AGAIN); i++) {
        size_t before = p->up.b.n + p->down.b.n + p->up.at + p->down.at;

        if (c == TLS_AGAIN)
            c = shake(p->client, &p->down, p->chunk);
        if (s == TLS_AGAIN)
            s = shake(p->server, &p->up, p->chunk);
        if (i > 0 && before == p->up.b.n + p->down.b.n + p->up.at + p->down.at)
            break; /* nothing moves any more */
    }
    return c == TLS_OK && s == TLS_OK;
}
