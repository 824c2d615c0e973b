#include "mesh/ini_write.h"

#include "mesh/base/limits.h"

#define LINE_BYTES   (LIMIT_INI_LINE - 1)
#define PIECE_BYTES  100 /* of text in one string of several; its escapes may take more room */
#define PIECE_INDENT "    "

static bool is_plain(struct str s)
{
    if (s.n == 0 || str_trim(s).n != s.n || str_has(STR("\"[{;"), s.p[0]))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < 0x20 ||
            (s.p[i] == ';' && (s.p[i - 1] == ' ' || s.p[i - 1] == '\t')))
            return false;
    }
    return true;
}

/* Bytes that buf_json makes of one character. */
static size_t escaped_bytes(struct str character)
{
    unsigned char c = (unsigned char)character.p[0];

    if (c == '"' || c == '\\')
        return 2;
    return c < 0x20 ? 6 : character.n;
}

/* As many characters as fit into a string of `room` bytes, up to the end of a line of the text. */
static size_t piece_bytes(struct str s, size_t room)
{
    size_t n = 0, used = 2;

    while (n < s.n) {
        size_t one = MAX(str_utf8(str_sub(s, n, 4)), 1u);

        used += escaped_bytes(str_sub(s, n, one));
        if (used > room && n > 0)
            break;
        n += one;
        if (s.p[n - 1] == '\n')
            break;
    }
    return n;
}

void ini_write_value(struct str text, size_t used, struct buf *out)
{
    size_t room = used < LINE_BYTES ? LINE_BYTES - used : 0, n;

    if (is_plain(text) && text.n <= room) {
        buf_add(out, text);
        return;
    }
    n = piece_bytes(text, room);
    if (n < text.n && n < PIECE_BYTES / 2) /* a crumb on the first line reads badly */
        n = 0;
    if (n || text.n == 0)
        buf_json(out, str_sub(text, 0, n));
    while (n < text.n) {
        size_t more = piece_bytes(str_sub(text, n, text.n), PIECE_BYTES);

        buf_adds(out, "\n" PIECE_INDENT);
        buf_json(out, str_sub(text, n, more));
        n += more;
    }
}
