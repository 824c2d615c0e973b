/* A disk that fails on command: preloaded into the real binary by the tests.
 *
 * Calls that change files below $SHIM_DIR are counted; at the chosen one the process is killed, or
 * the call fails. The switchboard is a file ($SHIM_CONTROL) that the test maps too, so that it can
 * arm and disarm a running process.
 *
 * Threads: any. It keeps errno of calls that it lets pass.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { KILL_BEFORE = 1, KILL_AFTER = 2, KILL_TORN = 3, FAIL = 4, FAIL_SHORT = 5 };
enum { WRITE = 1, SYNC = 2, TRUNCATE = 4, RENAME = 8, CREATE = 16, UNLINK = 32 };

/* Little-endian words, in the order that test/netns/faults.py packs. */
struct board {
    _Atomic int64_t seen;  /* calls of the chosen kinds, since the test set it to 0 */
    _Atomic int64_t at;    /* act at this one, from 1; 0: never */
    _Atomic int64_t until; /* and at those after it up to this one */
    _Atomic int64_t action;
    _Atomic int64_t error; /* errno of FAIL */
    _Atomic int64_t kinds;
    char match[80]; /* only paths that hold this text; empty: all */
};

static struct board *board;
static char dir[PATH_MAX];
static size_t dir_bytes;

__attribute__((constructor)) static void start(void)
{
    const char *control = getenv("SHIM_CONTROL"), *below = getenv("SHIM_DIR");
    int fd = control && below ? open(control, O_RDWR | O_CLOEXEC) : -1;
    void *p;

    if (fd < 0)
        return;
    p = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p == MAP_FAILED)
        return;
    dir_bytes = (size_t)snprintf(dir, sizeof(dir), "%s/", below);
    board = p;
}

static int is_ours(const char *path)
{
    return strncmp(path, dir, dir_bytes) == 0 && strstr(path, board->match);
}

static int is_ours_fd(int fd)
{
    char link[32], path[PATH_MAX];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 2);
    if (n <= 0)
        return 0;
    path[n] = path[n - 1] == '/' ? '\0' : '/'; /* a folder is below itself */
    path[n + 1] = '\0';
    return is_ours(path);
}

static void die(void)
{
    raise(SIGKILL);
    abort();
}

/* What to do with this call; counts it. */
static int judge(int kind, const char *path, int fd)
{
    int saved = errno;
    int64_t n;

    if (!board || !board->at || !(board->kinds & kind) ||
        !(path ? is_ours(path) : is_ours_fd(fd))) {
        errno = saved;
        return 0;
    }
    errno = saved;
    n = ++board->seen;
    if (n < board->at || n > board->until)
        return 0;
    if (board->action == KILL_BEFORE)
        die();
    return (int)board->action;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* The call as it is, around which the chosen thing happens; `torn` is half of it. */
#define CALL(type, kind, path, fd, real, torn)                                                     \
    do {                                                                                           \
        int action = judge(kind, path, fd);                                                        \
        type rc;                                                                                   \
        if (action == FAIL || action == FAIL_SHORT) {                                              \
            if (action == FAIL_SHORT)                                                              \
                torn;                                                                              \
            errno = (int)board->error;                                                             \
            return -1;                                                                             \
        }                                                                                          \
        if (action == KILL_TORN) {                                                                 \
            torn;                                                                                  \
            die();                                                                                 \
        }                                                                                          \
        rc = real;                                                                                 \
        if (action == KILL_AFTER)                                                                  \
            die();                                                                                 \
        return rc;                                                                                 \
    } while (0)

ssize_t write(int fd, const void *p, size_t n)
{
    CALL(ssize_t, WRITE, NULL, fd, NEXT(write)(fd, p, n), (void)!NEXT(write)(fd, p, n / 2));
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    CALL(ssize_t, WRITE, NULL, fd, NEXT(pwrite)(fd, p, n, at),
         (void)!NEXT(pwrite)(fd, p, n / 2, at));
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    CALL(ssize_t, WRITE, NULL, fd, NEXT(pwrite64)(fd, p, n, at),
         (void)!NEXT(pwrite64)(fd, p, n / 2, at));
}

int fsync(int fd)
{
    CALL(int, SYNC, NULL, fd, NEXT(fsync)(fd), (void)0);
}

int fdatasync(int fd)
{
    CALL(int, SYNC, NULL, fd, NEXT(fdatasync)(fd), (void)0);
}

int ftruncate(int fd, off_t n)
{
    CALL(int, TRUNCATE, NULL, fd, NEXT(ftruncate)(fd, n), (void)0);
}

int ftruncate64(int fd, off64_t n)
{
    CALL(int, TRUNCATE, NULL, fd, NEXT(ftruncate64)(fd, n), (void)0);
}

int rename(const char *from, const char *to)
{
    CALL(int, RENAME, to, -1, NEXT(rename)(from, to), (void)0);
}

int mkdir(const char *path, mode_t mode)
{
    CALL(int, CREATE, path, -1, NEXT(mkdir)(path, mode), (void)0);
}

int unlink(const char *path)
{
    CALL(int, UNLINK, path, -1, NEXT(unlink)(path), (void)0);
}

int mkostemp(char *path, int flags)
{
    CALL(int, CREATE, path, -1, NEXT(mkostemp)(path, flags), (void)0);
}
