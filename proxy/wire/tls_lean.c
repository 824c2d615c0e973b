#define MBEDTLS_ALLOW_PRIVATE_ACCESS
#include "proxy/wire/tls_lean.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/ssl.h>

#include "mesh/base/base.h"
#include "mesh/base/mem.h"

/* mbedTLS's own sizes are private, but it refuses to be compiled with more overhead than this. */
#define IN_BYTES  (MBEDTLS_SSL_IN_CONTENT_LEN + 2048 + 64)
#define OUT_BYTES (MBEDTLS_SSL_OUT_CONTENT_LEN + 2048 + 64)

struct pair {
    unsigned char *in, *out;
};

struct stock {
    struct pair pairs[LEAN_STOCK_MAX];
    size_t count;
};

static _Thread_local struct stock *stock;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_exit; /* of the thread */

/* Buffers in stock hold the last record that went through them; what is freed is wiped. */
static void pair_free(struct pair p)
{
    explicit_bzero(p.in, MBEDTLS_SSL_IN_CONTENT_LEN);
    explicit_bzero(p.out, MBEDTLS_SSL_OUT_CONTENT_LEN);
    mem_free(p.in);
    mem_free(p.out);
}

static void stock_free(void *arg)
{
    struct stock *s = arg;

    while (s->count > 0)
        pair_free(s->pairs[--s->count]);
    mem_free(s);
}

static void make_key(void)
{
    if (pthread_key_create(&at_exit, stock_free) != 0)
        abort(); /* the process has used up its keys: ours is one of a handful */
}

static struct pair pair_take(void)
{
    if (stock && stock->count > 0)
        return stock->pairs[--stock->count];
    /* calloc, because mbedTLS frees those of a session that ends in the middle of a call */
    return (struct pair){mem_zalloc(IN_BYTES), mem_zalloc(OUT_BYTES)};
}

static void pair_give(struct pair p)
{
    if (!stock) {
        pthread_once(&once, make_key);
        stock = MEM_NEW(struct stock);
        pthread_setspecific(at_exit, stock);
    }
    if (stock->count < LEAN_STOCK_MAX)
        stock->pairs[stock->count++] = p;
    else
        pair_free(p);
}

/* The pointers into each buffer, and how many there are. */
static void pointers(struct mbedtls_ssl_context *s, unsigned char **in[5], unsigned char **out[6])
{
    in[0] = &s->in_ctr;
    in[1] = &s->in_hdr;
    in[2] = &s->in_len;
    in[3] = &s->in_iv;
    in[4] = &s->in_msg;
    out[0] = &s->out_ctr;
    out[1] = &s->out_hdr;
    out[2] = &s->out_len;
    out[3] = &s->out_iv;
    out[4] = &s->out_msg;
#if defined(MBEDTLS_SSL_DTLS_CONNECTION_ID)
    out[5] = &s->out_cid;
#else
    out[5] = &s->out_msg;
#endif
}

/* No part of a record, no unread data, no second handshake message behind the one that was read last. */
static bool is_empty(const struct mbedtls_ssl_context *s)
{
    return s->in_buf && s->out_buf && s->state == MBEDTLS_SSL_HANDSHAKE_OVER && s->in_left == 0 &&
           !s->in_offt && (s->in_hslen == 0 || s->in_hslen >= s->in_msglen) && s->out_left == 0 &&
           !s->keep_current_message;
}

void tls_lean_give(struct tls_lean *l, struct mbedtls_ssl_context *s)
{
    unsigned char **in[5], **out[6];

    if (l->is_away || !is_empty(s))
        return;
    pointers(s, in, out);
    memcpy(l->in_counter, s->in_ctr, sizeof(l->in_counter));
    for (size_t i = 0; i < COUNT(in); i++)
        l->in[i] = (uint16_t)(*in[i] - s->in_buf);
    for (size_t i = 0; i < COUNT(out); i++)
        l->out[i] = (uint16_t)(*out[i] - s->out_buf);
    pair_give((struct pair){s->in_buf, s->out_buf});
    s->in_buf = s->out_buf = NULL;
    l->is_away = true;
}

void tls_lean_take(struct tls_lean *l, struct mbedtls_ssl_context *s)
{
    unsigned char **in[5], **out[6];
    struct pair p;

    if (!l->is_away)
        return;
    p = pair_take();
    pointers(s, in, out);
    s->in_buf = p.in;
    s->out_buf = p.out;
    for (size_t i = 0; i < COUNT(in); i++)
        *in[i] = s->in_buf + l->in[i];
    for (size_t i = 0; i < COUNT(out); i++)
        *out[i] = s->out_buf + l->out[i];
    memcpy(s->in_ctr, l->in_counter, sizeof(l->in_counter));
    l->is_away = false;
}

void tls_lean_drop_peer(struct mbedtls_ssl_context *s)
{
    if (!s->session || !s->session->peer_cert)
        return;
    mbedtls_x509_crt_free(s->session->peer_cert);
    mem_free(s->session->peer_cert);
    s->session->peer_cert = NULL;
}
