#include "mesh/kinds/authorization_policy.h"

#include "mesh/kinds/check.h"
#include "mesh/kinds/kinds.h"

#define DRY_RUN "istio.io/dry-run"

#define ACCOUNTS_MAX 16u

static int check_account(struct str s, struct err *err)
{
    struct str ns, name = s;

    if (str_has(s, '*'))
        return err_set(err, ERR_INVALID, "\"%.*s\": an account has no wildcard", STR_ARG(s));
    if (s.n > 320)
        return err_set(err, ERR_INVALID, "an account has at most 320 bytes");
    if (str_cut(&name, '/', &ns) && (ns.n == 0 || name.n == 0 || str_has(name, '/')))
        return err_set(err, ERR_INVALID, "\"%.*s\" must be ACCOUNT or NAMESPACE/ACCOUNT",
                       STR_ARG(s));
    return 0;
}

static int check_trust_domain(struct str s, struct err *err)
{
    struct str middle = s;

    if (str_has(s, '/'))
        return err_set(err, ERR_INVALID, "\"%.*s\": a trust domain has no '/'", STR_ARG(s));
    if (str_starts(s, STR("*")))
        middle = str_sub(s, 1, s.n);
    else if (str_ends(s, STR("*")))
        middle = str_sub(s, 0, s.n - 1);
    return str_has(middle, '*')
               ? err_set(err, ERR_INVALID, "\"%.*s\": one '*' is allowed, at an end", STR_ARG(s))
               : 0;
}

static int check_port(struct str s, struct err *err)
{
    uint64_t port;

    return str_uint(s, 0, 65535, &port)
               ? 0
               : err_set(err, ERR_INVALID, "\"%.*s\" is not a port from 0 to 65535", STR_ARG(s));
}

/* What a segment of a template may be made of (RFC 3986, pchar without '*'). */
static bool is_literal(struct str segment)
{
    struct err ignored;

    return common_check_plain_name(segment, "-._~%!$&'()+,;:@=", &ignored) == 0;
}

static struct str without_slashes(struct str s)
{
    while (str_starts(s, STR("/")))
        s = str_sub(s, 1, s.n);
    while (str_ends(s, STR("/")))
        s = str_sub(s, 0, s.n - 1);
    return s;
}

/* With {*} or {**} a path is a template: whole segments only, and nothing may vary behind {**}. Other braces mean
 * nothing, in any path. */
static int check_path(struct str s, struct err *err)
{
    struct str rest = without_slashes(s), segment;
    bool is_template, has_rest = false;
    size_t at;

    is_template = str_find(s, STR("{*}"), &at) || str_find(s, STR("{**}"), &at);
    while (str_next(&rest, '/', &segment)) {
        bool one = str_eq(segment, STR("{*}")), many = str_eq(segment, STR("{**}"));

        if ((one || many) && has_rest)
            return err_set(err, ERR_INVALID, "\"%.*s\": {**} must be the last of the operators",
                           STR_ARG(s));
        has_rest = has_rest || many;
        if (one || many)
            continue;
        if (str_has(segment, '{') || str_has(segment, '}'))
            return err_set(err, ERR_INVALID,
                           "\"%.*s\": braces are only for {*} (one segment) and {**} (the rest), which stand for whole "
                           "segments",
                           STR_ARG(s));
        if (is_template && !is_literal(segment))
            return err_set(err, ERR_INVALID,
                           "\"%.*s\": beside {*} and {**} a segment is letters, digits and -._~%%!$&'()+,;:@= alone, and "
                           "not empty",
                           STR_ARG(s));
    }
    return 0;
}

enum condition_value { CONDITION_WORD, CONDITION_IP, CONDITION_PORT, CONDITION_ACCOUNT, CONDITION_DOMAIN, CONDITION_VALUES };

static field_check *const value_checks[CONDITION_VALUES] = {
    [CONDITION_IP] = common_check_cidr,
    [CONDITION_PORT] = check_port,
    [CONDITION_ACCOUNT] = check_account,
    [CONDITION_DOMAIN] = check_trust_domain,
};

