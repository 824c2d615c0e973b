#include "mesh/url.h"

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int hex_digit(char c)
{
    uint64_t value;

    return str_hex((struct str){&c, 1}, 15, &value) ? (int)value : -1;
}

/* Of each '%' two digits follow. In a host they may only stand for what is not ASCII. */
static int check_escapes(struct str s, bool is_host, struct err *err)
{
    for (size_t i = 0; i < s.n; i++) {
        int high = i + 1 < s.n ? hex_digit(s.p[i + 1]) : -1, low = i + 2 < s.n ? hex_digit(s.p[i + 2]) : -1;

        if (s.p[i] != '%')
            continue;
        if (high < 0 || low < 0)
            return err_set(err, ERR_INVALID, "a '%%' without two digits of 0-9 and a-f behind it");
        if (is_host && high < 8)
            return err_set(err, ERR_INVALID, "an escape in the host");
        i += 2;
    }
    return 0;
}

static int check_controls(struct str s, struct err *err)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 127)
            return err_set(err, ERR_INVALID, "a control character");
    }
    return 0;
}

/* False: a ':' where the scheme would be. */
static bool cut_scheme(struct str *rest, struct str *scheme)
{
    *scheme = STR_NONE;
    for (size_t i = 0; i < rest->n; i++) {
        char c = rest->p[i];

        if (c == ':' && i > 0) {
            *scheme = str_sub(*rest, 0, i);
            *rest = str_sub(*rest, i + 1, rest->n);
            return true;
        }
        if (c == ':')
            return false;
        if (!is_letter(c) && (i == 0 || (!is_digit(c) && !str_has(STR("+-."), c))))
            return true;
    }
    return true;
}

static size_t last_of(struct str s, char c)
{
    size_t i = s.n;

    while (i > 0 && s.p[i - 1] != c)
        i--;
    return i; /* one behind it; 0: none */
}

/* "" or ":" and digits, perhaps none. */
static int read_port(struct str s, struct url *out, struct err *err)
{
    for (size_t i = 0; i < s.n; i++) {
        if (i == 0 ? s.p[i] != ':' : !is_digit(s.p[i]))
            return err_set(err, ERR_INVALID, "a port that is not a number");
    }
    out->port = str_sub(s, 1, s.n);
    return 0;
}

static int check_host(struct str host, struct err *err)
{
    for (size_t i = 0; i < host.n; i++) {
        char c = host.p[i];

        if ((unsigned char)c < 128 && !is_letter(c) && !is_digit(c) && !str_has(STR("!$&'()*+,;=:[]<>\"-_.~%"), c))
            return err_set(err, ERR_INVALID, "the character '%c' in the host", c);
    }
    return check_escapes(host, true, err);
}

static int check_user(struct str user, struct err *err)
{
    for (size_t i = 0; i < user.n; i++) {
        if (!is_letter(user.p[i]) && !is_digit(user.p[i]) && !str_has(STR("-._:~!$&'()*+,;=%@"), user.p[i]))
            return err_set(err, ERR_INVALID, "a character before '@' that must be escaped");
    }
    return check_escapes(user, false, err);
}

static int read_authority(struct str s, struct url *out, struct err *err)
{
    size_t at = last_of(s, '@'), end;

    if (at && check_user(str_sub(s, 0, at - 1), err))
        return -1;
    s = str_sub(s, at, s.n);
    if (str_starts(s, STR("["))) {
        end = last_of(s, ']');
        if (end == 0)
            return err_set(err, ERR_INVALID, "a '[' without ']'");
    } else {
        end = last_of(s, ':');
        end = end ? end - 1 : s.n;
    }
    out->host = str_sub(s, 0, end);
    return read_port(str_sub(s, end, s.n), out, err) || check_host(out->host, err) ? -1 : 0;
}

static struct str up_to(struct str s, char end)
{
    struct str head;

    return str_cut(&s, end, &head) ? head : s;
}

static int parse(struct str text, bool is_request, struct url *out, struct err *err)
{
    struct url u = {STR_NONE, STR_NONE, STR_NONE};
    struct str rest = text, path, authority;

    if (check_controls(text, err))
        return -1;
    if (text.n == 0 && is_request)
        return err_set(err, ERR_INVALID, "nothing in it");
    if (!cut_scheme(&rest, &u.scheme))
        return err_set(err, ERR_INVALID, "a ':' without a scheme before it");
    path = up_to(rest, '?');
    if (!str_starts(path, STR("/")) && u.scheme.n) {
        *out = u; /* "scheme:anything" */
        return 0;
    }
    if (!str_starts(path, STR("/")) && is_request && !str_eq(text, STR("*")))
        return err_set(err, ERR_INVALID, "neither a scheme nor a '/' at its beginning");
    if (!str_starts(path, STR("/")) && str_has(up_to(path, '/'), ':'))
        return err_set(err, ERR_INVALID, "a ':' before the first '/', and no scheme");
    if (str_starts(path, STR("//")) && (u.scheme.n || (!is_request && !str_starts(path, STR("///"))))) {
        path = str_sub(path, 2, path.n);
        authority = up_to(path, '/');
        path = str_sub(path, authority.n, path.n);
        if (read_authority(authority, &u, err))
            return -1;
    }
    if (check_escapes(path, false, err))
        return -1;
    *out = u;
    return 0;
}

int url_parse_request(struct str text, struct url *out, struct err *err)
{
    return parse(text, true, out, err);
}

int url_parse(struct str text, struct url *out, struct err *err)
{
    struct str fragment = text, before;

    if (!str_cut(&fragment, '#', &before))
        return parse(text, false, out, err);
    return parse(before, false, out, err) || check_controls(fragment, err) || check_escapes(fragment, false, err) ? -1 : 0;
}
