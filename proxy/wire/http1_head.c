/* The head parser: one copy of the text into the arena, one pass over the copy, names made lower
 * case in place.
 *
 * Every loop over characters stops at CR or LF, which belong to no class below, and the text is
 * known to end in CR LF: that is why no loop compares with the end.
 */
#include <string.h>

#include "mesh/base/limits.h"
#include "proxy/wire/http1.h"

#define CONNECTION_FIELDS 8u /* fields named Connection in one head */

/* Token characters in lower case; 0 for everything else. */
static const char token_lower[256] = {
    ['!'] = '!', ['#'] = '#', ['$'] = '$', ['%'] = '%', ['&'] = '&', ['\''] = '\'', ['*'] = '*',
    ['+'] = '+', ['-'] = '-', ['.'] = '.', ['^'] = '^', ['_'] = '_', ['`'] = '`',   ['|'] = '|',
    ['~'] = '~', ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4',   ['5'] = '5',
    ['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9', ['a'] = 'a', ['b'] = 'b',   ['c'] = 'c',
    ['d'] = 'd', ['e'] = 'e', ['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i',   ['j'] = 'j',
    ['k'] = 'k', ['l'] = 'l', ['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p',   ['q'] = 'q',
    ['r'] = 'r', ['s'] = 's', ['t'] = 't', ['u'] = 'u', ['v'] = 'v', ['w'] = 'w',   ['x'] = 'x',
    ['y'] = 'y', ['z'] = 'z', ['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd',   ['E'] = 'e',
    ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i', ['J'] = 'j', ['K'] = 'k',   ['L'] = 'l',
    ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r',   ['S'] = 's',
    ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w', ['X'] = 'x', ['Y'] = 'y',   ['Z'] = 'z',
};

struct cursor {
    char *at, *end;
};

/* What the fields say about the connection and the body. */
struct facts {
    struct str connection[CONNECTION_FIELDS];
    size_t connection_count;
    struct str host, length, coding, upgrade, settings;
    bool has_host, has_length, has_coding;
    bool close, upgrading, settling;
    unsigned settings_count, upgrade_count;
};

static char token(char c)
{
    return token_lower[(uint8_t)c];
}

/* Of a field value or reason: visible, blank, tab, obs-text. */
static bool is_value(char c)
{
    uint8_t u = (uint8_t)c;

    return (u >= 0x20 && u != 0x7f) || u == '\t';
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static struct str since(const char *from, const struct cursor *c)
{
    return (struct str){from, (size_t)(c->at - from)};
}

static bool take(struct cursor *c, struct str want)
{
    if ((size_t)(c->end - c->at) < want.n || memcmp(c->at, want.p, want.n) != 0)
        return false;
    c->at += want.n;
    return true;
}

static bool take_eol(struct cursor *c)
{
    return take(c, STR("\r\n"));
}

static const char *parse_version(struct cursor *c, struct http_head *h, unsigned *status)
{
    char major, minor;

    if (!take(c, STR("HTTP/")))
        return "no HTTP version";
    if (c->end - c->at < 4 || !is_digit(c->at[0]) || c->at[1] != '.' || !is_digit(c->at[2]) ||
        is_digit(c->at[3]))
        return "malformed HTTP version";
    major = c->at[0];
    minor = c->at[2];
    c->at += 3;
    if (major != '1' || minor > '1') {
        *status = 505;
        return "HTTP version not supported";
    }
    h->version = minor == '1' ? 11 : 10;
    return NULL;
}

/* http://authority/path: the authority replaces Host (RFC 9112 3.2.2). */
static const char *parse_absolute(struct http_head *h, char *p, size_t n, size_t scheme)
{
    char *from = p + scheme, *end = p + n, *stop = from;
    const char *why;

    while (stop < end && *stop != '/' && *stop != '?')
        stop++;
    why = http_check_authority(from, (size_t)(stop - from), &h->authority);
    if (why)
        return why;
    if (stop == end) {
        h->path = str_eq(h->method, STR("OPTIONS")) ? STR("*") : STR("/");
    } else if (*stop == '/') {
        h->path = (struct str){stop, (size_t)(end - stop)};
    } else {
        h->path = arena_printf(h->arena, "/%.*s", (int)(end - stop), stop);
    }
    return NULL;
}

/* CONNECT authority (RFC 9112 3.2.3): where the tunnel goes, with a port. */
static const char *parse_authority_form(struct http_head *h, char *p, size_t n)
{
    const char *why = http_check_authority(p, n, &h->authority);

    h->path = STR("/");
    if (!why && http_host_only(h->authority).n == h->authority.n)
        why = "CONNECT without a port";
    return why;
}

static const char *parse_target(struct http_head *h, char *p, size_t n)
{
    struct str target = {p, n};

    if (http_is_connect(h))
        return parse_authority_form(h, p, n);
    if (n > 0 && p[0] == '/') {
        h->path = target;
        return NULL;
    }
    if (str_eq(target, STR("*"))) {
        h->path = target;
        return str_eq(h->method, STR("OPTIONS")) ? NULL : "'*' is for OPTIONS";
    }
    if (str_starts_nocase(target, STR("http://")))
        return parse_absolute(h, p, n, 7);
    if (str_starts_nocase(target, STR("https://")))
        return parse_absolute(h, p, n, 8);
    return "malformed request target";
}

/* Neither its target nor its version is HTTP's, as in a broken preface of HTTP/2 (RFC 9113 3.4). */
static bool is_no_request_line(const struct cursor *c, struct str target)
{
    struct str rest = {c->at, (size_t)(c->end - c->at)};
    size_t colon;

    return !str_starts(rest, STR("HTTP/")) && target.n > 0 && target.p[0] != '/' && target.p[0] != '*' &&
           !str_find(target, STR(":"), &colon);
}

static const char *parse_request_line(struct cursor *c, struct http_head *h, unsigned *status)
{
    char *from = c->at, *target;
    size_t target_bytes;
    const char *why;

    while (token(*c->at))
        c->at++;
    h->method = since(from, c);
    if (h->method.n == 0 || !take(c, STR(" ")))
        return "malformed method";
    if (h->method.n > LIMIT_METHOD_BYTES) {
        *status = 501;
        return "method not supported";
    }
    target = c->at;
    while (http_is_target_char(*c->at))
        c->at++;
    target_bytes = (size_t)(c->at - target);
    if (target_bytes > LIMIT_TARGET_BYTES) {
        *status = 414;
        return "request target is too long";
    }
    if (!take(c, STR(" ")))
        return "malformed request line";
    if (is_no_request_line(c, (struct str){target, target_bytes})) {
        *status = 0;
        return "this is not HTTP";
    }
    why = parse_version(c, h, status);
    if (why)
        return why;
    if (!take_eol(c))
        return "malformed request line";
    h->scheme = STR("http");
    return parse_target(h, target, target_bytes);
}

static const char *parse_status_line(struct cursor *c, struct http_head *h, unsigned *status)
{
    const char *why = parse_version(c, h, status);

    if (why)
        return why;
    if (!take(c, STR(" ")) || c->end - c->at < 4 || !is_digit(c->at[0]) || !is_digit(c->at[1]) ||
        !is_digit(c->at[2]))
        return "malformed status line";
    h->status = (unsigned)((c->at[0] - '0') * 100 + (c->at[1] - '0') * 10 + (c->at[2] - '0'));
    c->at += 3;
    if (h->status < 100)
        return "malformed status";
    if (*c->at == ' ') {
        while (is_value(*c->at))
            c->at++;
    }
    return take_eol(c) ? NULL : "malformed status line";
}

static const char *parse_field(struct cursor *c, struct http_field *f)
{
    char *from = c->at, *end, low;

    while ((low = token(*c->at)) != 0)
        *c->at++ = low;
    f->name = since(from, c);
    if (f->name.n == 0)
        return is_blank(*c->at) ? "folded line" : "malformed field name";
    if (!take(c, STR(":")))
        return "malformed field name";
    while (is_blank(*c->at))
        c->at++;
    from = c->at;
    while (is_value(*c->at))
        c->at++;
    end = c->at;
    if (!take_eol(c))
        return "control character in a field";
    while (end > from && is_blank(end[-1]))
        end--;
    f->value = (struct str){from, (size_t)(end - from)};
    return NULL;
}

static void push(struct http_head *h, const struct http_field *f)
{
    if (h->count == h->cap) {
        size_t cap = h->cap ? h->cap * 2 : 16;
        struct http_field *fields = arena_alloc(h->arena, cap * sizeof(*fields));

        if (h->count > 0)
            memcpy(fields, h->fields, h->count * sizeof(*fields));
        h->fields = fields;
        h->cap = cap;
    }
    h->fields[h->count++] = *f;
}

static const char *once(bool *seen, struct str *slot, struct str value, const char *why)
{
    if (*seen)
        return why;
    *seen = true;
    *slot = value;
    return NULL;
}

/* Fields about the connection and the framing go into `facts`, the others into the head. */
static const char *sort_field(struct http_head *h, const struct http_field *f, struct facts *facts,
                              unsigned *status)
{
    struct str name = f->name;

    switch (name.n) {
    case 2:
        if (str_eq(name, STR("te")))
            return NULL;
        break;
    case 4:
        if (h->is_request && str_eq(name, STR("host")))
            return once(&facts->has_host, &facts->host, f->value, "more than one Host");
        break;
    case 6:
        if (h->is_request && str_eq(name, STR("expect"))) {
            h->expect_continue = str_eq_nocase(f->value, STR("100-continue"));
            if (!h->expect_continue) {
                *status = 417;
                return "unknown expectation";
            }
        }
        break;
    case 7:
        if (str_eq(name, STR("upgrade"))) {
            facts->upgrade = f->value;
            facts->upgrade_count++;
            return NULL;
        }
        break;
    case 10:
        if (str_eq(name, STR("keep-alive")))
            return NULL;
        if (str_eq(name, STR("connection"))) {
            if (facts->connection_count == CONNECTION_FIELDS)
                return "too many Connection fields";
            facts->connection[facts->connection_count++] = f->value;
            return NULL;
        }
        break;
    case 14:
        if (str_eq(name, STR("content-length")))
            return once(&facts->has_length, &facts->length, f->value,
                        "more than one Content-Length");
        if (str_eq(name, STR("http2-settings"))) {
            facts->settings = f->value;
            facts->settings_count++;
            return NULL;
        }
        break;
    case 16:
        if (str_eq(name, STR("proxy-connection")))
            return NULL;
        break;
    case 17:
        if (str_eq(name, STR("transfer-encoding")))
            return once(&facts->has_coding, &facts->coding, f->value,
                        "more than one Transfer-Encoding");
        break;
    default:
        break;
    }
    push(h, f);
    return NULL;
}

/* Connection may not take these away: they are meant for the recipient (RFC 9110 7.6.1), and naming
 * them is an attack. */
static bool is_end_to_end(struct str name)
{
    static const struct str names[] = {
        STR_INIT("authorization"), STR_INIT("cookie"),        STR_INIT("set-cookie"),
        STR_INIT("content-type"),  STR_INIT("cache-control"), STR_INIT("content-range"),
        STR_INIT("forwarded"),     STR_INIT("expect"),        STR_INIT("content-encoding"),
    };

    for (size_t i = 0; i < COUNT(names); i++) {
        if (str_eq(name, names[i]))
            return true;
    }
    return str_starts(name, STR("x-forwarded-")) || str_starts(name, STR("x-envoy-"));
}

static const char *apply_connection(struct http_head *h, struct facts *facts)
{
    for (size_t i = 0; i < facts->connection_count; i++) {
        struct str list = facts->connection[i], item;

        while (str_next(&list, ',', &item)) {
            char low[64];

            item = str_trim(item);
            if (item.n == 0)
                continue;
            if (!http_is_token(item) || item.n > sizeof(low))
                return "malformed Connection";
            for (size_t k = 0; k < item.n; k++)
                low[k] = token(item.p[k]);
            item = (struct str){low, item.n};
            if (str_eq(item, STR("close")))
                facts->close = true;
            else if (str_eq(item, STR("upgrade")))
                facts->upgrading = true;
            else if (str_eq(item, STR("http2-settings")))
                facts->settling = true;
            else if (!str_eq(item, STR("keep-alive")) && !is_end_to_end(item))
                http_remove(h, item);
        }
    }
    h->keep_alive = h->version == 11 && !facts->close;
    if (facts->upgrading && facts->upgrade_count == 1 && h->version == 11)
        h->upgrade = facts->upgrade;
    if (facts->settling && facts->settings_count == 1)
        h->http2_settings = facts->settings;
    return NULL;
}

static const char *apply_framing(struct http_head *h, const struct facts *facts, unsigned *status)
{
    h->framing = h->is_request ? HTTP_BODY_NONE : HTTP_BODY_CLOSE;
    if (facts->has_coding) {
        if (facts->has_length)
            return "both Transfer-Encoding and Content-Length";
        if (h->version != 11)
            return "Transfer-Encoding in HTTP/1.0";
        if (!str_eq_nocase(facts->coding, STR("chunked"))) {
            *status = str_ends(facts->coding, STR(", chunked")) ? 501 : 400;
            return "unknown transfer coding";
        }
        h->framing = HTTP_BODY_CHUNKED;
    } else if (facts->has_length) {
        if (!str_uint(facts->length, 0, INT64_MAX, &h->content_length))
            return "malformed Content-Length";
        h->framing = HTTP_BODY_LENGTH;
    }
    return NULL;
}

static const char *apply_host(struct http_head *h, const struct facts *facts)
{
    struct str authority;
    char *copy;
    const char *why;

    if (!facts->has_host)
        return h->version == 11 ? "no Host" : NULL;
    copy = arena_alloc(h->arena, facts->host.n + 1);
    memcpy(copy, facts->host.p, facts->host.n);
    why = http_check_authority(copy, facts->host.n, &authority);
    if (!why && h->authority.n == 0)
        h->authority = authority;
    return why;
}

static const char *parse_fields(struct cursor *c, struct http_head *h, struct facts *facts,
                                unsigned *status)
{
    size_t lines = 0;

    while (!take_eol(c)) {
        struct http_field f;
        const char *why = parse_field(c, &f);

        if (!why && ++lines > LIMIT_HEADERS) {
            *status = 431;
            why = "too many fields";
        }
        if (!why)
            why = sort_field(h, &f, facts, status);
        if (why)
            return why;
    }
    return c->at == c->end ? NULL : "bytes after the head";
}

/* A private copy of the text that ends in CR LF. */
static bool copy_text(const char *p, size_t n, struct arena *a, struct cursor *c)
{
    if (n < 2 || p[n - 2] != '\r' || p[n - 1] != '\n')
        return false;
    c->at = arena_alloc(a, n + 1);
    c->end = c->at + n;
    memcpy(c->at, p, n);
    *c->end = '\0'; /* of no class either: a head without its empty line stops here */
    return true;
}

const char *http1_parse_head(const char *p, size_t n, bool is_request, struct arena *a,
                             struct http_head *h, unsigned *status)
{
    struct facts facts = {.connection_count = 0};
    struct cursor c;
    const char *why;

    http_head_init(h, a, is_request);
    *status = 400;
    if (!copy_text(p, n, a, &c))
        return "head is not complete";
    why = is_request ? parse_request_line(&c, h, status) : parse_status_line(&c, h, status);
    if (!why)
        why = parse_fields(&c, h, &facts, status);
    if (!why)
        why = apply_connection(h, &facts);
    if (!why)
        why = apply_framing(h, &facts, status);
    if (!why && is_request)
        why = apply_host(h, &facts);
    return why;
}

const char *http1_parse_trailers(const char *p, size_t n, struct arena *a,
                                 struct http_field **fields, size_t *count)
{
    struct http_head kept;
    struct cursor c;
    size_t lines = 0;

    http_head_init(&kept, a, true);
    if (!copy_text(p, n, a, &c))
        return "trailers are not complete";
    while (!take_eol(&c)) {
        struct http_field f;
        const char *why = parse_field(&c, &f);

        if (why)
            return why;
        if (++lines > LIMIT_HEADERS)
            return "too many trailers";
        if (http_may_be_trailer(f.name))
            push(&kept, &f);
    }
    if (c.at != c.end)
        return "bytes after the trailers";
    *fields = kept.fields;
    *count = kept.count;
    return NULL;
}