/* What a condition may look at. A name that ends in '[' continues with NAME], one that ends in '.' with anything and [NAME]. */
static const struct condition_key {
    struct str name;
    enum condition_value value;
    bool is_peer; /* of the peer's or the token's identity, which CUSTOM does not see */
    bool is_http;
    const char *not_yet; /* NULL: nothing is in the way but the kind itself */
} condition_keys[] = {
    {STR_INIT("request.headers["),             CONDITION_WORD,    false, true,  NULL},
    {STR_INIT("request.auth.principal"),       CONDITION_WORD,    true,  true,  NULL},
    {STR_INIT("request.auth.audiences"),       CONDITION_WORD,    true,  true,  NULL},
    {STR_INIT("request.auth.presenter"),       CONDITION_WORD,    true,  true,  NULL},
    {STR_INIT("request.auth.claims["),         CONDITION_WORD,    true,  true,  NULL},
    {STR_INIT("source.ip"),                    CONDITION_IP,      false, false, NULL},
    {STR_INIT("remote.ip"),                    CONDITION_IP,      false, false, NULL},
    {STR_INIT("source.namespace"),             CONDITION_WORD,    true,  false, NULL},
    {STR_INIT("source.serviceAccount"),        CONDITION_ACCOUNT, true,  false, NULL},
    {STR_INIT("source.principal"),             CONDITION_WORD,    true,  false, NULL},
    {STR_INIT("source.trustDomain"),           CONDITION_DOMAIN,  true,  false, NULL},
    {STR_INIT("destination.ip"),               CONDITION_IP,      false, false, NULL},
    {STR_INIT("destination.port"),             CONDITION_PORT,    false, false, NULL},
    {STR_INIT("connection.sni"),               CONDITION_WORD,    false, false, NULL},
    {STR_INIT("request.experimental.inline.headers["), CONDITION_WORD, false, true, "one of several values in a header"},
    {STR_INIT("experimental.envoy.filters."),  CONDITION_WORD,    false, false, "the metadata of Envoy's filters"},
};

/* Ends with [NAME]. */
static bool has_member(struct str key)
{
    struct str before;

    return str_cut(&key, '[', &before) && key.n > 1 && key.p[key.n - 1] == ']';
}

static const struct condition_key *find_key(struct str key)
{
    for (size_t i = 0; i < COUNT(condition_keys); i++) {
        struct str name = condition_keys[i].name;
        char last = name.p[name.n - 1];

        if (last == '[' || last == '.' ? str_starts(key, name) && has_member(key) : str_eq(key, name))
            return &condition_keys[i];
    }
    return NULL;
}

/* What Istio once had, and what takes its place. */
static const struct {
    struct str name;
    const char *instead;
} former_keys[] = {
    {STR_INIT("destination.labels"),    "use selector"                                        },
    {STR_INIT("destination.namespace"), "a policy is for the namespace that it is in"         },
    {STR_INIT("destination.name"),      "use selector"                                        },
    {STR_INIT("destination.user"),      "use selector"                                        },
};

static int check_condition_key(struct str s, struct err *err)
{
    const struct condition_key *k = find_key(s);

    if (k)
        return k->not_yet ? err_set(err, ERR_UNSUPPORTED, "%s (\"%.*s\")", k->not_yet, STR_ARG(s)) : 0;
    for (size_t i = 0; i < COUNT(former_keys); i++) {
        if (str_starts(s, former_keys[i].name))
            return err_set(err, ERR_INVALID, "\"%.*s\" is no longer an attribute: %s", STR_ARG(s), former_keys[i].instead);
    }
    return err_set(err, ERR_INVALID,
                   "\"%.*s\" is not an attribute; there are request.headers[NAME], "
                   "request.auth.principal, .audiences, .presenter, .claims[NAME], "
                   "source.ip, .namespace, .serviceAccount, .principal, .trustDomain, "
                   "remote.ip, destination.ip, destination.port and connection.sni",
                   STR_ARG(s));
}

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */


