/* services.d/NAME.ini becomes local services; the rows below say what each key means.
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
#include "cmd/agent/agent.h"
#include "cmd/agent/capture.h"
#include "mesh/base/file.h"
#include "mesh/base/limits.h"
#include "mesh/identity.h"
#include "mesh/kinds/common.h"
#include "mesh/settings.h"

#define FILE_BYTES (256u << 10)

/* A section as it is written. */
struct service_settings {
    const struct node *node;
    uint16_t port, service_port;
    struct str protocol, version, ns, account;
    struct labels labels;
    struct addr address;
    struct str run_as, unit, check; /* not yet */
};

static int check_dns_label(struct str s, struct err *err)
{
    return identity_label_ok(s)
               ? 0
               : err_set(err, ERR_INVALID, "\"%.*s\" is not a DNS label", STR_ARG(s));
}

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */
#define COMMON_ROWS                                                                                \
    {"version", FIELD_STRING, SCHEMA_AT(service_settings, version),                                \
     .check = common_check_label_value, .meaning = "Label version."},                              \
    {"label", FIELD_LABELS, SCHEMA_AT(service_settings, labels),                                   \
     .meaning = "Further labels, as label.KEY; label.app is the name."},                           \
    {"namespace", FIELD_STRING, SCHEMA_AT(service_settings, ns), SCHEMA_DEFAULT("default"),        \
     .check = check_dns_label, .meaning = "Namespace of the service."},                            \
    {"account", FIELD_STRING, SCHEMA_AT(service_settings, account), .check = check_dns_label,      \
     .meaning = "Account of its identity; without it the name."}

static const struct field service_rows[] = {
    {"port", FIELD_PORT, SCHEMA_AT(service_settings, port), .flags = FIELD_REQUIRED,
     .meaning = "Where the application listens; this port is captured."},
    {"service_port", FIELD_PORT, SCHEMA_AT(service_settings, service_port),
     .meaning = "What clients address; without it port."},
    {"protocol", FIELD_WORD, SCHEMA_AT(service_settings, protocol), .values = common_protocols,
     .meaning = "What the application speaks; without it found out from the first bytes."},
    COMMON_ROWS,
    {"address", FIELD_IP, SCHEMA_AT(service_settings, address),
     .meaning = "IP where the application is bound; without it the host's."},
    {"run_as", FIELD_STRING, SCHEMA_AT(service_settings, run_as), SCHEMA_NOT_YET,
     .reason = "callers of this host share one identity",
     .meaning = "User whose connections have the service's identity."},
    {"unit", FIELD_STRING, SCHEMA_AT(service_settings, unit), SCHEMA_NOT_YET,
     .reason = "callers of this host share one identity",
     .meaning = "Systemd unit whose connections have the service's identity."},
    {"check", FIELD_STRING, SCHEMA_AT(service_settings, check), SCHEMA_NOT_YET,
     .reason = "health checks are not built", .meaning = "Health check."},
};

static const struct field gateway_rows[] = {COMMON_ROWS};
/* clang-format on */

static SCHEMA(service_schema, "[service]", service_settings, service_rows);
static SCHEMA(gateway_schema, "[gateway]", service_settings, gateway_rows);

static const struct settings_type types[] = {
    {"service", &service_schema, true},
    {"gateway", &gateway_schema, true},
};

struct reading {
    struct arena *arena;
    struct findings *findings;
    const struct agent_settings *settings;
    const struct addr *host;
    struct str file;
    struct local_service *services;
    size_t count;
};

static void add_label(struct reading *r, struct local_service *s, struct str key, struct str value)
{
    struct label *items = ARENA_ARRAY(r->arena, s->labels.count + 1, struct label);

    for (size_t i = 0; i < s->labels.count; i++)
        items[i] = s->labels.items[i];
    items[s->labels.count] = (struct label){key, value};
    s->labels.items = items;
    s->labels.count++;
}

static bool is_own_port(const struct agent_settings *s, uint16_t port)
{
    if (s->dns && port >= s->dns_port && port < s->dns_port + CAPTURE_DNS_MAX)
        return true; /* one for each nameserver */
    return port == s->outbound.port || port == s->inbound.port || port == s->admin.port ||
           port == s->metrics.port || port == s->health.port;
}

