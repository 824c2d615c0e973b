#include "proxy/wire/http.h"

#include <string.h>
#include <time.h>

#include "mesh/base/addr.h"
#include "mesh/base/text.h"

#define FIELDS_FIRST 8u

void http_head_init(struct http_head *h, struct arena *a, bool is_request)
{
    *h =
        (struct http_head){.is_request = is_request, .version = 11, .keep_alive = true, .arena = a};
}

bool http_get(const struct http_head *h, struct str name, struct str *value)
{
    for (size_t i = 0; i < h->count; i++) {
        if (str_eq(h->fields[i].name, name)) {
            *value = h->fields[i].value;
            return true;
        }
    }
    return false;
}

size_t http_count(const struct http_head *h, struct str name)
{
    size_t n = 0;

    for (size_t i = 0; i < h->count; i++)
        n += str_eq(h->fields[i].name, name);
    return n;
}

static bool is_listed(const struct http_field *f, struct str name, bool with_empty)
{
    return str_eq(f->name, name) && (with_empty || f->value.n > 0);
}

static char *put(char *at, struct str s)
{
    if (s.n > 0)
        memcpy(at, s.p, s.n);
    return at + s.n;
}

struct str http_list(const struct http_head *h, struct str name, bool with_empty, struct arena *a)
{
    struct str between = str_eq(name, STR("cookie")) ? STR("; ") : STR(","), one = STR_NONE;
    size_t count = 0, bytes = 0;
    char *all, *at;

    for (size_t i = 0; i < h->count; i++) {
        if (!is_listed(&h->fields[i], name, with_empty))
            continue;
        one = h->fields[i].value;
        bytes += one.n + between.n;
        count++;
    }
    if (count < 2)
        return one;
    all = at = arena_alloc(a, bytes);
    for (size_t i = 0; i < h->count; i++) {
        if (!is_listed(&h->fields[i], name, with_empty))
            continue;
        if (at > all)
            at = put(at, between);
        at = put(at, h->fields[i].value);
    }
    return (struct str){all, (size_t)(at - all)};
}

bool http_field_get(const struct http_head *h, struct str name, struct str *value)
{
    if (str_eq(name, STR(":method")))
        *value = h->method;
    else if (str_eq(name, STR(":path")))
        *value = h->path;
    else if (str_eq(name, STR(":authority")) || str_eq(name, STR("host")))
        *value = h->authority;
    else if (str_eq(name, STR(":scheme")))
        *value = h->scheme;
    else
        return http_get(h, name, value);
    return true;
}

static void grow(struct http_head *h)
{
    size_t cap = h->cap ? h->cap * 2 : FIELDS_FIRST;
    struct http_field *fields = arena_alloc(h->arena, cap * sizeof(*fields));

    if (h->count > 0)
        memcpy(fields, h->fields, h->count * sizeof(*fields));
    h->fields = fields;
    h->cap = cap;
}

void http_add(struct http_head *h, struct str name, struct str value)
{
    if (h->count == h->cap)
        grow(h);
    h->fields[h->count++] =
        (struct http_field){arena_str(h->arena, name), arena_str(h->arena, value)};
}

void http_set(struct http_head *h, struct str name, struct str value)
{
    http_remove(h, name);
    http_add(h, name, value);
}

void http_remove(struct http_head *h, struct str name)
{
    size_t kept = 0;

    for (size_t i = 0; i < h->count; i++) {
        if (!str_eq(h->fields[i].name, name))
            h->fields[kept++] = h->fields[i];
    }
    h->count = kept;
}

static struct str copy(struct arena *a, struct str s)
{
    return s.n > 0 ? arena_str(a, s) : STR_NONE;
}

void http_head_copy(struct http_head *to, const struct http_head *from, struct arena *a)
{
    *to = *from;
    to->arena = a;
    to->method = copy(a, from->method);
    to->scheme = copy(a, from->scheme);
    to->authority = copy(a, from->authority);
    to->path = copy(a, from->path);
    to->upgrade = copy(a, from->upgrade);
    to->http2_settings = copy(a, from->http2_settings);
    to->cap = from->count + 4;
    to->fields = arena_alloc(a, to->cap * sizeof(*to->fields));
    for (size_t i = 0; i < from->count; i++) {
        to->fields[i].name = copy(a, from->fields[i].name);
        to->fields[i].value = copy(a, from->fields[i].value);
    }
}

