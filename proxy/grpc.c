#include "proxy/grpc.h"

#include <inttypes.h>
#include <stdio.h>

#include "mesh/base/buf.h"
#include "mesh/base/limits.h"

#define TYPE         STR("application/grpc")
#define PREFIX_BYTES 5 /* compressed or not, then the length */
#define DIGITS_MAX   8 /* of a deadline */

bool grpc_is(const struct http_head *h)
{
    struct str type;

    if (!http_get(h, STR("content-type"), &type) || !str_starts_nocase(type, TYPE))
        return false;
    return type.n == TYPE.n || type.p[TYPE.n] == '+' || type.p[TYPE.n] == ';';
}

/* ---- statuses ---- */

int grpc_status(const struct http_field *fields, size_t count)
{
    uint64_t status;

    for (size_t i = 0; i < count; i++) {
        if (!str_eq(fields[i].name, STR("grpc-status")))
            continue;
        return str_uint(fields[i].value, 0, GRPC_STATUS_LAST, &status) ? (int)status : GRPC_UNKNOWN;
    }
    return -1;
}

int grpc_status_of_http(unsigned status)
{
    static const struct {
        unsigned http;
        int grpc;
    } rows[] = {{400, 13}, {401, 16}, {403, 7}, {404, 12}, {429, 14}, {502, 14}, {503, 14}, {504, 14}};

    for (size_t i = 0; i < COUNT(rows); i++) {
        if (rows[i].http == status)
            return rows[i].grpc;
    }
    return GRPC_UNKNOWN;
}

unsigned grpc_http_status(int status)
{
    static const uint16_t rows[GRPC_STATUS_LAST + 1] = {200, 499, 500, 400, 504, 404, 409, 403, 429,
                                                        400, 409, 400, 501, 500, 503, 500, 401};

    return status >= 0 && status <= GRPC_STATUS_LAST ? rows[status] : 500;
}

struct str grpc_status_text(int status)
{
    static const struct str texts[GRPC_STATUS_LAST + 1] = {
        STR_INIT("0"),  STR_INIT("1"),  STR_INIT("2"),  STR_INIT("3"),  STR_INIT("4"),  STR_INIT("5"),
        STR_INIT("6"),  STR_INIT("7"),  STR_INIT("8"),  STR_INIT("9"),  STR_INIT("10"), STR_INIT("11"),
        STR_INIT("12"), STR_INIT("13"), STR_INIT("14"), STR_INIT("15"), STR_INIT("16")};

    return status >= 0 && status <= GRPC_STATUS_LAST ? texts[status] : STR_NONE;
}

/* ---- deadlines ---- */

/* Longest unit first; `part` of a unit is a millisecond where the unit is shorter than one. */
static const struct {
    char unit;
    int64_t ms, part;
} units[] = {{'H', 3600000, 1}, {'M', 60000, 1}, {'S', 1000, 1}, {'m', 1, 1}, {'u', 1, 1000}, {'n', 1, 1000000}};

/* What the caller says, rounded up; 0 if it says nothing that can be read. */
static int64_t asked_ms(const struct http_head *h)
{
    struct str text;
    uint64_t n;

    if (!http_get(h, STR("grpc-timeout"), &text) || text.n < 2 || text.n > DIGITS_MAX + 1 ||
        !str_uint(str_sub(text, 0, text.n - 1), 0, 99999999, &n))
        return 0;
    for (size_t i = 0; i < COUNT(units); i++) {
        if (units[i].unit == text.p[text.n - 1])
            return ((int64_t)n * units[i].ms + units[i].part - 1) / units[i].part;
    }
    return 0;
}

int64_t grpc_deadline_ms(const struct http_head *h, int64_t most_ms)
{
    int64_t ms = asked_ms(h);

    return most_ms > 0 && (ms == 0 || ms > most_ms) ? most_ms : ms;
}

void grpc_set_deadline(struct http_head *h, int64_t ms)
{
    char text[32];
    size_t i = 3; /* milliseconds, unless there are too many */

    while (i > 0 && ms / units[i].ms > 99999999)
        i--;
    snprintf(text, sizeof(text), "%" PRId64 "%c", MIN(ms / units[i].ms, 99999999), units[i].unit);
    http_set(h, STR("grpc-timeout"), str_from(text));
}

/* ---- answers of our own ---- */

static void put_escaped(struct buf *b, struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];

        if (c >= ' ' && c < 0x7f && c != '%')
            buf_addc(b, (char)c);
        else
            buf_printf(b, "%%%02X", c);
    }
}

void grpc_answer(struct http_head *h, struct str why)
{
    struct buf text;

    http_set(h, STR("content-type"), TYPE);
    if (grpc_status(h->fields, h->count) < 0)
        http_set(h, STR("grpc-status"), grpc_status_text(grpc_status_of_http(h->status)));
    h->status = 200;
    if (why.n == 0)
        return;
    buf_init(&text, LIMIT_HEAD_BYTES);
    put_escaped(&text, str_sub(why, 0, LIMIT_GRPC_MESSAGE_BYTES));
    http_set(h, STR("grpc-message"), buf_str(&text));
    buf_done(&text);
}

/* ---- messages ---- */

static size_t take_prefix(struct grpc_frames *f, const unsigned char *p, size_t n)
{
    size_t used = 0;

    while (used < n && f->prefix < PREFIX_BYTES) {
        if (f->prefix > 0)
            f->length = f->length << 8 | p[used];
        f->prefix++;
        used++;
    }
    if (f->prefix == PREFIX_BYTES) {
        f->messages++;
        f->left = f->length;
        f->length = 0;
        f->prefix = 0;
    }
    return used;
}

void grpc_frames_feed(struct grpc_frames *f, const struct bytes *body)
{
    size_t at = 0;

    while (at < body->n) {
        unsigned char prefix[PREFIX_BYTES];
        size_t n = MIN(f->left, body->n - at);

        at += n;
        f->left -= n;
        if (f->left == 0)
            at += take_prefix(f, prefix, bytes_copy_out(body, at, prefix, PREFIX_BYTES - f->prefix));
    }
}