/* What holds between keys, and between services. */
static void check(struct reading *r, const struct local_service *s,
                  const struct settings_section *at)
{
    struct findings *f = r->findings;

    if (s->name.n && !identity_label_ok(s->name)) /* none was reported before */
        settings_report(f, r->file, at, NULL, FIND_VALUE,
                        "\"%.*s\" is not a service name: lower case letters, digits and '-'",
                        STR_ARG(s->name));
    if (s->is_gateway)
        return;
    if (s->port == 22)
        settings_report(f, r->file, at, "port", FIND_VALUE,
                        "service %.*s: port 22 is never captured; SSH must stay reachable",
                        STR_ARG(s->name));
    if (is_own_port(r->settings, s->port))
        settings_report(f, r->file, at, "port", FIND_CONFLICT,
                        "service %.*s: this port belongs to the agent itself", STR_ARG(s->name));
    for (size_t i = 0; i < r->count; i++) {
        const struct local_service *o = &r->services[i];

        if (str_eq(o->name, s->name) && str_eq(o->ns, s->ns))
            settings_report(f, r->file, at, NULL, FIND_DUPLICATE, "service %.*s is defined twice",
                            STR_ARG(s->name));
        else if (s->port && o->port == s->port)
            settings_report(f, r->file, at, "port", FIND_CONFLICT,
                            "service %.*s: its port is another service's already",
                            STR_ARG(s->name));
    }
}

/* Hosts compare protocols as they are registered: in one case. */
static struct str lower(struct arena *a, struct str s)
{
    char *p = arena_alloc(a, s.n + 1);

    for (size_t i = 0; i < s.n; i++)
        p[i] = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] + 32 : s.p[i]);
    return (struct str){p, s.n};
}

static void read_section(struct reading *r, const struct settings_section *at)
{
    const struct service_settings *w = at->values;
    struct local_service s = {.ns = w->ns,
                              .name = at->name,
                              .account = w->account.n ? w->account : at->name,
                              .port = w->port,
                              .service_port = w->service_port ? w->service_port : w->port,
                              .protocol = lower(r->arena, w->protocol),
                              .labels = w->labels,
                              .app = w->address.family ? w->address : *r->host,
                              .is_gateway = at->type->schema == &gateway_schema};

    s.app.port = s.port;
    if (w->version.n && labels_get(&s.labels, STR("version")).n)
        settings_report(r->findings, r->file, at, "version", FIND_DUPLICATE_KEY,
                        "version and label.version are the same label");
    else if (w->version.n)
        add_label(r, &s, STR("version"), w->version);
    if (labels_get(&s.labels, STR("app")).n == 0)
        add_label(r, &s, STR("app"), s.name);
    if (r->count == LIMIT_SERVICES_PER_HOST) {
        settings_report(r->findings, r->file, at, NULL, FIND_LIMIT,
                        "too many services on this host: %.*s is one more than 256",
                        STR_ARG(s.name));
        return;
    }
    check(r, &s, at);
    r->services[r->count++] = s;
}

static struct finding *fail_file(struct reading *r, struct str file, const struct err *err)
{
    struct finding *x = findings_add(r->findings, FIND_PARSE, SEVERITY_ERROR, "%s", err->text);

    x->file = file;
    return x;
}

static void read_file(struct reading *r, const char *dir, const char *name)
{
    struct settings_section *sections = NULL;
    struct buf text;
    struct err err;

    r->file = arena_printf(r->arena, "%s/%s", dir, name);
    buf_init(&text, FILE_BYTES);
    if (file_read(r->file.p, &text, &err))
        fail_file(r, r->file, &err);
    else if (settings_parse(buf_str(&text), r->file, types, COUNT(types), r->arena, &sections,
                            r->findings) == 0 ||
             sections) /* all problems at once */
        for (const struct settings_section *s = sections; s; s = s->next)
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
            fail_file(&r, dir, &err);
        for (size_t i = 0; i < names_count; i++)
            read_file(&r, dir.p, names[i]);
        file_list_free(names, names_count);
    }
    *out = r.services;
    *count = r.count;
    return f->errors == before ? 0 : -1;
}
