#include "mesh/kinds/common.h"

#include "mesh/schema.h"

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* [a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?, at most 63 (fields.md 1.3). */
static bool is_dns_label(struct str s)
{
    if (s.n == 0 || s.n > 63 || !is_alnum(s.p[0]) || !is_alnum(s.p[s.n - 1]))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_alnum(s.p[i]) && s.p[i] != '-')
            return false;
    }
    return true;
}

static bool is_digits(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    }
    return s.n > 0;
}

static int fail_label(struct str whole, struct err *err)
{
    return err_set(err, ERR_INVALID,
                   "\"%.*s\" is not a host name: each label has 1 to 63 letters, digits or '-', with "
                   "a letter or digit at both ends",
                   STR_ARG(whole));
}

static int check_length(struct str whole, struct err *err)
{
    if (whole.n == 0)
        return err_set(err, ERR_INVALID, "a host name is needed, not an empty string");
    return whole.n <= 255 ? 0 : err_set(err, ERR_INVALID, "a host name has at most 255 characters");
}

/* The labels of `s`, which is all of `whole` or what stands behind its first '.'. The last one may be empty ("istio.io."),
 * and is no number. */
static int check_labels(struct str s, struct str whole, struct err *err)
{
    struct str label = STR_NONE, rest = s;

    if (rest.n == 0)
        return 0;
    if (rest.p[rest.n - 1] == '.')
        rest.n--;
    if (rest.n == 0 || rest.p[rest.n - 1] == '.')
        return fail_label(whole, err);
    while (str_next(&rest, '.', &label)) {
        if (!is_dns_label(label))
            return fail_label(whole, err);
    }
    if (is_digits(label) && s.p[s.n - 1] != '.')
        return err_set(err, ERR_INVALID, "\"%.*s\" is not a host name: the last label is a number",
                       STR_ARG(whole));
    return 0;
}

static int check_dns(struct str s, struct err *err)
{
    return check_length(s, err) ? -1 : check_labels(s, s, err);
}

/* Istio's own names for SNI routing, "outbound_.PORT_._.HOST" (Shape rules of VirtualService). */
bool common_is_sni_name(struct str s)
{
    struct str rest = s, port;

    if (!str_starts(rest, STR("outbound_.")))
        return false;
    rest = str_sub(rest, 10, rest.n);
    return str_cut(&rest, '_', &port) && is_digits(port) && str_starts(rest, STR("._.")) && rest.n > 3;
}

int common_check_host(struct str s, struct err *err)
{
    if (str_has(s, '*'))
        return err_set(err, ERR_INVALID,
                       "\"%.*s\" must name one host: a wildcard is not allowed here", STR_ARG(s));
    return check_dns(s, err);
}

/* "*", or a label that may begin with '*' or '*-'. */
static bool is_wildcard_label(struct str s)
{
    struct str rest = s;

    if (str_eq(s, STR("*")))
        return true;
    if (str_starts(rest, STR("*-")))
        rest = str_sub(rest, 2, rest.n);
    else if (str_starts(rest, STR("*")))
        rest = str_sub(rest, 1, rest.n);
    return s.n <= 63 && is_dns_label(rest);
}

int common_check_wildcard_host(struct str s, struct err *err)
{
    struct str rest = s, first;

    if (check_length(s, err))
        return -1;
    if (!str_cut(&rest, '.', &first)) {
        first = s;
        rest = STR_NONE;
    }
    if (str_has(rest, '*') || (first.p[0] == '*' && !is_wildcard_label(first)))
        return err_set(err, ERR_INVALID,
                       "\"%.*s\": only the first label may be a wildcard, as in \"*.example.com\"",
                       STR_ARG(s));
    return is_wildcard_label(first) ? check_labels(rest, s, err) : fail_label(s, err);
}

/* Lower-case letters, digits and '-', with a letter or digit at both ends. */
static bool is_lower_word(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        bool at_end = i == 0 || i == s.n - 1;

        if (!(s.p[i] >= 'a' && s.p[i] <= 'z') && !(s.p[i] >= '0' && s.p[i] <= '9') &&
            (s.p[i] != '-' || at_end))
            return false;
    }
    return s.n > 0;
}

int common_check_label(struct str s, struct err *err)
{
    bool ok = s.n <= 63 && is_lower_word(s);

    return ok ? 0
              : err_set(err, ERR_INVALID,
                        "\"%.*s\" is not a name: 1 to 63 lower-case letters, digits or '-', with a "
                        "letter or digit at "
                        "both ends",
                        STR_ARG(s));
}