struct str http_path_only(struct str path)
{
    const char *q = path.n > 0 ? memchr(path.p, '?', path.n) : NULL;

    return q ? str_sub(path, 0, (size_t)(q - path.p)) : path;
}

bool http_query_get(struct str path, struct str name, struct str *value)
{
    struct str only = http_path_only(path), query, item, key;

    if (only.n == path.n)
        return false;
    query = str_sub(path, only.n + 1, path.n);
    while (str_next(&query, '&', &item)) {
        struct str rest = item;

        if (!str_cut(&rest, '=', &key)) {
            key = item;
            rest = STR("");
        }
        if (str_eq(key, name)) {
            *value = rest;
            return true;
        }
    }
    return false;
}

struct str http_host_only(struct str authority)
{
    size_t i = authority.n;

    while (i > 0 && authority.p[i - 1] >= '0' && authority.p[i - 1] <= '9')
        i--;
    return i > 0 && authority.p[i - 1] == ':' ? str_sub(authority, 0, i - 1) : authority;
}

struct str http_host_name(struct str authority)
{
    struct str host = http_host_only(authority);

    return host.n > 1 && host.p[0] == '[' && host.p[host.n - 1] == ']' ? str_sub(host, 1, host.n - 2)
                                                                       : host;
}

static const char *check_port(struct str port)
{
    uint64_t value;

    if (port.n > 0 && (port.n > 5 || !str_uint(port, 0, 65535, &value)))
        return "malformed port";
    return NULL;
}

const char *http_check_authority(char *p, size_t n, struct str *out)
{
    size_t host = 0;
    struct addr ip;
    const char *why;

    if (n == 0)
        return "empty host";
    for (size_t i = 0; i < n; i++)
        p[i] = p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] + 32) : p[i];
    if (p[0] == '[') {
        const char *close = memchr(p, ']', n);

        host = close ? (size_t)(close - p) + 1 : 0;
        if (host < 2 || !addr_parse_ip((struct str){p + 1, host - 2}, &ip) || ip.family != 6)
            return "malformed IPv6 address";
    } else {
        while (host < n && ((p[host] >= 'a' && p[host] <= 'z') || (p[host] >= '0' && p[host] <= '9') ||
                            (p[host] != '\0' && strchr("-._~", p[host]))))
            host++;
    }
    if (host == 0 || (host < n && p[host] != ':'))
        return "malformed host";
    why = host < n ? check_port((struct str){p + host + 1, n - host - 1}) : NULL;
    if (why)
        return why;
    *out = (struct str){p, host + 1 == n ? host : n};
    return NULL;
}

struct str http_version(const struct http_head *h)
{
    return h->version == 20 ? STR("HTTP/2") : h->version == 10 ? STR("HTTP/1.0") : STR("HTTP/1.1");
}

