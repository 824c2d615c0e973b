/* One peer's bytes.
 *
 * The pump is a task of the io's own: readiness of the descriptor lands there, so that pending
 * output is written whatever the owner does, and the owner hears only what concerns it. Output
 * waits in `out` (TLS: in `plain_out`) until the loop's flush list runs, after every task of the
 * turn: many small writes become one record and one writev.
 *
 * A pair has no descriptor: an end reads straight out of its peer's `out`.
 */
#include "proxy/wire/io.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "proxy/wire/crypto.h"
#include "proxy/wire/tls.h"

enum { PUMP_READ = 1, PUMP_WRITE = 2, PUMP_FLUSH = 4 };

#define RECORD_BYTES  16384u /* plain bytes of one TLS record */
#define WRITE_IOVS    16u
#define JOB_BYTES     (64u << 10) /* of handshake in either direction */
#define CIPHER_IN_MAX (128u << 10)
#define READ_TRIES    4u /* reads without a plain byte before others get a turn */

/* Lives in the loop's flush list; the io may die or move before its turn comes. */
struct io_flush {
    struct flush flush;
    struct io *io; /* NULL once it is gone */
};

static void pump(struct task *t, unsigned notes);
static void push_out(struct io *io);

static void note(struct io *io, unsigned bits)
{
    if (io->task)
        task_note(io->task, bits << io->note_shift);
}

static void fail(struct io *io, int error)
{
    if (io->failed)
        return;
    io->failed = true;
    io->error = error;
    if (io->watch.fd >= 0)
        watch_want(&io->watch, false, false);
    note(io, IO_NOTE_READ | IO_NOTE_WRITE);
}

static void want(struct io *io, bool read, bool write)
{
    io->want_read = read;
    if (io->watch.fd >= 0)
        watch_want(&io->watch, read && !io->eof_in && !io->failed, write && !io->failed);
}

static void prepare(struct io *io, struct task *task, unsigned note_shift, struct loop *l)
{
    memset(io, 0, sizeof(*io));
    io->watch.fd = -1;
    io->task = task;
    io->note_shift = note_shift;
    task_init(&io->pump, l, pump);
}

void io_init(struct io *io, struct task *task, unsigned note_shift, int fd)
{
    int one = 1;

    prepare(io, task, note_shift, task->loop);
    watch_init(&io->watch, &io->pump, fd, PUMP_READ, PUMP_WRITE);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
                     sizeof(one)); /* a Unix socket has no such thing */
}

void io_pair(struct io *a, struct task *a_task, unsigned a_shift, struct io *b, struct task *b_task,
             unsigned b_shift)
{
    prepare(a, a_task, a_shift, a_task->loop);
    prepare(b, b_task, b_shift, b_task->loop);
    a->paired = b->paired = true;
    a->peer = b;
    b->peer = a;
}

static void tls_sink(void *arg, const void *bytes, size_t n)
{
    struct io *io = arg;

    bytes_append(&io->out, (struct str){bytes, n});
}

/* The pump must run once more under its new address if it had something to do. */
void io_move(struct io *to, struct io *from, struct task *task, unsigned note_shift)
{
    bool reading = from->want_read, writing = from->watch.fd >= 0 && from->watch.writing;
    unsigned left = from->pump.notes;
    int fd = from->watch.fd >= 0 ? watch_detach(&from->watch) : -1;

    task_forget(&from->pump);
    *to = *from;
    to->task = task;
    to->note_shift = note_shift;
    task_init(&to->pump, task->loop, pump);
    to->watch.fd = -1;
    if (fd >= 0)
        watch_init(&to->watch, &to->pump, fd, PUMP_READ, PUMP_WRITE);
    if (to->flush)
        to->flush->io = to;
    if (to->peer)
        to->peer->peer = to;
    if (to->tls)
        tls_set_sink(to->tls, tls_sink, to);
    want(to, reading, writing);
    if (left)
        task_note(&to->pump, left);
    memset(from, 0, sizeof(*from));
    from->watch.fd = -1;
    from->failed = true;
    from->error = EPIPE;
}

