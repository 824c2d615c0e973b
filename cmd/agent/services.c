/* services.d/NAME.ini becomes local services.
 *
 *     [service reviews]
 *     port = 9080              where the application listens; captured
 *     service_port = 80        what clients address (default: port)
 *     protocol = http          http, tcp, ... (default: found out from the first bytes)
 *     version = v2             label version
 *     label.tier = backend     further labels; app defaults to the name
 *     address = 127.0.0.1      where the application is bound (default: the host's address)
 *     namespace = default
 *     account = reviews        of its identity (default: the name)
 *
 *     [gateway edge]           no application: opens the ports of Gateways whose selector matches
 *     label.istio = ingressgateway
 */
#include <stdio.h>
#include <string.h>

#include "cmd/agent/agent.h"
#include "cmd/agent/capture.h"
#include "mesh/base/file.h"
#include "mesh/base/ini.h"
#include "mesh/base/limits.h"
#include "mesh/identity.h"
#include "mesh/kinds/common.h"

#define FILE_BYTES (256u << 10)

struct reading {
    struct arena *arena;
    struct findings *findings;
    const struct agent_settings *settings;
    const struct addr *host;
    struct str file;
    struct local_service *services;
    size_t count;
};

PRINTF_LIKE(4, 5)
static void problem(struct reading *r, enum finding_code code, unsigned line, const char *fmt, ...)
{
    struct finding *f;
    struct buf text;
    va_list ap;

    buf_init(&text, ERR_TEXT_MAX);
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    f = findings_add(r->findings, code, SEVERITY_ERROR, "%.*s", STR_ARG(buf_str(&text)));
    f->file = r->file;
    f->line = line;
    buf_done(&text);
}

static uint16_t read_port(struct reading *r, const struct node *n)
{
    uint64_t value;

    if (str_uint(n->text, 1, 65535, &value))
        return (uint16_t)value;
    problem(r, FIND_VALUE, n->line, "\"%.*s\" is not a port between 1 and 65535", STR_ARG(n->text));
    return 0;
}

static void add_label(struct reading *r, struct local_service *s, struct str key, struct str value)
{
    struct label *items = ARENA_ARRAY(r->arena, s->labels.count + 1, struct label);

    for (size_t i = 0; i < s->labels.count; i++)
        items[i] = s->labels.items[i];
    items[s->labels.count] = (struct label){key, value};
    s->labels.items = items;
    s->labels.count++;
}

/* Labels are held to the syntax of those that selectors name. */
static void read_label(struct reading *r, struct local_service *s, struct str key,
                       const struct node *n)
{
    struct err err;

    if (common_check_label_key(key, &err) || common_check_label_value(n->text, &err))
        problem(r, FIND_VALUE, n->line, "%s", err.text);
    else
        add_label(r, s, key, n->text);
}

static void read_protocol(struct reading *r, struct local_service *s, const struct node *n)
{
    const struct field_value *v = schema_value(common_protocols, n->text, true);

    s->protocol = n->text;
    if (!v)
        problem(r, FIND_VALUE, n->line, "protocol \"%.*s\" is not one of %.*s", STR_ARG(n->text),
                STR_ARG(schema_values(common_protocols, r->arena)));
    else if (v->status == FIELD_NOT_YET)
        problem(r, FIND_NOT_YET, n->line, "protocol %.*s is not supported yet", STR_ARG(n->text));
    else if (v->status == FIELD_UNSUPPORTED)
        problem(r, FIND_UNSUPPORTED, n->line, "protocol %.*s: %s", STR_ARG(n->text), v->reason);
}

static void read_key(struct reading *r, struct local_service *s, const struct node *n)
{
    static const struct {
        const char *name;
        const char *why;
    } later[] = {
        {"run_as", "run_as is not supported yet: callers of this host share one identity"},
        {"unit",   "unit is not supported yet: callers of this host share one identity"  },
        {"check",  "check (health checks) is not supported yet"                          }
    };
    struct addr ip;

    if (str_eq(n->key, STR("port"))) {
        s->port = read_port(r, n);
    } else if (str_eq(n->key, STR("service_port"))) {
        s->service_port = read_port(r, n);
    } else if (str_eq(n->key, STR("protocol"))) {
        read_protocol(r, s, n);
    } else if (str_eq(n->key, STR("version"))) {
        read_label(r, s, STR("version"), n);
    } else if (str_starts(n->key, STR("label."))) {
        read_label(r, s, str_sub(n->key, strlen("label."), n->key.n), n);
    } else if (str_eq(n->key, STR("address"))) {
        if (addr_parse_ip(n->text, &ip))
            s->app = ip;
        else
            problem(r, FIND_VALUE, n->line, "address \"%.*s\" is not an IP address",
                    STR_ARG(n->text));
    } else if (str_eq(n->key, STR("namespace"))) {
        s->ns = n->text;
        if (!identity_label_ok(n->text))
            problem(r, FIND_VALUE, n->line, "namespace \"%.*s\" is not a DNS label",
                    STR_ARG(n->text));
    } else if (str_eq(n->key, STR("account"))) {
        s->account = n->text;
        if (!identity_label_ok(n->text))
            problem(r, FIND_VALUE, n->line, "account \"%.*s\" is not a DNS label",
                    STR_ARG(n->text));
    } else {
        for (size_t i = 0; i < COUNT(later); i++) {
            if (str_eq(n->key, str_from(later[i].name))) {
                problem(r, FIND_NOT_YET, n->key_line, "%s", later[i].why);
                return;
            }
        }
        problem(r, FIND_UNKNOWN_FIELD, n->key_line, "unknown key \"%.*s\"", STR_ARG(n->key));
    }
}

