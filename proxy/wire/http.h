/* Message heads: what every HTTP version shares. Names are lower case; the request line is kept as
 * HTTP/2's pseudo headers are, so that routing and policy never see the version.
 *
 * Ownership: a head and all its texts live in one arena, given by whoever makes it.
 * Source: RFC 9110, RFC 9112. What is ambiguous is refused by the codec; what is forwarded is
 * re-serialised.
 */
#pragma once

#include "mesh/base/arena.h"
#include "mesh/base/str.h"

enum http_framing {
    HTTP_BODY_NONE,   /* ends with the head */
    HTTP_BODY_LENGTH, /* content_length bytes */
    HTTP_BODY_CHUNKED,
    HTTP_BODY_CLOSE, /* response until the end of the connection */
    /* What `upgrade` names, both ways, once the answer was 101. In HTTP/2 it is an extended CONNECT (RFC 8441); its heads
     * are told as HTTP/1.1 has them, so that nothing but the codec sees the version. Or, with the method CONNECT (RFC 9110
     * 9.3.6) and no `upgrade`, bytes to `authority` once the answer was a 2xx; its path is told as "/". */
    HTTP_BODY_TUNNEL,
};

struct http_field {
    struct str name, value; /* name lower case; value without surrounding blanks */
};

struct http_head {
    bool is_request;
    uint8_t version; /* 10, 11 or 20, as received */
    struct str method, scheme, authority,
        path;        /* request; path holds the query; authority lower case, as sent otherwise */
    unsigned status; /* response */
    struct http_field *fields; /* end-to-end fields only: connection-level ones were taken out */
    size_t count, cap;
    enum http_framing framing; /* of the message as received; the writer decides its own */
    uint64_t content_length;   /* HTTP_BODY_LENGTH */
    bool keep_alive;           /* the connection may carry another message after this one; a server that sends false closes */
    bool expect_continue;
    struct str upgrade;  /* protocols of Upgrade, if Connection named it; else empty */
    struct str http2_settings; /* of a request that asks for h2c: HTTP2-Settings, if Connection named it and there is one */
    struct arena *arena; /* where new fields go */
};

void http_head_init(struct http_head *h, struct arena *a, bool is_request);
/* First value of a field; false if absent. `name` is lower case. */
bool http_get(const struct http_head *h, struct str name, struct str *value);
/* The same, and the pseudo fields ":method", ":path", ":authority" (also "host") and ":scheme". */
bool http_field_get(const struct http_head *h, struct str name, struct str *value);
/* All values of a field as one list, joined by commas (RFC 9110 5.3), those of Cookie by semicolons (RFC 9113 8.2.3); in the
 * arena, if there are several. */
struct str http_list(const struct http_head *h, struct str name, bool with_empty, struct arena *a);
size_t http_count(const struct http_head *h, struct str name); /* of the fields of that name */
void http_add(struct http_head *h, struct str name, struct str value); /* copies both */
void http_set(struct http_head *h, struct str name,
              struct str value); /* replaces all of that name */
void http_remove(struct http_head *h, struct str name);
/* A deep copy into another arena (retries and mirrors change their own). */
void http_head_copy(struct http_head *to, const struct http_head *from, struct arena *a);
struct str http_path_only(struct str path); /* without the query */
bool http_query_get(struct str path, struct str name,
                    struct str *value);          /* first value, not decoded */
struct str http_host_only(struct str authority); /* without the port; brackets of IPv6 stay */
struct str http_host_name(struct str authority); /* without these, too */
/* host[:port], made lower case in place; a colon without digits is cut. Of RFC 3986's reg-name only what a DNS name or a
 * service may hold: letters, digits, '-', '.', '_', '~'. `*out` lies in `p`. NULL, or what is wrong with it. */
const char *http_check_authority(char *p, size_t n, struct str *out);
static inline bool http_is_target_char(char c) /* of a request target */
{
    return c > 0x20 && c < 0x7f && c != '#';
}
struct str http_version(const struct http_head *h); /* as received: "HTTP/1.1" */
const char *http_reason(unsigned status);
#define HTTP_DATE_MAX 40u
struct str http_date(int64_t wall_ms, char text[HTTP_DATE_MAX]); /* RFC 9110 5.6.7; `text` holds it */
bool http_is_token(struct str s);
static inline bool http_is_connect(const struct http_head *h)
{
    return str_eq(h->method, STR("CONNECT"));
}
#define HTTP_H2C_SETTINGS_MAX 192u
/* The value of HTTP2-Settings (RFC 7540 3.2.1) as the payload of a SETTINGS frame. Bytes of `out`; 0 if it is none, or more than
 * anybody has to say. */
size_t http_h2c_settings(struct str value, uint8_t out[HTTP_H2C_SETTINGS_MAX]);
bool http_is_idempotent(struct str method);
/* Framing, routing, authentication and what describes the content: never from behind the body (RFC 9110 6.5.1). */
bool http_may_be_trailer(struct str name);