static const struct field source_fields[] = {
    {"principals", FIELD_STRINGS, SCHEMA_LIST(authz_source, principals), .check = common_check_word,
     .meaning = "Identities of the peer, TRUSTDOMAIN/ns/NAMESPACE/sa/ACCOUNT; * at either end. Mutual TLS only."},
    {"notPrincipals", FIELD_STRINGS, SCHEMA_LIST(authz_source, not_principals), .check = common_check_word,
     .meaning = "None of these identities of the peer."},
    {"requestPrincipals", FIELD_STRINGS, SCHEMA_LIST(authz_source, request_principals), .check = common_check_word,
     .meaning = "Issuer and subject of the token, ISS/SUB; * is any token. HTTP only."},
    {"notRequestPrincipals", FIELD_STRINGS, SCHEMA_LIST(authz_source, not_request_principals), .check = common_check_word,
     .meaning = "None of these token subjects; * demands that there is no token."},
    {"namespaces", FIELD_STRINGS, SCHEMA_LIST(authz_source, namespaces), .check = common_check_word,
     .meaning = "Namespaces of the peer; * anywhere. Mutual TLS only."},
    {"notNamespaces", FIELD_STRINGS, SCHEMA_LIST(authz_source, not_namespaces), .check = common_check_word,
     .meaning = "None of these namespaces of the peer."},
    {"serviceAccounts", FIELD_STRINGS, SCHEMA_LIST(authz_source, service_accounts), .check = check_account,
     .most = ACCOUNTS_MAX,
     .meaning = "Accounts of the peer, ACCOUNT or NAMESPACE/ACCOUNT. Mutual TLS only."},
    {"notServiceAccounts", FIELD_STRINGS, SCHEMA_LIST(authz_source, not_service_accounts), .check = check_account,
     .most = ACCOUNTS_MAX,
     .meaning = "None of these accounts of the peer."},
    {"ipBlocks", FIELD_STRINGS, SCHEMA_LIST(authz_source, ip_blocks), .check = common_check_cidr,
     .meaning = "Addresses or blocks that the packets are from."},
    {"notIpBlocks", FIELD_STRINGS, SCHEMA_LIST(authz_source, not_ip_blocks), .check = common_check_cidr,
     .meaning = "None of these addresses that packets are from."},
    {"remoteIpBlocks", FIELD_STRINGS, SCHEMA_LIST(authz_source, remote_ip_blocks), .check = common_check_cidr,
     .meaning = "Addresses or blocks of the client behind trusted proxies."},
    {"notRemoteIpBlocks", FIELD_STRINGS, SCHEMA_LIST(authz_source, not_remote_ip_blocks), .check = common_check_cidr,
     .meaning = "None of these client addresses."},
    {"trustDomains", FIELD_STRINGS, SCHEMA_LIST(authz_source, trust_domains), .check = check_trust_domain,
     .meaning = "Trust domains of the peer; * at one end. Mutual TLS only."},
    {"notTrustDomains", FIELD_STRINGS, SCHEMA_LIST(authz_source, not_trust_domains), .check = check_trust_domain,
     .meaning = "None of these trust domains."},
};
static SCHEMA(source_schema, "Source", authz_source, source_fields);

static const struct field from_fields[] = {
    {"source", FIELD_EMBED, SCHEMA_AT(authz_from, source), .message = &source_schema,
     .flags = FIELD_REQUIRED | FIELD_NOT_EMPTY,
     .meaning = "A peer or client; everything given must hold."},
};
static SCHEMA(from_schema, "From", authz_from, from_fields);