static bool is_own_port(const struct agent_settings *s, uint16_t port)
{
    if (s->dns && port >= s->dns_port && port < s->dns_port + CAPTURE_DNS_MAX)
        return true; /* one for each nameserver */
    return port == s->outbound.port || port == s->inbound.port || port == s->admin.port ||
           port == s->metrics.port || port == s->health.port;
}

/* What holds between keys, and between services. */
static void check(struct reading *r, struct local_service *s, unsigned line)
{
    if (!identity_label_ok(s->name))
        problem(r, FIND_VALUE, line,
                "\"%.*s\" is not a service name: lower case letters, digits and '-'",
                STR_ARG(s->name));
    if (s->is_gateway)
        return;
    if (s->port == 0)
        problem(r, FIND_REQUIRED, line, "service %.*s needs a port", STR_ARG(s->name));
    if (s->port == 22)
        problem(r, FIND_VALUE, line,
                "service %.*s: port 22 is never captured; SSH must stay reachable",
                STR_ARG(s->name));
    if (is_own_port(r->settings, s->port))
        problem(r, FIND_CONFLICT, line, "service %.*s: this port belongs to the agent itself",
                STR_ARG(s->name));
    for (size_t i = 0; i < r->count; i++) {
        const struct local_service *o = &r->services[i];

        if (str_eq(o->name, s->name) && str_eq(o->ns, s->ns))
            problem(r, FIND_DUPLICATE, line, "service %.*s is defined twice", STR_ARG(s->name));
        else if (s->port && o->port == s->port)
            problem(r, FIND_CONFLICT, line, "service %.*s: its port is another service's already",
                    STR_ARG(s->name));
    }
}

static void read_section(struct reading *r, const struct ini_section *sec)
{
    struct local_service s = {
        .ns = STR("default"), .name = sec->name, .is_gateway = str_eq(sec->type, STR("gateway"))};

    if (!s.is_gateway && !str_eq(sec->type, STR("service"))) {
        problem(r, FIND_UNKNOWN_FIELD, sec->line,
                "unknown section [%.*s NAME]; write [service NAME] or [gateway NAME]",
                STR_ARG(sec->type));
        return;
    }
    for (const struct node *n = sec->values->first; n; n = n->next)
        read_key(r, &s, n);
    if (!s.account.n)
        s.account = s.name;
    if (!s.service_port)
        s.service_port = s.port;
    if (labels_get(&s.labels, STR("app")).n == 0)
        add_label(r, &s, STR("app"), s.name);
    if (!s.app.family)
        s.app = *r->host;
    s.app.port = s.port;
    if (r->count == LIMIT_SERVICES_PER_HOST) {
        problem(r, FIND_LIMIT, sec->line,
                "too many services on this host: %.*s is one more than 256", STR_ARG(s.name));
        return;
    }
    check(r, &s, sec->line);
    r->services[r->count++] = s;
}

static void read_file(struct reading *r, const char *dir, const char *name)
{
    struct str path = arena_printf(r->arena, "%s/%s", dir, name);
    struct ini_section *sections = NULL;
    struct buf text;
    struct err err;

    r->file = path;
    buf_init(&text, FILE_BYTES);
    if (file_read(path.p, &text, &err))
        problem(r, FIND_PARSE, 0, "%s", err.text);
    else if (ini_read(arena_str(r->arena, buf_str(&text)), path, r->arena, &sections,
                      r->findings) == 0)
        for (const struct ini_section *s = sections; s; s = s->next)
            read_section(r, s);
    buf_done(&text);
}

int services_read(const char *config_dir, const struct agent_settings *settings,
                  const struct addr *host, struct arena *a, struct local_service **out,
                  size_t *count, struct findings *f)
{
    static const char *const suffixes[] = {".ini", NULL};
    struct reading r = {.arena = a, .findings = f, .settings = settings, .host = host};
    struct str dir = arena_printf(a, "%s/services.d", config_dir);
    size_t before = f->errors, names_count = 0;
    char **names = NULL;
    struct err err;

    r.services = ARENA_ARRAY(a, LIMIT_SERVICES_PER_HOST, struct local_service);
    if (file_exists(dir.p)) {
        if (file_list(dir.p, suffixes, &names, &names_count, &err))
            problem(&r, FIND_PARSE, 0, "%s", err.text);
        for (size_t i = 0; i < names_count; i++)
            read_file(&r, dir.p, names[i]);
        file_list_free(names, names_count);
    }
    *out = r.services;
    *count = r.count;
    return f->errors == before ? 0 : -1;
}