enum io_step io_connect(struct io *io, struct task *task, unsigned note_shift,
                        const struct addr *at, uint32_t mark)
{
    struct sockaddr_storage sa;
    socklen_t sa_bytes = addr_to_sockaddr(at, &sa);
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        int failure = errno;

        prepare(io, task, note_shift, task->loop);
        io->failed = true;
        io->error = failure;
        return IO_FAILED;
    }
    io_init(io, task, note_shift, fd);
    if (mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0) {
        fail(io, errno);
        return IO_FAILED;
    }
    if (connect(fd, (struct sockaddr *)&sa, sa_bytes) == 0)
        return IO_OK;
    if (errno != EINPROGRESS) {
        fail(io, errno);
        return IO_FAILED;
    }
    io->connecting = true;
    want(io, false, true);
    return IO_AGAIN;
}

void io_probe(struct io *io, int after_s, int every_s, int count)
{
    const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET,  SO_KEEPALIVE,  1      },
        {IPPROTO_TCP, TCP_KEEPIDLE,  after_s},
        {IPPROTO_TCP, TCP_KEEPINTVL, every_s},
        {IPPROTO_TCP, TCP_KEEPCNT,   count  },
    };

    if (io->watch.fd < 0)
        return;
    for (size_t i = 0; i < COUNT(options); i++) {
        if (options[i].value > 0)
            (void)setsockopt(io->watch.fd, options[i].level, options[i].name, &options[i].value,
                             sizeof(options[i].value)); /* the connection works without, too */
    }
}

enum io_step io_connected(struct io *io)
{
    int error = 0;
    socklen_t n = sizeof(error);
    struct sockaddr_storage sa;
    socklen_t sa_bytes = sizeof(sa);