static const struct field operation_fields[] = {
    {"hosts", FIELD_STRINGS, SCHEMA_LIST(authz_operation, hosts), .check = common_check_word,
     .meaning = "Hosts that are asked for, without case, with the port if the client sends it. HTTP only."},
    {"notHosts", FIELD_STRINGS, SCHEMA_LIST(authz_operation, not_hosts), .check = common_check_word,
     .meaning = "None of these hosts."},
    {"ports", FIELD_STRINGS, SCHEMA_LIST(authz_operation, ports), .check = check_port,
     .meaning = "Ports of the workload, in quotes."},
    {"notPorts", FIELD_STRINGS, SCHEMA_LIST(authz_operation, not_ports), .check = check_port,
     .meaning = "None of these ports."},
    {"methods", FIELD_STRINGS, SCHEMA_LIST(authz_operation, methods), .check = common_check_word,
     .meaning = "Methods. HTTP only."},
    {"notMethods", FIELD_STRINGS, SCHEMA_LIST(authz_operation, not_methods), .check = common_check_word,
     .meaning = "None of these methods."},
    {"paths", FIELD_STRINGS, SCHEMA_LIST(authz_operation, paths), .check = check_path,
     .meaning = "Paths, without the query; * at either end, {*} for a segment, {**} for the rest. HTTP only."},
    {"notPaths", FIELD_STRINGS, SCHEMA_LIST(authz_operation, not_paths), .check = check_path,
     .meaning = "None of these paths."},
};
static SCHEMA(operation_schema, "Operation", authz_operation, operation_fields);

static const struct field to_fields[] = {
    {"operation", FIELD_EMBED, SCHEMA_AT(authz_to, operation), .message = &operation_schema,
     .flags = FIELD_REQUIRED | FIELD_NOT_EMPTY,
     .meaning = "What is asked for; everything given must hold."},
};
static SCHEMA(to_schema, "To", authz_to, to_fields);

static const struct field when_fields[] = {
    {"key", FIELD_STRING, SCHEMA_AT(authz_condition, key), .flags = FIELD_REQUIRED,
     .check = check_condition_key, .partly = "experimental.envoy.filters.*; request.experimental.inline.headers",
     .meaning = "Attribute that is looked at, such as source.ip or request.headers[NAME]."},
    {"values", FIELD_STRINGS, SCHEMA_LIST(authz_condition, values), .check = common_check_word,
     .meaning = "Values, one of which it must have."},
    {"notValues", FIELD_STRINGS, SCHEMA_LIST(authz_condition, not_values),
     .check = common_check_word, .meaning = "Values, none of which it may have."},
};
static SCHEMA(when_schema, "Condition", authz_condition, when_fields);

static const struct field rule_fields[] = {
    {"from", FIELD_MESSAGES, SCHEMA_LIST(authz_rule, from), .message = &from_schema, .most = 512,
     .flags = FIELD_NOT_EMPTY, .meaning = "Who, alternatives; anyone when not given."},
    {"to", FIELD_MESSAGES, SCHEMA_LIST(authz_rule, to), .message = &to_schema,
     .flags = FIELD_NOT_EMPTY, .meaning = "What, alternatives; anything when not given."},
    {"when", FIELD_MESSAGES, SCHEMA_LIST(authz_rule, when), .message = &when_schema,
     .meaning = "Conditions that must all hold."},
};
static SCHEMA(rule_schema, "Rule", authz_rule, rule_fields);

static const struct field provider_fields[] = {
    {"name", FIELD_STRING, SCHEMA_AT(authz_provider, name), .flags = FIELD_REQUIRED,
     .meaning = "Extension provider of MeshConfig that is asked."},
};
static SCHEMA(provider_schema, "ExtensionProvider", authz_provider, provider_fields);

static const struct field_value action_values[] = {
    SCHEMA_VALUE("ALLOW", AUTHZ_ALLOW),
    SCHEMA_VALUE("DENY", AUTHZ_DENY),
    SCHEMA_VALUE("AUDIT", AUTHZ_AUDIT),
    SCHEMA_VALUE("CUSTOM", AUTHZ_CUSTOM),
    {.name = NULL},
};

