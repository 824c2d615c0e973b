#include "test/world/chaos.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "proxy/wire/crypto.h"
#include "proxy/wire/io.h"
#include "proxy/worker.h"

#define FDS         1024
#define IOVS        32
#define TEAR_WITHIN 600 /* operations */

static struct {
    enum chaos_mode mode;
    uint64_t state, moves;
    uint64_t ops, tear_at;
    bool stall_connects, hold;
    struct crypto_job *held;
    size_t held_count;
    int waiting[FDS]; /* coalesced: bytes that were there when we last looked, -1: never looked */
    bool blocked[FDS];
} chaos;

static atomic_llong ahead_ns, base_ns; /* the story's time is base + ahead */

ssize_t __real_readv(int fd, const struct iovec *iov, int count);
ssize_t __real_recv(int fd, void *to, size_t n, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *m, int flags);
int __real_connect(int fd, const struct sockaddr *sa, socklen_t n);
int __real_accept4(int fd, struct sockaddr *sa, socklen_t *n, int flags);
int __real_clock_gettime(clockid_t id, struct timespec *out);
enum io_step __real_io_read(struct io *io, struct bytes *into, size_t max, size_t *n);
bool __real_crypto_has_threads(void);
bool __real_crypto_submit(struct crypto_job *job);

ssize_t __wrap_readv(int fd, const struct iovec *iov, int count);
ssize_t __wrap_recv(int fd, void *to, size_t n, int flags);
ssize_t __wrap___recv_chk(int fd, void *to, size_t n, size_t room, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags);
int __wrap_connect(int fd, const struct sockaddr *sa, socklen_t n);
int __wrap_accept4(int fd, struct sockaddr *sa, socklen_t *n, int flags);
int __wrap_clock_gettime(clockid_t id, struct timespec *out);
enum io_step __wrap_io_read(struct io *io, struct bytes *into, size_t max, size_t *n);
bool __wrap_crypto_has_threads(void);
bool __wrap_crypto_submit(struct crypto_job *job);
int __wrap_worker_start(struct worker *w, struct err *err);

/* ---- dice ---- */