    if (io->failed)
        return IO_FAILED;
    if (!io->connecting)
        return IO_OK;
    if (getsockopt(io->watch.fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
        error = errno;
    if (error) {
        fail(io, error);
        return IO_FAILED;
    }
    if (getpeername(io->watch.fd, (struct sockaddr *)&sa, &sa_bytes) < 0)
        return IO_AGAIN; /* woken for nothing */
    io->connecting = false;
    want(io, io->want_read, false);
    push_out(io);
    return io->failed ? IO_FAILED : IO_OK;
}

void io_start_tls(struct io *io, struct tls *tls, struct bytes *first)
{
    io->tls = tls;
    tls_set_sink(tls, tls_sink, io);
    if (first)
        bytes_move(&io->cipher_in, first, first->n);
}

/* Input */

/* Append what the descriptor has to cipher_in. */
static enum io_step read_cipher(struct io *io)
{
    ssize_t n;

    if (io->eof_in)
        return IO_EOF;
    n = bytes_readv(&io->cipher_in, io->watch.fd, LOOP_SCRATCH_BYTES);
    if (n > 0) {
        io->bytes_in += (uint64_t)n;
        return IO_OK;
    }
    if (n == 0) {
        io->eof_in = true;
        want(io, io->want_read, io->watch.writing);
        return IO_EOF;
    }
    if (errno == EAGAIN || errno == EINTR) {
        want(io, true, io->watch.writing);
        return IO_AGAIN;
    }
    fail(io, errno);
    return IO_FAILED;
}

static void job_done(struct crypto_job *job)
{
    struct io *io = job->owner;

    if (io) {
        io->job = NULL;
        io->job_done = true;
        io->job_step = (uint8_t)job->step;
        tls_set_sink(io->tls, tls_sink, io);
        if (job->in.n > 0) { /* before what arrived meanwhile */
            struct bytes behind = io->cipher_in;

            bytes_init(&io->cipher_in);
            bytes_append(&io->cipher_in, buf_str(&job->in));
            bytes_move(&io->cipher_in, &behind, behind.n);
        }
        bytes_append(&io->out, buf_str(&job->out));
        push_out(io);
        note(io, IO_NOTE_READ);
    } else {
        tls_free(job->tls);
    }
    buf_done(&job->in);
    buf_done(&job->out);
    mem_free(job);
}

static enum io_step submit(struct io *io)
{
    struct crypto_job *job = MEM_NEW(struct crypto_job);

    job->loop = io->pump.loop;
    job->tls = io->tls;
    job->done = job_done;
    job->owner = io;
    buf_init(&job->in, CIPHER_IN_MAX);
    buf_init(&job->out, JOB_BYTES);
    while (io->cipher_in.n > 0) {
        struct str run = bytes_front(&io->cipher_in);

        buf_add(&job->in, run);
        bytes_drop(&io->cipher_in, run.n);
    }
    bytes_done(&io->cipher_in);
    io->job = job;
    want(io, false, io->watch.writing);
    if (!job->in.failed && crypto_submit(job))
        return IO_AGAIN;
    io->job = NULL;
    tls_set_sink(io->tls, tls_sink, io);
    buf_done(&job->in);
    buf_done(&job->out);
    mem_free(job);
    fail(io, EAGAIN);
    return IO_FAILED;
}

/* One tls_handshake over the ciphertext at hand. */
static enum tls_step shake_inline(struct io *io)
{
    size_t n = MIN(io->cipher_in.n, (size_t)LOOP_SCRATCH_BYTES);
    uint8_t *scratch = loop_scratch(io->pump.loop);
    struct tls_input in = {scratch, n};
    enum tls_step step;

    bytes_copy_out(&io->cipher_in, 0, scratch, n);
    step = tls_handshake(io->tls, &in);
    bytes_drop(&io->cipher_in, n - in.n);
    if (io->cipher_in.n == 0)
        bytes_done(&io->cipher_in);
    push_out(io);
    return step;
}

static enum io_step handshake_result(struct io *io, enum tls_step step)
{
    switch (step) {
    case TLS_OK:
        return io->failed ? IO_FAILED : IO_OK;
    case TLS_AGAIN:
        return IO_AGAIN;
    case TLS_EOF:
        fail(io, ECONNRESET);
        return IO_FAILED;
    case TLS_FAILED:
        if (!io->failed) {
            push_out(io); /* the alert */
            fail(io, 0);
        }
        return IO_FAILED;
    }
    return IO_FAILED;
}

enum io_step io_handshake(struct io *io)
{
    if (io->failed)
        return IO_FAILED;
    if (io->job)
        return IO_AGAIN;
    for (;;) {
        enum io_step step, read = IO_OK;

        if (io->job_done) {
            io->job_done = false;
            step = handshake_result(io, (enum tls_step)io->job_step);
        } else if (io->cipher_in.n > 0 && crypto_has_threads()) {
            return submit(io);
        } else {
            step = handshake_result(io, shake_inline(io));
        }
        if (step != IO_AGAIN)
            return step;
        if (io->cipher_in.n < CIPHER_IN_MAX - LOOP_SCRATCH_BYTES)
            read = read_cipher(io);
        else
            fail(io, EMSGSIZE);
        if (read == IO_EOF) {
            tls_transport_eof(io->tls);
            step = handshake_result(io, shake_inline(io));
            fail(io, ECONNRESET); /* if TLS has not said better */
        }
        if (io->failed)
            return IO_FAILED;
        if (read == IO_AGAIN)
            return IO_AGAIN;
    }
}

/* Decrypt from `in` into `into`, at most `max` bytes. */
static enum tls_step decrypt(struct io *io, struct tls_input *in, struct bytes *into, size_t max,
                             size_t *done)
{
    while (*done < max) {
        size_t room, n = 0;
        void *to = bytes_tail(into, &room);
        enum tls_step step = tls_read(io->tls, in, to, MIN(room, max - *done), &n);

        if (step != TLS_OK)
            return step;
        bytes_commit(into, n);
        *done += n;
    }
    return TLS_OK;
}

/* Read-ahead goes to the scratch, behind the partial record of last time; what is left over is kept
 * in cipher_in. */
static enum io_step fill_scratch(struct io *io, struct tls_input *in)
{
    uint8_t *scratch = loop_scratch(io->pump.loop);
    size_t have = in->n;
    ssize_t n;

    memmove(scratch, in->p, have);
    in->p = scratch;
    if (io->eof_in)
        return IO_EOF;
    if (have == LOOP_SCRATCH_BYTES) { /* no record is that long */
        fail(io, EMSGSIZE);
        return IO_FAILED;
    }
    n = recv(io->watch.fd, scratch + have, LOOP_SCRATCH_BYTES - have, 0);
    if (n > 0) {
        bytes_done(&io->cipher_in); /* all of it is in the scratch */
        io->bytes_in += (uint64_t)n;
        *in = (struct tls_input){scratch, have + (size_t)n};
        return IO_OK;
    }
    if (n == 0) {
        io->eof_in = true;
        want(io, false, io->watch.writing);
        return IO_EOF;
    }
    if (errno == EAGAIN || errno == EINTR) {
        want(io, true, io->watch.writing);
        return IO_AGAIN;
    }
    fail(io, errno);
    return IO_FAILED;
}

static void keep_rest(struct io *io, size_t taken, struct tls_input in, bool from_socket)
{
    if (!from_socket)
        bytes_drop(&io->cipher_in, taken - in.n);
    else if (in.n > 0)
        bytes_append(&io->cipher_in, (struct str){(const char *)in.p, in.n});
    if (io->cipher_in.n == 0)
        bytes_done(&io->cipher_in);
}

static enum io_step read_tls(struct io *io, struct bytes *into, size_t max, size_t *n)
{
    uint8_t *scratch = loop_scratch(io->pump.loop);
    size_t taken = bytes_copy_out(&io->cipher_in, 0, scratch, LOOP_SCRATCH_BYTES);
    struct tls_input in = {scratch, taken};
    bool from_socket = false, full = false;
    enum tls_step step = TLS_AGAIN;
    enum io_step got = IO_OK;

    if (taken > 0 || tls_read_pending(io->tls))
        step = decrypt(io, &in, into, max, n);
    for (unsigned tries = 0; tries < READ_TRIES && step == TLS_AGAIN && *n == 0; tries++) {
        got = fill_scratch(io, &in);
        if (got != IO_OK)
            break;
        from_socket = true;
        taken = in.n;
        full = in.n == LOOP_SCRATCH_BYTES;
        step = decrypt(io, &in, into, max, n);
    }
    if (got == IO_EOF) { /* without close_notify this is a truncation, and TLS says so */
        tls_transport_eof(io->tls);
        step = decrypt(io, &in, into, max, n);
    }
    keep_rest(io, taken, in, from_socket);
    if (io->out.n > 0) /* TLS itself had something to say: an alert, a ticket */
        push_out(io);
    io->more = step == TLS_OK || full || !from_socket;
    if (*n > 0)
        return IO_OK;
    if (step == TLS_EOF) {
        io->eof_in = true;
        want(io, false, io->watch.writing);
        return IO_EOF;
    }
    if (step == TLS_FAILED)
        fail(io, 0);
    if (got == IO_EOF)
        fail(io, ECONNRESET);
    if (!io->failed)
        want(io, true, io->watch.writing);
    return io->failed ? IO_FAILED : IO_AGAIN;
}

static void note_room(struct io *io)
{
    if (io->above_high && io_pending(io) < LIMIT_STREAM_LOW) {
        io->above_high = false;
        note(io, IO_NOTE_ROOM);
    }
}

/* A shutdown takes effect once the peer has read everything. */
static void end_pair(struct io *io)
{
    if (!io->shutdown_wanted || io->out.n > 0)
        return;
    io->shutdown_wanted = false;
    io->eof_sent = true;
}

static enum io_step read_pair(struct io *io, struct bytes *into, size_t max, size_t *n)
{
    struct bytes *from = io->cipher_in.n > 0 ? &io->cipher_in : io->peer ? &io->peer->out : NULL;
    bool shut = !io->peer || io->peer->eof_sent;

    io->want_read = true;
    *n = from ? MIN(from->n, max) : 0;
    if (*n == 0) {
        if (shut)
            io->eof_in = true;
        return shut ? IO_EOF : IO_AGAIN;
    }
    bytes_move(into, from, *n);
    io->bytes_in += *n;
    io->more = from->n > 0;
    if (io->peer) {
        note_room(io->peer);
        end_pair(io->peer);
    }
    if (from->n == 0 && (!io->peer || io->peer->eof_sent)) /* let it come back for the end */
        note(io, IO_NOTE_READ);
    return IO_OK;
}

static enum io_step read_plain(struct io *io, struct bytes *into, size_t max, size_t *n)
{
    ssize_t got;

    if (io->eof_in)
        return IO_EOF;
    got = bytes_readv(into, io->watch.fd, max);
    if (got > 0) {
        *n = (size_t)got;
        io->bytes_in += *n;
        io->more = *n >= MIN(max, (size_t)BYTES_SLICE); /* a short read emptied the socket */
        return IO_OK;
    }
    if (got == 0) {
        io->eof_in = true;
        want(io, false, io->watch.writing);
        return IO_EOF;
    }
    if (errno == EAGAIN || errno == EINTR) {
        want(io, true, io->watch.writing);
        return IO_AGAIN;
    }
    fail(io, errno);
    return IO_FAILED;
}

enum io_step io_read(struct io *io, struct bytes *into, size_t max, size_t *n)
{
    enum io_step step;

    *n = 0;
    io->more = false;
    if (io->failed)
        return IO_FAILED;
    if (io->job || io->connecting || max == 0)
        return IO_AGAIN;
    step = io->paired ? read_pair(io, into, max, n)
           : io->tls  ? read_tls(io, into, max, n)
                      : read_plain(io, into, max, n);
    if (io->write_error && (step == IO_AGAIN || step == IO_EOF)) {
        fail(io, io->write_error);
        return IO_FAILED;
    }
    return step;
}

/* Output */

static void flush_fn(struct flush *f)
{
    struct io_flush *node = CONTAINER(f, struct io_flush, flush);
    struct io *io = node->io;

    mem_free(node);
    if (!io)
        return;
    io->flush = NULL;
    push_out(io);
}

static void queue_flush(struct io *io)
{
    if (io->flush)
        return;
    io->flush = MEM_NEW(struct io_flush);
    io->flush->io = io;
    loop_flush(io->pump.loop, &io->flush->flush, flush_fn);
}

/* Plain bytes into records: long runs directly, short ones gathered. */
static void encrypt(struct io *io)
{
    uint8_t *scratch = loop_scratch(io->pump.loop);

    while (io->plain_out.n > 0 && !io->failed) {
        struct str run = bytes_front(&io->plain_out);
        size_t n = MIN(run.n, (size_t)RECORD_BYTES);
        const void *from = run.p;

        if (n < RECORD_BYTES && io->plain_out.n > n) {
            n = bytes_copy_out(&io->plain_out, 0, scratch, RECORD_BYTES);
            from = scratch;
        }
        if (tls_write(io->tls, from, n) != TLS_OK)
            fail(io, 0);
        else
            bytes_drop(&io->plain_out, n);
    }
}

static void drop_output(struct io *io)
{
    bytes_done(&io->plain_out);
    bytes_done(&io->out);
}

/* Nothing can be written any more; the peer's last bytes may still be read, unless its end was. */
static void fail_output(struct io *io, int error)
{
    drop_output(io);
    if (io->eof_in) {
        fail(io, error);
        return;
    }
    io->write_error = error;
    want(io, true, false);
    note(io, IO_NOTE_READ | IO_NOTE_WRITE);
}

static void write_socket(struct io *io)
{
    while (io->out.n > 0) {
        struct iovec iov[WRITE_IOVS];
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = bytes_iov(&io->out, iov, WRITE_IOVS)};
        ssize_t n = sendmsg(io->watch.fd, &msg, MSG_NOSIGNAL);

        if (n >= 0) {
            bytes_drop(&io->out, (size_t)n);
            io->bytes_out += (uint64_t)n;
        } else if (errno == EAGAIN) {
            want(io, io->want_read, true);
            return;
        } else if (errno != EINTR) {
            fail_output(io, errno);
            return;
        }
    }
    bytes_done(&io->out); /* an empty tail would hold a slice */
    if (io->watch.writing)
        want(io, io->want_read, false);
}

static void push_pair(struct io *io)
{
    if (!io->peer) {
        if (io->out.n > 0) {
            fail(io, EPIPE);
            drop_output(io);
        }
        end_pair(io); /* nobody will read: the end has arrived */
        return;
    }
    end_pair(io);
    note(io->peer, IO_NOTE_READ);
}

static bool shaking(const struct io *io)
{
    return io->tls && (io->job || !tls_is_established(io->tls));
}

static void push_out(struct io *io)
{
    if (io->failed || io->write_error) {
        drop_output(io);
        return;
    }
    if (io->paired) {
        push_pair(io);
        return;
    }
    if (io->watch.fd < 0 || io->connecting)
        return;
    if (io->tls && !shaking(io)) {
        encrypt(io);
        if (io->shutdown_wanted && !io->eof_sent && io->plain_out.n == 0 && !io->failed) {
            tls_close(io->tls);
            io->eof_sent = true;
        }
    }
    write_socket(io);
    if (io->failed || io->write_error)
        return;
    if (io->shutdown_wanted && io_pending(io) == 0 && !shaking(io)) {
        io->eof_sent = true;
        io->shutdown_wanted = false;
        (void)shutdown(io->watch.fd, SHUT_WR); /* the peer may be gone already */
    }
    note_room(io);
}

static void pump(struct task *t, unsigned notes)
{
    struct io *io = CONTAINER(t, struct io, pump);
    unsigned bits = 0;

    if (notes & PUMP_READ)
        bits |= IO_NOTE_READ;
    if (notes & PUMP_WRITE) {
        if (io->connecting)
            bits |= IO_NOTE_WRITE;
        else
            push_out(io);
    }
    if (bits)
        note(io, bits);
}

enum io_step io_write(struct io *io, struct bytes *from)
{
    if (io->failed || io->write_error || io->shutdown_wanted || io->eof_sent) {
        bytes_done(from);
        return IO_FAILED;
    }
    bytes_move(io->tls ? &io->plain_out : &io->out, from, from->n);
    if (io_pending(io) >= LIMIT_STREAM_HIGH)
        io->above_high = true;
    queue_flush(io);
    return IO_OK;
}

enum io_step io_write_str(struct io *io, struct str s)
{
    if (io->failed || io->write_error || io->shutdown_wanted || io->eof_sent)
        return IO_FAILED;
    bytes_append(io->tls ? &io->plain_out : &io->out, s);
    if (io_pending(io) >= LIMIT_STREAM_HIGH)
        io->above_high = true;
    queue_flush(io);
    return IO_OK;
}

size_t io_pending(const struct io *io)
{
    return io->out.n + io->plain_out.n;
}

void io_want_read(struct io *io, bool wanted)
{
    if (io->want_read == wanted)
        return;
    want(io, wanted, io->watch.fd >= 0 && io->watch.writing);
    if (wanted && io->paired &&
        (io->cipher_in.n > 0 || !io->peer || io->peer->out.n > 0 || io->peer->eof_sent))
        note(io, IO_NOTE_READ);
}

void io_shutdown(struct io *io)
{
    if (io->failed || io->eof_sent || io->shutdown_wanted)
        return;
    io->shutdown_wanted = true;
    queue_flush(io);
}

bool io_is_shut(const struct io *io)
{
    return io->eof_sent && !io->shutdown_wanted && io_pending(io) == 0;
}

static void leave_pair(struct io *io)
{
    struct io *peer = io->peer;

    io->peer = NULL;
    if (!peer)
        return;
    peer->peer = NULL;
    bytes_move(&peer->cipher_in, &io->out, io->out.n); /* sent is sent */
    bytes_done(&peer->out);
    end_pair(peer);
    note(peer, IO_NOTE_READ);
}

void io_close(struct io *io)
{
    if (!io->pump.loop) /* never opened, or moved away */
        return;
    leave_pair(io);
    if (io->flush)
        io->flush->io = NULL;
    io->flush = NULL;
    if (io->job)
        io->job->owner = NULL; /* the session is the job's until it comes back */
    else
        tls_free(io->tls);
    io->job = NULL;
    io->tls = NULL;
    task_forget(&io->pump);
    if (io->watch.fd >= 0)
        watch_close(&io->watch);
    io->watch.fd = -1;
    drop_output(io);
    bytes_done(&io->cipher_in);
    io->task = NULL;
    io->connecting = false;
    if (!io->failed) {
        io->failed = true;
        io->error = EPIPE;
    }
}

void io_reset(struct io *io)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    if (io->watch.fd >= 0)
        (void)setsockopt(io->watch.fd, SOL_SOCKET, SO_LINGER, &now,
                         sizeof(now)); /* else it is a plain close */
    if (io->peer) { /* what it has not read is lost, as on a socket */
        drop_output(io);
        fail_output(io->peer, ECONNRESET);
    }
    io_close(io);
}

void io_keepalive(struct io *io, int idle_s, int interval_s, int probes)
{
    int on = 1, fd = io->watch.fd;

    if (fd < 0)
        return;
    /* Best effort: a Unix socket has no keep-alive. */
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

struct str io_failure(const struct io *io)
{
    if (!io->failed)
        return STR("");
    if (io->error == 0 && io->tls && !io->job)
        return tls_failure(io->tls);
    if (io->error == EAGAIN)
        return STR("too many TLS handshakes wait for a helper");
    return str_from(strerrordesc_np(io->error));
}

bool io_local_addr(const struct io *io, struct addr *out)
{
    struct sockaddr_storage sa;
    socklen_t n = sizeof(sa);

    return io->watch.fd >= 0 && getsockname(io->watch.fd, (struct sockaddr *)&sa, &n) == 0 &&
           addr_from_sockaddr((struct sockaddr *)&sa, out);
}

bool io_peer_addr(const struct io *io, struct addr *out)
{
    struct sockaddr_storage sa;
    socklen_t n = sizeof(sa);

    return io->watch.fd >= 0 && getpeername(io->watch.fd, (struct sockaddr *)&sa, &n) == 0 &&
           addr_from_sockaddr((struct sockaddr *)&sa, out);
}