static const struct field authorization_policy_fields[] = {
    POLICY_TARGET_ROWS(authorization_policy),
    {"rules", FIELD_MESSAGES, SCHEMA_LIST(authorization_policy, rules), .message = &rule_schema,
     .most = 512, .meaning = "Alternatives; {} matches everything, no rule matches nothing."},
    {"action", FIELD_ENUM, SCHEMA_AT(authorization_policy, action), .values = action_values,
     .meaning = "What happens on a match; CUSTOM is asked first, then DENY, then ALLOW."},
    {"provider", FIELD_MESSAGE, SCHEMA_AT(authorization_policy, provider),
     .message = &provider_schema, .meaning = "Who decides; with CUSTOM only, and required there."},
};
SCHEMA(authorization_policy_schema, "AuthorizationPolicy", authorization_policy,
       authorization_policy_fields);

/* clang-format on */

/* ---- checks ---- */

static bool names_peer(const struct authz_source *s)
{
    return s->principals_count || s->not_principals_count || s->namespaces_count ||
           s->not_namespaces_count;
}

/* Is any of these members written, be it empty? */
static bool gives_any(const struct node *message, const char *const *names)
{
    for (size_t i = 0; names[i]; i++) {
        if (check_given(message, names[i]))
            return true;
    }
    return false;
}

/* Something is written, and every list of it is empty. (An empty message itself is reported by its row.) */
static bool is_void(const struct node *message)
{
    for (const struct node *n = message ? message->first : NULL; n; n = n->next) {
        if (n->kind != NODE_NULL && (n->kind != NODE_LIST || n->count))
            return false;
    }
    return message && message->count;
}

static void check_source(const struct check *c, const struct authorization_policy *p,
                         const struct authz_source *s)
{
    static const char *const account_rows[] = {"serviceAccounts", "notServiceAccounts", NULL};
    static const char *const peer_rows[] = {"principals", "notPrincipals", "namespaces", "notNamespaces", NULL};

    if (is_void(s->node))
        FAIL(c, s->node, FIND_REQUIRED, "source says nothing; name principals, namespaces, ipBlocks, ...");
    if (gives_any(s->node, account_rows) && gives_any(s->node, peer_rows))
        FAIL(c, s->node, FIND_ONEOF, "serviceAccounts excludes principals and namespaces");
    if (p->action == AUTHZ_CUSTOM &&
        (s->service_accounts_count || s->not_service_accounts_count || names_peer(s) || s->request_principals_count ||
         s->not_request_principals_count || s->trust_domains_count || s->not_trust_domains_count))
        FAIL(c, s->node, FIND_VALUE,
             "action CUSTOM does not know the identity of the peer: only ipBlocks and "
             "remoteIpBlocks can be given");
}

static void check_operation(const struct check *c, const struct authz_operation *o)
{
    if (is_void(o->node))
        FAIL(c, o->node, FIND_REQUIRED, "operation says nothing; name hosts, ports, methods or paths");
}

static void check_values(const struct check *c, const struct authz_condition *w, const char *name,
                         const struct str *values, size_t count, enum condition_value value)
{
    struct err err;

    if (value == CONDITION_ACCOUNT && count > ACCOUNTS_MAX)
        FAIL(c, check_member(w->node, name), FIND_VALUE, "%s has at most %u accounts, not %zu", name, ACCOUNTS_MAX, count);
    for (size_t i = 0; value_checks[value] && i < count; i++) {
        if (values[i].n && value_checks[value](values[i], &err))
            FAIL(c, check_element(w->node, name, i), FIND_VALUE, "%s", err.text);
    }
}

static void check_condition(const struct check *c, const struct authorization_policy *p,
                            const struct authz_condition *w)
{
    const struct condition_key *k = find_key(w->key);

    if (!w->values_count && !w->not_values_count)
        FAIL(c, w->node, FIND_REQUIRED, "values or notValues is required");
    if (!k)
        return;
    if (p->action == AUTHZ_CUSTOM && k->is_peer)
        FAIL(c, check_member(w->node, "key"), FIND_VALUE,
             "action CUSTOM does not know the identity of the peer: \"%.*s\" cannot be looked at",
             STR_ARG(w->key));
    check_values(c, w, "values", w->values, w->values_count, k->value);
    check_values(c, w, "notValues", w->not_values, w->not_values_count, k->value);
}

