/* Counts of this minute, by caller, in a table of fixed size. A caller whose place is taken by
 * another starts from nothing: forgetting is fine, for this saves work and logs; secrets are safe
 * by their size. */
#include "cmd/server/server.h"
#include "mesh/base/mem.h"

#define PLACES    4096u
#define MINUTE_MS 60000

struct throttle {
    struct place {
        uint64_t who; /* keyed hash */
        int64_t from_ms;
        unsigned count;
    } places[PLACES];
};

struct throttle *throttle_new(void)
{
    return MEM_NEW(struct throttle);
}

void throttle_free(struct throttle *t)
{
    mem_free(t);
}

bool throttle_take(struct throttle *t, struct str who, unsigned cost, unsigned limit,
                   int64_t now_ms)
{
    uint64_t hash = str_hash(who);
    struct place *p = &t->places[hash % PLACES];

    if (p->who != hash || now_ms - p->from_ms >= MINUTE_MS)
        *p = (struct place){hash, now_ms, 0};
    if (p->count >= limit)
        return false;
    p->count += cost;
    return true;
}

struct str throttle_source(const struct addr *peer, struct arena *a)
{
    char text[ADDR_TEXT_MAX];
    struct addr net = *peer;

    for (size_t i = 8; net.family == 6 && i < sizeof(net.ip); i++)
        net.ip[i] = 0;
    return arena_str(a, str_from(addr_format_ip(&net, text)));
}