const char *http_reason(unsigned status)
{
    static const struct {
        unsigned status;
        const char *reason;
    } rows[] = {
        {100, "Continue"                       },
        {101, "Switching Protocols"            },
        {102, "Processing"                     },
        {103, "Early Hints"                    },
        {200, "OK"                             },
        {201, "Created"                        },
        {202, "Accepted"                       },
        {203, "Non-Authoritative Information"  },
        {204, "No Content"                     },
        {205, "Reset Content"                  },
        {206, "Partial Content"                },
        {207, "Multi-Status"                   },
        {208, "Already Reported"               },
        {226, "IM Used"                        },
        {300, "Multiple Choices"               },
        {301, "Moved Permanently"              },
        {302, "Found"                          },
        {303, "See Other"                      },
        {304, "Not Modified"                   },
        {305, "Use Proxy"                      },
        {307, "Temporary Redirect"             },
        {308, "Permanent Redirect"             },
        {400, "Bad Request"                    },
        {401, "Unauthorized"                   },
        {402, "Payment Required"               },
        {403, "Forbidden"                      },
        {404, "Not Found"                      },
        {405, "Method Not Allowed"             },
        {406, "Not Acceptable"                 },
        {407, "Proxy Authentication Required"  },
        {408, "Request Timeout"                },
        {409, "Conflict"                       },
        {410, "Gone"                           },
        {411, "Length Required"                },
        {412, "Precondition Failed"            },
        {413, "Content Too Large"              },
        {414, "URI Too Long"                   },
        {415, "Unsupported Media Type"         },
        {416, "Range Not Satisfiable"          },
        {417, "Expectation Failed"             },
        {421, "Misdirected Request"            },
        {422, "Unprocessable Content"          },
        {423, "Locked"                         },
        {424, "Failed Dependency"              },
        {425, "Too Early"                      },
        {426, "Upgrade Required"               },
        {428, "Precondition Required"          },
        {429, "Too Many Requests"              },
        {431, "Request Header Fields Too Large"},
        {451, "Unavailable For Legal Reasons"  },
        {500, "Internal Server Error"          },
        {501, "Not Implemented"                },
        {502, "Bad Gateway"                    },
        {503, "Service Unavailable"            },
        {504, "Gateway Timeout"                },
        {505, "HTTP Version Not Supported"     },
        {506, "Variant Also Negotiates"        },
        {507, "Insufficient Storage"           },
        {508, "Loop Detected"                  },
        {510, "Not Extended"                   },
        {511, "Network Authentication Required"},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        if (rows[i].status == status)
            return rows[i].reason;
    }
    return "Unknown";
}

struct str http_date(int64_t wall_ms, char text[HTTP_DATE_MAX])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;

    gmtime_r(&seconds, &tm);
    return (struct str){text, strftime(text, HTTP_DATE_MAX, "%a, %d %b %Y %H:%M:%S GMT", &tm)};
}

bool http_is_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) &&
            (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return s.n > 0;
}

bool http_is_idempotent(struct str method)
{
    static const struct str names[] = {
        STR_INIT("GET"),   STR_INIT("HEAD"), STR_INIT("OPTIONS"),
        STR_INIT("TRACE"), STR_INIT("PUT"),  STR_INIT("DELETE"),
    };

    for (size_t i = 0; i < COUNT(names); i++) {
        if (str_eq(method, names[i]))
            return true;
    }
    return false;
}

bool http_may_be_trailer(struct str name)
{
    static const struct str names[] = {
        STR_INIT("transfer-encoding"),
        STR_INIT("host"),
        STR_INIT("connection"),
        STR_INIT("te"),
        STR_INIT("trailer"),
        STR_INIT("upgrade"),
        STR_INIT("keep-alive"),
        STR_INIT("authorization"),
        STR_INIT("cookie"),
        STR_INIT("set-cookie"),
        STR_INIT("expect"),
        STR_INIT("cache-control"),
        STR_INIT("max-forwards"),
        STR_INIT("pragma"),
        STR_INIT("range"),
        STR_INIT("location"),
        STR_INIT("retry-after"),
        STR_INIT("vary"),
        STR_INIT("date"),
        STR_INIT("expires"),
        STR_INIT("age"),
        STR_INIT("warning"),
        STR_INIT("forwarded"),
        STR_INIT("via"),
        STR_INIT("www-authenticate"),
        STR_INIT("server"),
    };
    static const struct str prefixes[] = {
        STR_INIT("content-"), STR_INIT("proxy-"), STR_INIT("x-forwarded-"),
        STR_INIT("x-envoy-"), STR_INIT("if-"),    STR_INIT("http2-"),
    };

    for (size_t i = 0; i < COUNT(names); i++) {
        if (str_eq(name, names[i]))
            return false;
    }
    for (size_t i = 0; i < COUNT(prefixes); i++) {
        if (str_starts(name, prefixes[i]))
            return false;
    }
    return true;
}

#define SETTING_BYTES 6u /* RFC 9113 6.5.1 */

size_t http_h2c_settings(struct str value, uint8_t out[HTTP_H2C_SETTINGS_MAX])
{
    size_t n = value.n * 6 / 8;

    return n <= HTTP_H2C_SETTINGS_MAX && n % SETTING_BYTES == 0 && text_unbase64url(value, out, n) ? n : 0;
}
