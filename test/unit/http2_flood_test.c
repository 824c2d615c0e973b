/* HTTP/2: floods of what costs us and brings nothing. Each is cut, and frames are counted, not time. */
#include "test/h2_play.h"

struct flood {
    const char *name;
    void (*first)(struct buf *b); /* before it; may be NULL */
    unsigned (*some)(struct buf *b, unsigned round); /* frames that it wrote */
};

static void f_open(struct buf *b)
{
    h2_head(b, 1, 0, H2_POST);
}

static void f_half_head(struct buf *b)
{
    struct buf block;

    buf_init(&block, 4096);
    h2_fields(&block, H2_GET);
    h2_frame(b, H2_HEADERS, H2_END_STREAM, 1, buf_str(&block));
    buf_done(&block);
}

static unsigned f_rapid_reset(struct buf *b, unsigned round)
{
    for (uint32_t i = 0; i < 100; i++) {
        uint32_t id = 2 * (round * 100 + i) + 1;

        h2_head(b, id, H2_END_STREAM, H2_GET);
        h2_frame32(b, H2_RST, id, 8);
    }
    return 200;
}

static unsigned f_provoked_reset(struct buf *b, unsigned round)
{
    for (uint32_t i = 0; i < 100; i++) {
        uint32_t id = 2 * (round * 100 + i) + 1;

        h2_head(b, id, 0, H2_GET);
        h2_frame32(b, H2_WINDOW, id, 0);
    }
    return 200;
}

static unsigned f_malformed(struct buf *b, unsigned round)
{
    for (uint32_t i = 0; i < 100; i++)
        h2_head(b, 2 * (round * 100 + i) + 1, H2_END_STREAM, H2_GET "|X: y");
    return 100;
}

static unsigned f_refused(struct buf *b, unsigned round)
{
    for (uint32_t i = 0; i < 100; i++)
        h2_head(b, 2 * (round * 100 + i) + 3, 0, H2_POST);
    return 100;
}

static unsigned f_continuation(struct buf *b, unsigned round)
{
    char name[32];
    struct buf block;

    buf_init(&block, 16384);
    snprintf(name, sizeof(name), "x%u: ", round);
    h2_fields(&block, name);
    h2_frame(b, H2_CONTINUATION, 0, 1, buf_str(&block));
    buf_done(&block);
    return 1;
}

static unsigned f_empty_continuation(struct buf *b, unsigned round)
{
    (void)round; /* all are alike */
    for (unsigned i = 0; i < 100; i++)
        h2_frame(b, H2_CONTINUATION, 0, 1, STR_NONE);
    return 100;
}

static unsigned f_repeat(struct buf *b, unsigned type, uint32_t id, struct str payload)
{
    for (unsigned i = 0; i < 100; i++)
        h2_frame(b, type, 0, id, payload);
    return 100;
}

static unsigned f_settings(struct buf *b, unsigned round)
{
    (void)round; /* all are alike */
    return f_repeat(b, H2_SETTINGS, 0, BYTES_OF("\0\4\0\0\xff\xff"));
}

static unsigned f_empty_settings(struct buf *b, unsigned round)
{
    (void)round; /* all are alike */
    return f_repeat(b, H2_SETTINGS, 0, STR_NONE);
}

static unsigned f_ping(struct buf *b, unsigned round)
{
    (void)round; /* all are alike */
    return f_repeat(b, H2_PING, 0, STR("12345678"));
}

static unsigned f_window(struct buf *b, unsigned round)
{
    (void)round; /* all are alike */
    return f_repeat(b, H2_WINDOW, 0, BYTES_OF("\0\0\0\1"));
}

static unsigned f_priority(struct buf *b, unsigned round)
{
    for (uint32_t i = 0; i < 100; i++)
        h2_frame(b, H2_PRIORITY_FRAME, 0, 2 * (round * 100 + i) + 1, BYTES_OF("\0\0\0\0\x10"));
    return 100;
}

static unsigned f_unknown(struct buf *b, unsigned round)
{
    (void)round; /* all are alike */
    return f_repeat(b, 200, 0, STR("x"));
}

static unsigned f_empty_data(struct buf *b, unsigned round)
{
    (void)round; /* all are alike */
    return f_repeat(b, H2_DATA, 1, STR_NONE);
}

static unsigned f_padding(struct buf *b, unsigned round)
{
    (void)round; /* all are alike */
    for (unsigned i = 0; i < 100; i++)
        h2_frame(b, H2_DATA, H2_PADDED, 1, BYTES_OF("\3\0\0\0"));
    return 100;
}

static unsigned f_data_of_the_dead(struct buf *b, unsigned round)
{
    if (round == 0)
        h2_frame32(b, H2_RST, 1, 8);
    return f_repeat(b, H2_DATA, 1, STR("x"));
}