static bool is_http_rule(const struct authz_rule *r)
{
    bool http = false;

    for (size_t i = 0; i < r->from_count; i++)
        http = http || r->from[i].source.request_principals_count ||
               r->from[i].source.not_request_principals_count;
    for (size_t i = 0; i < r->to_count; i++) {
        const struct authz_operation *o = &r->to[i].operation;

        http = http || o->hosts_count || o->not_hosts_count || o->methods_count ||
               o->not_methods_count || o->paths_count || o->not_paths_count;
    }
    for (size_t i = 0; i < r->when_count; i++) {
        const struct condition_key *k = find_key(r->when[i].key);

        http = http || (k && k->is_http);
    }
    return http;
}

static bool names_ports(const struct authz_rule *r)
{
    for (size_t i = 0; i < r->to_count; i++) {
        if (r->to[i].operation.ports_count || r->to[i].operation.not_ports_count)
            return true;
    }
    return false;
}

static bool labels_has(const struct labels *l, struct str key)
{
    for (size_t i = 0; i < l->count; i++) {
        if (str_eq(l->items[i].key, key))
            return true;
    }
    return false;
}

static void check_dry_run(const struct check *c, const struct authorization_policy *p)
{
    static const struct str switches[] = {STR_INIT("true"), STR_INIT("false"), STR_INIT("1"),
                                          STR_INIT("0"),    STR_INIT("t"),     STR_INIT("f"),
                                          STR_INIT("T"),    STR_INIT("F"),     STR_INIT("TRUE"),
                                          STR_INIT("FALSE"), STR_INIT("True"), STR_INIT("False")};
    struct str value = labels_get(&c->m->annotations, STR(DRY_RUN));
    bool known = false;

    if (!labels_has(&c->m->annotations, STR(DRY_RUN)))
        return;
    for (size_t i = 0; i < COUNT(switches); i++)
        known = known || str_eq(value, switches[i]);
    if (!known)
        FAIL(c, NULL, FIND_VALUE, "annotation " DRY_RUN " is true or false, not \"%.*s\"", STR_ARG(value));
    if (p->action != AUTHZ_ALLOW && p->action != AUTHZ_DENY)
        FAIL(c, NULL, FIND_VALUE, "annotation " DRY_RUN " is for action ALLOW and DENY only");
}

static void check_action(const struct check *c, const struct authorization_policy *p)
{
    if (p->action == AUTHZ_CUSTOM && !p->provider)
        FAIL(c, p->node, FIND_REQUIRED, "action CUSTOM needs provider.name");
    if (p->action != AUTHZ_CUSTOM && p->provider)
        FAIL(c, p->provider->node, FIND_VALUE, "provider is for action CUSTOM only");
    if ((p->action == AUTHZ_DENY || p->action == AUTHZ_CUSTOM) && !p->rules_count &&
        check_absent(p->node, "rules"))
        FAIL(c, p->node, FIND_REQUIRED,
             "rules is required: without any this would never apply; rules: [{}] is everything");
}

void authorization_policy_validate(const struct check *c, const void *spec)
{
    const struct authorization_policy *p = spec;

    check_target(c, &p->target);
    check_action(c, p);
    check_dry_run(c, p);
    for (size_t i = 0; i < p->rules_count; i++) {
        const struct authz_rule *r = &p->rules[i];

        for (size_t j = 0; j < r->from_count; j++)
            check_source(c, p, &r->from[j].source);
        for (size_t j = 0; j < r->to_count; j++)
            check_operation(c, &r->to[j].operation);
        for (size_t j = 0; j < r->when_count; j++)
            check_condition(c, p, &r->when[j]);
        if (p->action == AUTHZ_DENY && is_http_rule(r) && !names_ports(r))
            WARN(c, r->node,
                 "what is about HTTP is left out on TCP ports, so this rule closes them: name ports");
    }
}