uint64_t chaos_random(void)
{
    uint64_t z = chaos.state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static bool one_in(uint64_t n)
{
    return chaos_random() % n == 0;
}

static size_t some_of(size_t max)
{
    switch (chaos_random() % 4) {
    case 0:
        return 1;
    case 1:
        return 1 + chaos_random() % (max < 20 ? max : 20);
    case 2:
        return 1 + chaos_random() % max;
    default:
        return max;
    }
}

void chaos_begin(enum chaos_mode mode, uint64_t seed)
{
    memset(&chaos, 0, sizeof(chaos));
    memset(chaos.waiting, 0xff, sizeof(chaos.waiting));
    chaos.mode = mode;
    chaos.state = seed;
    chaos.tear_at = 1 + chaos_random() % TEAR_WITHIN;
    atomic_store(&base_ns, 0);
    atomic_store(&ahead_ns, 0);
}

void chaos_end(void)
{
    chaos.mode = CHAOS_NONE;
}

uint64_t chaos_moves(void)
{
    return chaos.moves;
}

static bool is_seeded(void)
{
    return chaos.mode == CHAOS_SEEDED || chaos.mode == CHAOS_TORN;
}

static bool tears(void)
{
    if (chaos.mode != CHAOS_TORN || ++chaos.ops < chaos.tear_at)
        return false;
    chaos.tear_at = chaos.ops + 1 + chaos_random() % TEAR_WITHIN;
    chaos.moves++;
    return true;
}

static ssize_t refuse(int error)
{
    chaos.moves++;
    errno = error;
    return -1;
}

static ssize_t moved(ssize_t n)
{
    if (n > 0)
        chaos.moves++;
    return n;
}

/* ---- traffic ---- */

/* How many of at most `max` bytes this read gets; 0: none now. */
static size_t read_share(int fd, size_t max)
{
    int there = 0;

    switch (chaos.mode) {
    case CHAOS_DRIPPED:
        return 1;
    case CHAOS_COALESCED:
        if (fd >= FDS || ioctl(fd, FIONREAD, &there) < 0 || there == chaos.waiting[fd])
            return max;
        chaos.waiting[fd] = there;
        return 0;
    case CHAOS_SEEDED:
    case CHAOS_TORN:
        return one_in(4) ? 0 : some_of(max);
    case CHAOS_NONE:
    case CHAOS_MODES:
        break;
    }
    return max;
}

static ssize_t torn_read(void)
{
    return one_in(2) ? 0 : refuse(ECONNRESET);
}

ssize_t __wrap_readv(int fd, const struct iovec *iov, int count)
{
    struct iovec cut[IOVS];
    size_t max = 0, left;
    int n = 0;

    for (int i = 0; i < count; i++)
        max += iov[i].iov_len;
    if (tears())
        return torn_read();
    left = read_share(fd, max);
    if (left == 0)
        return refuse(is_seeded() && one_in(4) ? EINTR : EAGAIN);
    for (; n < count && n < IOVS && left > 0; n++) {
        cut[n] = iov[n];
        if (cut[n].iov_len > left)
            cut[n].iov_len = left;
        left -= cut[n].iov_len;
    }
    return moved(__real_readv(fd, cut, n));
}

ssize_t __wrap_recv(int fd, void *to, size_t n, int flags)
{
    size_t share;

    if (tears())
        return torn_read();
    share = read_share(fd, n);
    if (share == 0)
        return refuse(EAGAIN);
    return moved(__real_recv(fd, to, share, flags));
}

ssize_t __wrap___recv_chk(int fd, void *to, size_t n, size_t room, int flags)
{
    (void)room; /* the real check is the sanitizers' */
    return __wrap_recv(fd, to, n, flags);
}

static size_t write_share(int fd, size_t max)
{
    if (chaos.mode == CHAOS_DRIPPED) {
        if (fd < FDS && (chaos.blocked[fd] = !chaos.blocked[fd]))
            return 0;
        return 1;
    }
    if (!is_seeded())
        return max;
    return one_in(4) ? 0 : some_of(max);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags)
{
    struct iovec cut[IOVS];
    struct msghdr part = *m;
    size_t max = 0, left;

    for (size_t i = 0; i < m->msg_iovlen; i++)
        max += m->msg_iov[i].iov_len;
    if (tears())
        return refuse(one_in(2) ? EPIPE : ECONNRESET);
    left = write_share(fd, max);
    if (left == 0)
        return refuse(is_seeded() && one_in(4) ? EINTR : EAGAIN);
    part.msg_iov = cut;
    for (part.msg_iovlen = 0; part.msg_iovlen < m->msg_iovlen && part.msg_iovlen < IOVS && left > 0;
         part.msg_iovlen++) {
        struct iovec *one = &cut[part.msg_iovlen];

        *one = m->msg_iov[part.msg_iovlen];
        if (one->iov_len > left)
            one->iov_len = left;
        left -= one->iov_len;
    }
    return moved(__real_sendmsg(fd, &part, flags));
}

/* Two services of one host meet in memory: the only road without a system call. */
enum io_step __wrap_io_read(struct io *io, struct bytes *into, size_t max, size_t *n)
{
    enum io_step step;
    size_t share = max;

    if (!io->paired || chaos.mode == CHAOS_NONE || chaos.mode == CHAOS_COALESCED || max == 0)
        return __real_io_read(io, into, max, n);
    share = chaos.mode == CHAOS_DRIPPED ? 1 : some_of(max);
    step = __real_io_read(io, into, share, n);
    if (*n > 0)
        chaos.moves++;
    return step;
}

static void forget(int fd)
{
    if (fd < 0 || fd >= FDS)
        return;
    chaos.waiting[fd] = -1;
    chaos.blocked[fd] = false;
}

int __wrap_connect(int fd, const struct sockaddr *sa, socklen_t n)
{
    forget(fd);
    chaos.moves++;
    if (chaos.stall_connects)
        return (int)refuse(EINPROGRESS);
    if (tears())
        return (int)refuse(one_in(2) ? ECONNREFUSED : EADDRNOTAVAIL);
    return __real_connect(fd, sa, n);
}

int __wrap_accept4(int fd, struct sockaddr *sa, socklen_t *n, int flags)
{
    int got;

    if (tears())
        return (int)refuse(one_in(2) ? ECONNABORTED : EMFILE);
    got = __real_accept4(fd, sa, n, flags);
    forget(got);
    if (got >= 0)
        chaos.moves++;
    return got;
}

void chaos_stall_connects(bool on)
{
    chaos.stall_connects = on;
}

/* ---- time ---- */

void chaos_advance(int64_t ms)
{
    atomic_fetch_add(&ahead_ns, ms * 1000000);
}

int __wrap_clock_gettime(clockid_t id, struct timespec *out)
{
    long long ns;

    if (id == CLOCK_MONOTONIC) {
        ns = atomic_load(&base_ns);
        if (ns == 0) {
            __real_clock_gettime(id, out);
            ns = out->tv_sec * 1000000000ll + out->tv_nsec;
            atomic_store(&base_ns, ns);
        }
    } else {
        if (__real_clock_gettime(id, out) < 0)
            return -1;
        ns = out->tv_sec * 1000000000ll + out->tv_nsec;
    }
    ns += atomic_load(&ahead_ns);
    *out = (struct timespec){ns / 1000000000, ns % 1000000000};
    return 0;
}

/* ---- threads ---- */

/* The story turns the loop of a worker itself. */
int __wrap_worker_start(struct worker *w, struct err *err)
{
    (void)w;
    (void)err; /* cannot fail */
    return 0;
}

void chaos_hold_handshakes(bool on)
{
    chaos.hold = on;
}

size_t chaos_held_handshakes(void)
{
    return chaos.held_count;
}

bool __wrap_crypto_has_threads(void)
{
    return chaos.hold || __real_crypto_has_threads();
}

bool __wrap_crypto_submit(struct crypto_job *job)
{
    if (!chaos.hold)
        return __real_crypto_submit(job);
    job->next = chaos.held;
    chaos.held = job;
    chaos.held_count++;
    chaos.moves++;
    return true;
}

void chaos_release_handshakes(void)
{
    while (chaos.held) {
        struct crypto_job *job = chaos.held;
        bool taken;

        chaos.held = job->next;
        taken = __real_crypto_submit(job);
        (void)taken; /* without threads it runs here and now */
        chaos.moves++;
    }
    chaos.held_count = 0;
}
