#include "mesh/identity.h"

/* Sizes from SPIFFE-ID.md sections 2.1 and 2.3. */
#define IDENTITY_MAX_BYTES     2048u
#define TRUST_DOMAIN_MAX_BYTES 255u
#define LABEL_MAX_BYTES        63u

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_segment_char(char c)
{
    return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' || c == '_';
}

bool identity_trust_domain_ok(struct str trust_domain)
{
    if (trust_domain.n == 0 || trust_domain.n > TRUST_DOMAIN_MAX_BYTES)
        return false;
    for (size_t i = 0; i < trust_domain.n; i++) {
        char c = trust_domain.p[i];

        if (!is_lower_or_digit(c) && c != '-' && c != '.' && c != '_')
            return false;
    }
    return true;
}

bool identity_label_ok(struct str label)
{
    if (label.n == 0 || label.n > LABEL_MAX_BYTES)
        return false;
    for (size_t i = 0; i < label.n; i++) {
        if (!is_lower_or_digit(label.p[i]) && label.p[i] != '-')
            return false;
    }
    return label.p[0] != '-' && label.p[label.n - 1] != '-';
}

static const char *segment_fault(struct str s)
{
    if (s.n == 0)
        return "it has an empty path segment (\"//\" or a trailing \"/\")";
    if (str_eq(s, STR(".")) || str_eq(s, STR("..")))
        return "its path may not have a \".\" or \"..\" segment";
    for (size_t i = 0; i < s.n; i++) {
        if (!is_segment_char(s.p[i]))
            return "a path segment may have letters, digits, '-', '.' and '_' only";
    }
    return NULL;
}

static const char *path_fault(struct str path)
{
    size_t start = 1;

    if (path.n == 0)
        return NULL;
    for (size_t i = 1; i <= path.n; i++) {
        const char *fault;

        if (i < path.n && path.p[i] != '/')
            continue;
        fault = segment_fault(str_sub(path, start, i - start));
        if (fault)
            return fault;
        start = i + 1;
    }
    return NULL;
}

/* The path's forms that mean something to this mesh; everything else is IDENTITY_OTHER, which is a
 * valid name that no rule of ours hands out. */
static void classify(struct identity *id)
{
    struct str rest = id->path, head, ns;

    id->kind = IDENTITY_OTHER;
    if (str_eq(rest, STR("/weft/server"))) {
        id->kind = IDENTITY_SERVER;
    } else if (str_starts(rest, STR("/weft/host/"))) {
        struct str host = str_sub(rest, sizeof("/weft/host/") - 1, rest.n);

        if (str_has(host, '/'))
            return;
        id->kind = IDENTITY_HOST;
        id->host = host;
    } else if (str_starts(rest, STR("/ns/"))) {
        rest = str_sub(rest, sizeof("/ns/") - 1, rest.n);
        if (!str_cut(&rest, '/', &ns) || !str_cut(&rest, '/', &head) || !str_eq(head, STR("sa")) ||
            str_has(rest, '/'))
            return;
        id->kind = IDENTITY_SERVICE;
        id->ns = ns;
        id->account = rest;
    }
}

int identity_parse(struct str uri, struct identity *out, struct err *err)
{
    struct identity id = {.uri = uri};
    struct str rest;
    const char *fault;
    size_t slash;

    if (uri.n == 0)
        return err_set(err, ERR_INVALID, "a SPIFFE identity must not be empty");
    if (uri.n > IDENTITY_MAX_BYTES)
        return err_set(err, ERR_INVALID, "a SPIFFE identity has at most %u bytes, this one has %zu",
                       IDENTITY_MAX_BYTES, uri.n);
    if (!str_starts(uri, STR("spiffe://")))
        return err_set(err, ERR_INVALID, "a SPIFFE identity must start with \"spiffe://\"");
    rest = str_sub(uri, sizeof("spiffe://") - 1, uri.n);
    for (slash = 0; slash < rest.n && rest.p[slash] != '/'; slash++)
        continue;
    id.trust_domain = str_sub(rest, 0, slash);
    id.path = str_sub(rest, slash, rest.n - slash);
    if (!identity_trust_domain_ok(id.trust_domain))
        return err_set(err, ERR_INVALID,
                       "the trust domain of a SPIFFE identity must be 1 to %u lower-case letters, "
                       "digits, '-', "
                       "'.' or '_', without a port or user",
                       TRUST_DOMAIN_MAX_BYTES);
    fault = path_fault(id.path);
    if (fault)
        return err_set(err, ERR_INVALID, "this is no SPIFFE identity: %s", fault);
    classify(&id);
    *out = id;
    return 0;
}

void identity_service(struct buf *out, struct str trust_domain, struct str ns, struct str account)
{
    buf_printf(out, "spiffe://%.*s/ns/%.*s/sa/%.*s", STR_ARG(trust_domain), STR_ARG(ns),
               STR_ARG(account));
}

void identity_host(struct buf *out, struct str trust_domain, struct str host_id)
{
    buf_printf(out, "spiffe://%.*s/weft/host/%.*s", STR_ARG(trust_domain), STR_ARG(host_id));
}

void identity_server(struct buf *out, struct str trust_domain)
{
    buf_printf(out, "spiffe://%.*s/weft/server", STR_ARG(trust_domain));
}
