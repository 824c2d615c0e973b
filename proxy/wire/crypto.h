/* A few helper threads for full TLS handshakes, so that milliseconds of public-key work never stand
 * in the way of a worker's turn. A job takes the session and flat input, and comes back to the
 * owner's loop by post.
 *
 * Limits: a bounded queue (crypto_start's `queue_max`); when it is full crypto_submit refuses and
 * the connection fails. Threads: crypto_submit from any loop; the result is posted to the job's
 * loop.
 */
#pragma once

#include "mesh/base/buf.h"
#include "mesh/base/loop.h"
#include "proxy/wire/tls.h"

struct crypto_job {
    struct post post; /* back to `loop`; its fn is done() */
    struct loop *loop;
    struct tls *tls;    /* not touched by its own thread meanwhile */
    struct buf in;      /* ciphertext for the session; what is left unconsumed remains */
    struct buf out;     /* ciphertext to send */
    enum tls_step step; /* result of tls_handshake */
    void (*done)(struct crypto_job *job); /* on job->loop */
    void *owner;
    struct crypto_job *next;
};

/* Start `threads` helpers (process-wide, reference counted). 0 threads: jobs run inline at submit
 * (tests). */
int crypto_start(unsigned threads, unsigned queue_max, struct err *err);
void crypto_stop(void);
bool crypto_has_threads(void);                       /* any thread */
/* Has every helper come back to its queue since the last call? The first says yes. For the
 * watchdog; one thread asks. */
bool crypto_is_alive(void);
bool crypto_submit(struct crypto_job *job) MUST_USE; /* false: queue full */
