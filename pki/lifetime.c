#include "pki/lifetime.h"

int64_t lifetime_backdate_ms(int64_t life_ms)
{
    return MIN(life_ms, LIFETIME_BACKDATE_MS);
}

static int64_t life_ms(int64_t not_before_ms, int64_t not_after_ms)
{
    int64_t all = not_after_ms - not_before_ms;

    return MAX(all / 2, all - LIFETIME_BACKDATE_MS);
}

int64_t lifetime_issued_ms(int64_t not_before_ms, int64_t not_after_ms)
{
    return not_after_ms - life_ms(not_before_ms, not_after_ms);
}

int64_t lifetime_renew_ms(int64_t not_before_ms, int64_t not_after_ms)
{
    int64_t life = life_ms(not_before_ms, not_after_ms);

    return not_after_ms - life + life / LIFETIME_SHARE;
}

int64_t lifetime_pause_ms(int64_t not_before_ms, int64_t not_after_ms)
{
    int64_t pause = life_ms(not_before_ms, not_after_ms) / LIFETIME_SHARE / 2;

    return MAX(LIFETIME_RETRY_MIN_MS, MIN(pause, LIFETIME_RETRY_MAX_MS));
}

int64_t lifetime_retry_ms(int64_t last_ms, int64_t longest_ms)
{
    return MIN(MAX(2 * last_ms, LIFETIME_RETRY_MIN_MS), longest_ms);
}
