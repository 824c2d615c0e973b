#include "proxy/admission.h"

#include <string.h>
#include <sys/resource.h>

#include "mesh/base/limits.h"

#define FDS_KEPT        256u /* for the control plane's link, files, sockets that listen */
#define FDS_EACH        2u   /* the client's, and the endpoint's */
#define CONNECTIONS_MIN 64u
#define KEY_BYTES       9u

static unsigned room_for(unsigned workers)
{
    struct rlimit files = {.rlim_cur = 1024, .rlim_max = 1024};
    uint64_t most;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        rlim_t before = files.rlim_cur;

        files.rlim_cur = files.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &files) < 0)
            files.rlim_cur = before;
    }
    most = files.rlim_cur > FDS_KEPT ? (files.rlim_cur - FDS_KEPT) / FDS_EACH : 0;
    most = MIN(most, (uint64_t)LIMIT_CONNECTIONS * workers);
    return (unsigned)MAX(most, (uint64_t)CONNECTIONS_MIN * workers);
}

void admission_init(struct admission *a, unsigned workers, unsigned per_source)
{
    unsigned room = room_for(workers);

    a->per_worker = room / workers;
    a->per_source = per_source ? per_source : MAX(room / 2, 1u);
    pthread_mutex_init(&a->lock, NULL);
    map_init(&a->sources);
}

void admission_done(struct admission *a)
{
    map_done(&a->sources);
    pthread_mutex_destroy(&a->lock);
}

/* An IPv4 address, or the first half of an IPv6 one. */
static struct str key_of(const struct addr *source, char key[KEY_BYTES])
{
    size_t n = source->family == 6 ? 8 : 4;

    key[0] = (char)source->family;
    memcpy(key + 1, source->ip, n);
    return (struct str){key, n + 1};
}

/* The table's values are the numbers themselves. */
static uintptr_t count_of(const struct admission *a, struct str key)
{
    return (uintptr_t)map_get(&a->sources, key);
}

bool admission_enter(struct admission *a, const struct addr *source)
{
    char text[KEY_BYTES];
    struct str key = key_of(source, text);
    bool fits;

    pthread_mutex_lock(&a->lock);
    fits = count_of(a, key) < a->per_source;
    if (fits)
        map_put(&a->sources, key, (void *)(count_of(a, key) + 1));
    pthread_mutex_unlock(&a->lock);
    return fits;
}

void admission_leave(struct admission *a, const struct addr *source)
{
    char text[KEY_BYTES];
    struct str key = key_of(source, text);
    uintptr_t n;

    pthread_mutex_lock(&a->lock);
    n = count_of(a, key);
    if (n > 1)
        map_put(&a->sources, key, (void *)(n - 1));
    else
        map_del(&a->sources, key);
    pthread_mutex_unlock(&a->lock);
}