int common_check_dns_label(struct str s, struct err *err)
{
    return is_dns_label(s) ? 0
                           : err_set(err, ERR_INVALID,
                                     "\"%.*s\" is not a name: 1 to 63 letters, digits or '-', with a letter or digit "
                                     "at both ends",
                                     STR_ARG(s));
}

/* RFC 1123, as Kubernetes has it: the whole is limited, its labels are not. */
int common_check_name(struct str s, struct err *err)
{
    struct str rest = s, label;
    bool ok = s.n > 0 && s.n <= 253 && s.p[s.n - 1] != '.';

    while (ok && str_next(&rest, '.', &label))
        ok = is_lower_word(label);
    return ok ? 0
              : err_set(err, ERR_INVALID,
                        "\"%.*s\" is not a name: labels of lower-case letters, digits and '-', "
                        "joined by dots, at most "
                        "253 characters",
                        STR_ARG(s));
}

int common_check_ip(struct str s, struct err *err)
{
    struct addr a;

    return addr_parse_ip(s, &a)
               ? 0
               : err_set(err, ERR_INVALID, "\"%.*s\" is not an IP address", STR_ARG(s));
}

/* "unix:///path", "unix://@name" and Istio's other spellings of a socket's address. */
bool common_is_socket_path(struct str s)
{
    struct str path = str_starts(s, STR("unix://")) ? str_sub(s, 7, s.n) : STR_NONE;

    return path.n > 0 && (path.p[0] == '/' || path.p[0] == '@') && path.p[path.n - 1] != '/';
}

int common_check_cidr(struct str s, struct err *err)
{
    struct cidr c;

    return cidr_parse(s, &c)
               ? 0
               : err_set(err, ERR_INVALID,
                         "\"%.*s\" is neither an IP address nor a block such as 10.0.0.0/8",
                         STR_ARG(s));
}

int common_check_export_to(struct str s, struct err *err)
{
    if (str_eq(s, STR(".")) || str_eq(s, STR("*")) || str_eq(s, STR("~")))
        return 0;
    if (common_check_dns_label(s, err))
        return err_set(
            err, ERR_INVALID,
            "\"%.*s\" is neither \".\" (this namespace), \"*\" (all) nor the name of a namespace",
            STR_ARG(s));
    return 0;
}

int common_check_gateway_name(struct str s, struct err *err)
{
    struct str ns, name = s;

    if (str_cut(&name, '/', &ns)) {
        if (common_check_dns_label(ns, err))
            return err_set(err, ERR_INVALID,
                           "\"%.*s\": the part before '/' is not the name of a namespace",
                           STR_ARG(s));
        if (common_check_dns_label(name, err))
            return err_set(err, ERR_INVALID,
                           "\"%.*s\": the part behind '/' is not the name of a Gateway",
                           STR_ARG(s));
        return 0;
    }
    return check_dns(s, err);
}

static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is_alnum(s.p[i]) && !str_has(STR("!#$%&'*+-.^_`|~"), s.p[i]))
            return false;
    }
    return s.n > 0;
}

bool common_is_claim(struct str s)
{
    static const struct str claims = STR_INIT("@request.auth.claims");
    struct str path;

    if (s.n < claims.n || !str_eq_nocase(str_sub(s, 0, claims.n), claims))
        return false;
    path = str_sub(s, claims.n, s.n);
    return str_starts(path, STR(".")) || (path.n > 1 && path.p[0] == '[' && path.p[path.n - 1] == ']');
}

int common_check_header_name(struct str s, struct err *err)
{
    static const struct str pseudo[] = {STR_INIT(":method"), STR_INIT(":scheme"), STR_INIT(":authority"),
                                        STR_INIT(":path"), STR_INIT(":status")};

    if (s.n == 0)
        return err_set(err, ERR_INVALID, "the name of a header is empty");
    if (common_is_claim(s))
        return err_set(err, ERR_UNSUPPORTED, "matching claims of a token (\"%.*s\")", STR_ARG(s));
    for (size_t i = 0; i < COUNT(pseudo); i++) {
        if (str_eq(s, pseudo[i]))
            return 0;
    }
    return is_token(s) ? 0
                       : err_set(err, ERR_INVALID,
                                 "\"%.*s\" is not the name of a header (nor :method, :scheme, "
                                 ":authority, :path)",
                                 STR_ARG(s));
}

