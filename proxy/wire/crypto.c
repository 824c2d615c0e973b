#include "proxy/wire/crypto.h"

#include <pthread.h>
#include <string.h>

#include "mesh/base/mem.h"

#define THREADS_MAX 16u

static struct {
    pthread_mutex_t lock;
    pthread_cond_t some;
    pthread_t threads[THREADS_MAX];
    unsigned thread_count, starts;
    unsigned queued, queue_max;
    bool stopping;
    uint64_t roll; /* raised by each call of crypto_is_alive, */
    uint64_t heard[THREADS_MAX]; /* and noted by each helper when it looks at the queue */
    struct crypto_job *first, *last;
} helpers = {.lock = PTHREAD_MUTEX_INITIALIZER, .some = PTHREAD_COND_INITIALIZER};

static void sink(void *arg, const void *bytes, size_t n)
{
    struct crypto_job *job = arg;

    buf_add(&job->out, (struct str){bytes, n});
}

static void deliver(struct post *p)
{
    struct crypto_job *job = CONTAINER(p, struct crypto_job, post);

    job->done(job);
}

static void run(struct crypto_job *job)
{
    struct tls_input in = {(const uint8_t *)job->in.p, job->in.n};

    tls_set_sink(job->tls, sink, job);
    job->step = tls_handshake(job->tls, &in);
    if (job->out.failed)
        job->step = TLS_FAILED;
    if (in.n > 0 && in.n < job->in.n)
        memmove(job->in.p, job->in.p + (job->in.n - in.n), in.n);
    job->in.n = in.n;
    job->post.fn = deliver;
    loop_post(job->loop, &job->post);
}

/* Runs until stopped and the queue is empty: every job submitted comes back. */
static void *helper(void *arg)
{
    uint64_t *heard = arg;

    pthread_mutex_lock(&helpers.lock);
    for (;;) {
        struct crypto_job *job = helpers.first;

        *heard = helpers.roll;
        if (job) {
            helpers.first = job->next;
            if (!helpers.first)
                helpers.last = NULL;
            helpers.queued--;
            pthread_mutex_unlock(&helpers.lock);
            run(job);
            pthread_mutex_lock(&helpers.lock);
        } else if (helpers.stopping) {
            break;
        } else {
            pthread_cond_wait(&helpers.some, &helpers.lock);
        }
    }
    pthread_mutex_unlock(&helpers.lock);
    return NULL;
}

static void join_all(void)
{
    pthread_mutex_lock(&helpers.lock);
    helpers.stopping = true;
    pthread_cond_broadcast(&helpers.some);
    pthread_mutex_unlock(&helpers.lock);
    for (unsigned i = 0; i < helpers.thread_count; i++)
        pthread_join(helpers.threads[i], NULL);
    helpers.thread_count = 0;
    helpers.stopping = false;
}

int crypto_start(unsigned threads, unsigned queue_max, struct err *err)
{
    if (helpers.starts++ > 0)
        return 0;
    helpers.queue_max = queue_max;
    for (unsigned i = 0; i < MIN(threads, THREADS_MAX); i++) {
        if (pthread_create(&helpers.threads[i], NULL, helper, &helpers.heard[i]) != 0) {
            join_all();
            helpers.starts = 0;
            return err_set(err, ERR_IO, "cannot start a thread for TLS handshakes");
        }
        (void)pthread_setname_np(helpers.threads[i], "weft-handshake"); /* for ps -T */
        helpers.thread_count++;
    }
    return 0;
}

void crypto_stop(void)
{
    if (helpers.starts > 0 && --helpers.starts == 0)
        join_all();
}

bool crypto_has_threads(void)
{
    return helpers.thread_count > 0;
}

bool crypto_is_alive(void)
{
    bool alive = true;

    pthread_mutex_lock(&helpers.lock);
    for (unsigned i = 0; i < helpers.thread_count; i++)
        alive = alive && helpers.heard[i] == helpers.roll;
    helpers.roll++;
    pthread_cond_broadcast(&helpers.some);
    pthread_mutex_unlock(&helpers.lock);
    return alive;
}

bool crypto_submit(struct crypto_job *job)
{
    bool taken;

    job->next = NULL;
    if (helpers.thread_count == 0) {
        run(job);
        return true;
    }
    pthread_mutex_lock(&helpers.lock);
    taken = helpers.queued < helpers.queue_max;
    if (taken) {
        if (helpers.last)
            helpers.last->next = job;
        else
            helpers.first = job;
        helpers.last = job;
        helpers.queued++;
        pthread_cond_signal(&helpers.some);
    }
    pthread_mutex_unlock(&helpers.lock);
    return taken;
}