/* A field of 4000 bytes in the table, then heads of nothing but references to it. */
static void f_bomb_first(struct buf *b)
{
    struct buf block;

    buf_init(&block, 16384);
    h2_fields(&block, H2_GET);
    buf_addc(&block, 0x40);
    h2_int(&block, 0, 7, 1);
    buf_addc(&block, 'z');
    h2_int(&block, 0, 7, 4000);
    for (unsigned i = 0; i < 4000; i++)
        buf_addc(&block, 'a');
    h2_frame(b, H2_HEADERS, 5, 1, buf_str(&block));
    buf_done(&block);
}

static unsigned f_bomb(struct buf *b, unsigned round)
{
    struct buf block;

    buf_init(&block, 20000);
    h2_fields(&block, H2_GET);
    for (unsigned i = 0; i < 16000; i++)
        buf_addc(&block, (char)0xbe);
    h2_frame(b, H2_HEADERS, 5, 2 * round + 3, buf_str(&block));
    buf_done(&block);
    return 1;
}

static const struct flood floods[] = {
    {"rapid reset",             NULL,         f_rapid_reset       },
    {"provoked reset",          NULL,         f_provoked_reset    },
    {"malformed requests",      NULL,         f_malformed         },
    {"requests over the limit", NULL,         f_refused           },
    {"continuation",            f_half_head,  f_continuation      },
    {"empty continuation",      f_half_head,  f_empty_continuation},
    {"settings",                NULL,         f_settings          },
    {"empty settings",          NULL,         f_empty_settings    },
    {"ping",                    NULL,         f_ping              },
    {"window update",           NULL,         f_window            },
    {"priority",                NULL,         f_priority          },
    {"unknown frames",          NULL,         f_unknown           },
    {"empty data",              f_open,       f_empty_data        },
    {"data of padding",         f_open,       f_padding           },
    {"data of a dead stream",   f_open,       f_data_of_the_dead  },
    {"bomb",                    f_bomb_first, f_bomb              },
};

#define FLOOD_FRAMES 10000u

/* `deaf`: the peer reads nothing of what it provokes. */
static bool is_cut(const struct flood *flood, bool deaf, unsigned *sent)
{
    struct play p;
    struct buf b;
    bool cut;

    begin(&p, serve);
    p.raw.peer.deaf = deaf;
    buf_init(&b, 1u << 20);
    put_row(&b, "W:0:0:#0fffffff");
    if (flood->first)
        flood->first(&b);
    *sent = 0;
    for (unsigned round = 0; *sent < FLOOD_FRAMES && !p.server.h2->cut; round++) {
        *sent += flood->some(&b, round);
        h2_raw_say(&p.raw, &b);
        turns(p.loop, 4);
    }
    p.raw.peer.deaf = false;
    task_note(&p.raw.peer.task, 1);
    turns(p.loop, 20);
    cut = p.server.codec->failure != NULL && p.raw.peer.ended &&
          h2_seen(&p.raw, H2_GOAWAY, 0, 0) != NULL;
    if (!cut)
        print_error("%s%s: %u frames, %s\n", flood->name, deaf ? ", deaf" : "", *sent, events(&p));
    buf_done(&b);
    finish(&p);
    return cut;
}

TEST(each_flood_is_cut)
{
    unsigned bad = 0, sent;

    for (size_t i = 0; i < COUNT(floods); i++)
        bad += !is_cut(&floods[i], false, &sent);
    CHECK_INT(bad, 0);
}

TEST(each_flood_is_cut_if_the_peer_reads_nothing)
{
    unsigned bad = 0, sent;

    for (size_t i = 0; i < COUNT(floods); i++)
        bad += !is_cut(&floods[i], true, &sent);
    CHECK_INT(bad, 0);
}

/* Half of the requests are given up, far more than a flood may have, and the others are answered. */
TEST(a_client_that_changes_its_mind_is_no_flood)
{
    struct play p;
    struct buf b;

    begin(&p, serve);
    buf_init(&b, 1u << 16);
    put_row(&b, "S:1:0:");
    for (uint32_t i = 0; i < 5 * LIMIT_H2_RESETS; i++) {
        h2_head(&b, 4 * i + 1, 0, H2_POST);
        h2_frame32(&b, H2_RST, 4 * i + 1, NGHTTP2_CANCEL);
        h2_head(&b, 4 * i + 3, H2_END_STREAM, H2_GET);
        h2_raw_say(&p.raw, &b);
        turns(p.loop, 3);
    }
    turns(p.loop, 10);
    if (p.raw.peer.ended)
        print_error("%s, %zu answered\n", p.server.codec->failure, p.raw.totals[H2_HEADERS]);
    CHECK(!p.raw.peer.ended);
    CHECK_INT(p.raw.totals[H2_HEADERS], 5 * LIMIT_H2_RESETS);
    buf_done(&b);
    finish(&p);
}