int common_check_token(struct str s, struct err *err)
{
    return is_token(s) ? 0
                       : err_set(err, ERR_INVALID, "\"%.*s\" is not the name of a header",
                                 STR_ARG(s));
}

int common_check_word(struct str s, struct err *err)
{
    return s.n ? 0 : err_set(err, ERR_INVALID, "an empty string is not allowed");
}

int common_check_plain_name(struct str s, const char *also, struct err *err)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is_alnum(s.p[i]) && !str_has(str_from(also), s.p[i]))
            return err_set(err, ERR_INVALID,
                           "\"%.*s\" is not a name here: letters, digits and \"%s\"", STR_ARG(s),
                           also);
    }
    return common_check_word(s, err);
}

int common_check_full_host(struct str host, struct err *err)
{
    if (str_eq(host, STR("*")))
        return 0;
    if (common_check_wildcard_host(host, err))
        return -1;
    if (host.p[0] == '*' && !str_starts(host, STR("*.")))
        return err_set(err, ERR_INVALID,
                       "\"%.*s\": a wildcard covers the whole first label, as in \"*.example.com\"",
                       STR_ARG(host));
    if (!str_has(host, '.'))
        return err_set(err, ERR_INVALID,
                       "\"%.*s\" is a short name; the full host name is needed here",
                       STR_ARG(host));
    return 0;
}

/* Letters, digits, '-', '_' and '.', with a letter or digit at both ends. */
static bool is_label_word(struct str s)
{
    if (s.n == 0 || !is_alnum(s.p[0]) || !is_alnum(s.p[s.n - 1]))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_alnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '_' && s.p[i] != '.')
            return false;
    }
    return true;
}

static int fail_label_key(struct str s, struct err *err)
{
    return err_set(err, ERR_INVALID,
                   "\"%.*s\" is not the key of a label: up to 63 letters, digits, '-', '_' or "
                   "'.', perhaps behind "
                   "\"domain/\"",
                   STR_ARG(s));
}

static int fail_label_value(struct str s, struct err *err)
{
    return err_set(err, ERR_INVALID,
                   "\"%.*s\" is not the value of a label: up to 63 "
                   "letters, digits, '-', '_' or '.'",
                   STR_ARG(s));
}

int common_check_label_key(struct str s, struct err *err)
{
    struct str prefix, name = s;
    bool has_prefix = str_cut(&name, '/', &prefix);

    return (has_prefix && common_check_name(prefix, err)) || name.n > 63 || !is_label_word(name) ? fail_label_key(s, err) : 0;
}

int common_check_label_value(struct str s, struct err *err)
{
    return s.n == 0 || (s.n <= 63 && is_label_word(s)) ? 0 : fail_label_value(s, err);
}

static bool is_domain(struct str s)
{
    struct str rest = s, label;
    bool ok = s.n > 0 && s.n <= 253 && s.p[s.n - 1] != '.';

    while (ok && str_next(&rest, '.', &label))
        ok = is_label_word(label) && !str_has(label, '_');
    return ok;
}

int common_check_istio_label(struct str key, struct str value, struct err *err)
{
    struct str prefix, name = key;
    bool has_prefix = str_cut(&name, '/', &prefix);

    if ((has_prefix && !is_domain(prefix)) || name.n > 63 || !is_label_word(name))
        return fail_label_key(key, err);
    return value.n == 0 || is_label_word(value) ? 0 : fail_label_value(value, err);
}

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */

/* What travels as opaque bytes in Istio's sidecars (HTTPS, TLS, databases) does so here. */
const struct field_value common_protocols[] = {
    {"HTTP", 0, FIELD_BUILT, NULL, 0},
    {"TCP", 1, FIELD_BUILT, NULL, 0},
    {"TLS", 2, FIELD_BUILT, NULL, 0},
    {"HTTPS", 3, FIELD_BUILT, NULL, 0},
    {"MONGO", 4, FIELD_BUILT, NULL, 0},
    {"REDIS", 5, FIELD_BUILT, NULL, 0},
    {"MYSQL", 6, FIELD_BUILT, NULL, 0},
    {"HTTP2", 7, FIELD_BUILT, NULL, 0},
    {"GRPC", 8, FIELD_BUILT, NULL, 0},
    {"GRPC-WEB", 9, FIELD_BUILT, NULL, 0},
    {"HTTP_PROXY", 11, FIELD_NOT_YET, NULL, 0},
    {"UDP", 10, FIELD_UNSUPPORTED,
     "the mesh carries TCP only; leave the port out, UDP passes by unchanged", 0},
    {.name = NULL},
};
