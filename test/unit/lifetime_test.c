#include "pki/lifetime.h"

#include "test/unit/pki_world.h"

#define MINUTE_MS 60000ll

static const int64_t lives[] = {MINUTE_MS, 10 * MINUTE_MS, HOUR_MS, 72 * HOUR_MS};

struct leaf_time {
    int64_t from, until;
};

static struct leaf_time issue(int64_t now, int64_t life)
{
    return (struct leaf_time){(now - lifetime_backdate_ms(life)) / 1000 * 1000,
                              (now + life) / 1000 * 1000};
}

TEST(clocks_may_run_apart_ten_minutes_or_a_life)
{
    CHECK_INT(lifetime_backdate_ms(MINUTE_MS), MINUTE_MS);
    CHECK_INT(lifetime_backdate_ms(10 * MINUTE_MS), 10 * MINUTE_MS);
    CHECK_INT(lifetime_backdate_ms(HOUR_MS), 10 * MINUTE_MS);
    CHECK_INT(lifetime_backdate_ms(72 * HOUR_MS), 10 * MINUTE_MS);
}

/* The authority's own leaves: nothing but the certificate is known after a restart. */
TEST(a_leaf_tells_when_it_was_issued_and_is_renewed_a_sixth_of_its_life_later)
{
    struct pki_world w;
    struct key *k = key_new();
    struct err err = {0};

    pki_world_init(&w, "cluster.local");
    for (size_t i = 0; i < COUNT(lives); i++) {
        struct ca_leaf leaf = {.uri = STR_INIT(WEB_URI), .lifetime_ms = lives[i]};
        struct cert_info info;
        struct buf pem;
        int64_t issued, renew;

        buf_init(&pem, 1 << 16);
        key_public(k, &leaf.key);
        CHECK_INT(ca_sign(w.ca, &leaf, w.now_ms, &pem, &info, &err), 0);
        issued = lifetime_issued_ms(info.not_before_ms, info.not_after_ms);
        renew = lifetime_renew_ms(info.not_before_ms, info.not_after_ms);
        CHECK(issued > w.now_ms - 1000 && issued < w.now_ms + 1000);
        CHECK(renew - issued >= lives[i] / 6 - 1000 && renew - issued <= lives[i] / 6 + 1000);
        CHECK(info.not_after_ms - renew >= lives[i] * 5 / 6 - 1000);
        CHECK_INT(cert_check_time(&info, w.now_ms - lifetime_backdate_ms(lives[i]), &err), 0);
        buf_done(&pem);
    }
    key_free(k);
    pki_world_done(&w);
}

/* A day, each leaf renewed when it is due: no more than that, and never a gap. */
TEST(a_day_has_as_many_renewals_as_sixths_of_a_life)
{
    for (size_t i = 0; i < COUNT(lives); i++) {
        int64_t now = 1800000000123, end = now + 24 * HOUR_MS, count = 0;
        struct leaf_time t = issue(now, lives[i]);

        while ((now = lifetime_renew_ms(t.from, t.until)) < end) {
            CHECK(now < t.until);
            t = issue(now, lives[i]);
            count++;
        }
        CHECK(count <= 24 * HOUR_MS / (lives[i] / 6 - 1000));
        CHECK(count >= 24 * HOUR_MS / (lives[i] / 6 + 1000) - 1);
    }
}

/* The last leaves of an issuer end with it; an issuer that is not backdated cuts the beginning. */
TEST(a_leaf_cut_short_is_renewed_before_its_end)
{
    static const struct leaf_time rows[] = {
        {0, 0             },
        {0, 1000          },
        {0, MINUTE_MS     },
        {0, 3 * MINUTE_MS },
        {0, 11 * MINUTE_MS},
        {0, HOUR_MS       }
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t renew = lifetime_renew_ms(rows[i].from, rows[i].until);

        CHECK(renew >= rows[i].from && renew <= rows[i].until);
        CHECK(rows[i].until - renew >= (rows[i].until - rows[i].from) / 3);
    }
}

TEST(tries_are_further_and_further_apart_but_many_within_a_life)
{
    static const struct {
        int64_t life, longest;
    } rows[] = {
        {MINUTE_MS,      5000  },
        {10 * MINUTE_MS, 50000 },
        {HOUR_MS,        300000},
        {72 * HOUR_MS,   300000},
        {1000,           1000  }
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct leaf_time t = issue(1800000000000, rows[i].life);
        int64_t longest = lifetime_pause_ms(t.from, t.until), pause = 0, sum = 0, tries = 0;

        CHECK_INT(longest, rows[i].longest);
        for (; sum < rows[i].life * 5 / 6 && rows[i].life >= MINUTE_MS; sum += pause, tries++) {
            int64_t next = lifetime_retry_ms(pause, longest);

            CHECK_INT(next, pause ? MIN(2 * pause, longest) : 1000);
            pause = next;
        }
        CHECK(rows[i].life < MINUTE_MS || tries >= 10);
    }
}
