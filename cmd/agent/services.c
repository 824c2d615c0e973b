/* services.d/NAME.ini becomes what stands on this host: services, gateways and listeners. The rows below say what each
 * key means.
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
 *
 *     [listener reviews]       for callers of this host, where nothing is captured
 *     bind = 127.0.0.1:9080
 *     service = reviews:9080   without it: HTTP to every service, by the Host header
 */
#include "cmd/agent/agent.h"
#include "cmd/agent/capture.h"
#include "cmd/manual.h"
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
    bool proxy_protocol;
    struct labels labels;
    struct addr address, listen;
    struct str run_as, unit, check; /* not yet */
};

struct listener_settings {
    const struct node *node;
    struct addr bind;
    struct str service, protocol;
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
    {"port", FIELD_PORT, SCHEMA_AT(service_settings, port),
     .meaning = "Where the application listens; captured, unless listen is given (which is its default)."},
    {"service_port", FIELD_PORT, SCHEMA_AT(service_settings, service_port),
     .meaning = "What clients address; without it port."},
    {"protocol", FIELD_WORD, SCHEMA_AT(service_settings, protocol), .values = common_protocols,
     .meaning = "What the application speaks; without it found out from the first bytes."},
    COMMON_ROWS,
    {"address", FIELD_IP, SCHEMA_AT(service_settings, address),
     .meaning = "IP where the application is bound; without it the host's."},
    {"listen", FIELD_ADDRESS, SCHEMA_AT(service_settings, listen),
     .meaning = "The agent listens here itself and nothing is captured; peers connect to it, and address is 127.0.0.1 by default."},
    {"run_as", FIELD_STRING, SCHEMA_AT(service_settings, run_as), SCHEMA_NOT_YET,
     .reason = "callers of this host share one identity",
     .meaning = "User whose connections have the service's identity."},
    {"unit", FIELD_STRING, SCHEMA_AT(service_settings, unit), SCHEMA_NOT_YET,
     .reason = "callers of this host share one identity",
     .meaning = "Systemd unit whose connections have the service's identity."},
    {"check", FIELD_STRING, SCHEMA_AT(service_settings, check), SCHEMA_NOT_YET,
     .reason = "health checks are not built", .meaning = "Health check."},
};

static const struct field gateway_rows[] = {
    COMMON_ROWS,
    {"proxy_protocol", FIELD_BOOL, SCHEMA_AT(service_settings, proxy_protocol),
     .meaning = "Whether connections begin with a header of the PROXY protocol (1 or 2), as from a balancer. Those that do not are refused."},
};

static const struct field listener_rows[] = {
    {"bind", FIELD_ADDRESS, SCHEMA_AT(listener_settings, bind), .flags = FIELD_REQUIRED,
     .meaning = "Where callers of this host connect to."},
    {"service", FIELD_STRING, SCHEMA_AT(listener_settings, service),
     .meaning = "HOST or HOST:PORT of a service; without it HTTP to every service, by the Host header."},
    {"protocol", FIELD_STRING, SCHEMA_AT(listener_settings, protocol),
     .meaning = "http, the only one that can be told apart without service."},
};
/* clang-format on */

static SCHEMA(service_schema, "[service]", service_settings, service_rows);
static SCHEMA(gateway_schema, "[gateway]", service_settings, gateway_rows);

static SCHEMA(listener_schema, "[listener]", listener_settings, listener_rows);

static const struct settings_type types[] = {
    {"service", &service_schema, true, "An application on this host, NAME to its callers."},
    {"gateway", &gateway_schema, true,
     "No application: it opens the ports of the Gateways whose selector matches its labels."},
    {"listener", &listener_schema, true,
     "An address for callers of this host, where nothing may be captured."},
};

const struct settings_file services_ini = {
    "weft-services.d",
    "/etc/weft/services.d/NAME.ini",
    "what runs on this host, as the weft agent is told",
    "The agent reads every file of the folder that ends in .ini at start and on SIGHUP (systemctl "
    "reload\nweft-agent). At start a mistake ends it; later it keeps what ran.\n\n"
    "  [service reviews]\n  port = 9080\n  protocol = http\n  version = v1",
    types,
    COUNT(types),
};

struct reading {
    struct arena *arena;
    struct findings *findings;
    const struct agent_settings *settings;
    const struct addr *host;
    struct str file;
    struct local_set *out;
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

#define REPORT(r, at, key, code, ...)                                                              \
    settings_report((r)->findings, (r)->file, (at), (key), (code), __VA_ARGS__)

/* A port of ours, or SSH's, is no place for anything else. */
static void check_port(struct reading *r, const struct settings_section *at, const char *key,
                       uint16_t port)
{
    if (port == 22)
        REPORT(r, at, key, FIND_VALUE, "%s %.*s: port 22 is never captured; SSH must stay reachable",
               at->type->name, STR_ARG(at->name));
    if (is_own_port(r->settings, port))
        REPORT(r, at, key, FIND_CONFLICT, "%s %.*s: this port belongs to the agent itself",
               at->type->name, STR_ARG(at->name));
}

static bool overlaps(const struct addr *a, const struct addr *b)
{
    return a->port == b->port && (addr_is_any(a) || addr_is_any(b) || addr_eq(a, b));
}

/* Nobody has this address yet, and no application is there either. */
static void check_bind(struct reading *r, const struct settings_section *at, const char *key,
                       const struct addr *addr)
{
    const struct local_set *set = r->out;

    for (size_t i = 0; i < set->service_count; i++) {
        const struct local_service *o = &set->services[i];

        if ((o->listen.family && overlaps(&o->listen, addr)) ||
            (!o->is_gateway && overlaps(&o->app, addr)))
            REPORT(r, at, key, FIND_CONFLICT, "%s %.*s: service %.*s is at this address already",
                   at->type->name, STR_ARG(at->name), STR_ARG(o->name));
    }
    for (size_t i = 0; i < set->listener_count; i++) {
        if (overlaps(&set->listeners[i].bind, addr))
            REPORT(r, at, key, FIND_CONFLICT, "%s %.*s: listener %.*s has this address already",
                   at->type->name, STR_ARG(at->name), STR_ARG(set->listeners[i].name));
    }
}

static void check_listen(struct reading *r, const struct settings_section *at,
                         const struct local_service *s)
{
    if (overlaps(&s->listen, &s->app))
        REPORT(r, at, "listen", FIND_CONFLICT,
               "service %.*s: listen is the application's own address: give the application another "
               "port or bind it to 127.0.0.1",
               STR_ARG(s->name));
    if (addr_is_loopback(&s->listen) && !r->settings->standalone_dir)
        REPORT(r, at, "listen", FIND_VALUE,
               "service %.*s: no other host can reach what listens on a loopback address",
               STR_ARG(s->name));
    check_bind(r, at, "listen", &s->listen);
}

/* What holds between keys, and between services. */
static void check(struct reading *r, const struct local_service *s,
                  const struct settings_section *at)
{
    const char *key = s->listen.family ? "listen" : "port";

    if (s->name.n && !identity_label_ok(s->name)) /* none was reported before */
        REPORT(r, at, NULL, FIND_VALUE,
               "\"%.*s\" is not a service name: lower case letters, digits and '-'",
               STR_ARG(s->name));
    if (s->is_gateway)
        return;
    if (s->port == 0 && !node_get(((const struct service_settings *)at->values)->node, STR("port")))
        REPORT(r, at, NULL, FIND_REQUIRED, "service %.*s: port is required, or listen", STR_ARG(s->name));
    check_port(r, at, key, s->port);
    if (s->listen.family)
        check_listen(r, at, s);
    for (size_t i = 0; i < r->out->service_count; i++) {
        const struct local_service *o = &r->out->services[i];

        if (str_eq(o->name, s->name) && str_eq(o->ns, s->ns))
            REPORT(r, at, NULL, FIND_DUPLICATE, "service %.*s is defined twice", STR_ARG(s->name));
        else if (s->port && o->port == s->port)
            REPORT(r, at, key, FIND_CONFLICT, "service %.*s: its port is another service's already",
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

/* Where peers come in, and where the application is. */
static void place(struct reading *r, struct local_service *s)
{
    uint16_t app = s->port ? s->port : s->listen.port;

    if (s->listen.family) {
        if (!s->app.family)
            s->app = (struct addr){.family = 4, .ip = {127, 0, 0, 1}};
        s->port = s->listen.port;
    } else if (!s->app.family) {
        s->app = *r->host;
    }
    s->app.port = app;
    if (!s->service_port)
        s->service_port = s->port;
}

static void read_service(struct reading *r, const struct settings_section *at)
{
    const struct service_settings *w = at->values;
    struct local_service s = {.ns = w->ns,
                              .name = at->name,
                              .account = w->account.n ? w->account : at->name,
                              .port = w->port,
                              .service_port = w->service_port,
                              .protocol = lower(r->arena, w->protocol),
                              .labels = w->labels,
                              .app = w->address,
                              .listen = w->listen,
                              .locality = r->settings->locality,
                              .is_gateway = at->type->schema == &gateway_schema,
                              .takes_proxy_header = w->proxy_protocol};

    place(r, &s);
    if (w->version.n && labels_get(&s.labels, STR("version")).n)
        REPORT(r, at, "version", FIND_DUPLICATE_KEY,
               "version and label.version are the same label");
    else if (w->version.n)
        add_label(r, &s, STR("version"), w->version);
    if (labels_get(&s.labels, STR("app")).n == 0)
        add_label(r, &s, STR("app"), s.name);
    if (r->out->service_count == LIMIT_SERVICES_PER_HOST) {
        REPORT(r, at, NULL, FIND_LIMIT,
               "too many services on this host: %.*s is one more than 256", STR_ARG(s.name));
        return;
    }
    check(r, &s, at);
    r->out->services[r->out->service_count++] = s;
}

/* HOST or HOST:PORT. */
static void read_target(struct reading *r, const struct settings_section *at, struct str text,
                        struct local_listener *l)
{
    struct str host = text, port;
    size_t colon = text.n;
    uint64_t value;
    struct err err;

    while (colon > 0 && text.p[colon - 1] != ':')
        colon--;
    if (colon > 0) {
        host = str_sub(text, 0, colon - 1);
        port = str_sub(text, colon, text.n);
        if (!str_uint(port, 1, 65535, &value)) {
            REPORT(r, at, "service", FIND_VALUE,
                   "service \"%.*s\": \"%.*s\" is not a port between 1 and 65535", STR_ARG(text),
                   STR_ARG(port));
            return;
        }
        l->port = (uint16_t)value;
    }
    if (common_check_host(host, &err))
        REPORT(r, at, "service", FIND_VALUE, "service: %s", err.text);
    l->service = host;
}

static void read_listener(struct reading *r, const struct settings_section *at)
{
    const struct listener_settings *w = at->values;
    struct local_listener l = {.name = at->name, .bind = w->bind};

    if (w->service.n)
        read_target(r, at, w->service, &l);
    if (l.name.n && !identity_label_ok(l.name))
        REPORT(r, at, NULL, FIND_VALUE,
               "\"%.*s\" is not a name: lower case letters, digits and '-'", STR_ARG(l.name));
    if (w->protocol.n && l.service.n)
        REPORT(r, at, "protocol", FIND_VALUE, "listener %.*s: the service says its protocol",
               STR_ARG(l.name));
    else if (w->protocol.n && !str_eq(w->protocol, STR("http")))
        REPORT(r, at, "protocol", FIND_VALUE,
               "listener %.*s: without service only http can be told apart, by its Host header",
               STR_ARG(l.name));
    if (r->out->listener_count == LIMIT_LISTENERS_PER_HOST) {
        REPORT(r, at, NULL, FIND_LIMIT,
               "too many listeners on this host: %.*s is one more than 1024", STR_ARG(l.name));
        return;
    }
    if (l.bind.family) {
        check_port(r, at, "bind", l.bind.port);
        check_bind(r, at, "bind", &l.bind);
    }
    for (size_t i = 0; i < r->out->listener_count; i++) {
        if (str_eq(r->out->listeners[i].name, l.name))
            REPORT(r, at, NULL, FIND_DUPLICATE, "listener %.*s is defined twice", STR_ARG(l.name));
    }
    r->out->listeners[r->out->listener_count++] = l;
}

static void read_section(struct reading *r, const struct settings_section *at)
{
    if (at->type->schema == &listener_schema)
        read_listener(r, at);
    else
        read_service(r, at);
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
                  const struct addr *host, struct arena *a, struct local_set *out,
                  struct findings *f)
{
    static const char *const suffixes[] = {".ini", NULL};
    struct reading r = {.arena = a, .findings = f, .settings = settings, .host = host, .out = out};
    struct str dir = arena_printf(a, "%s/services.d", config_dir);
    size_t before = f->errors, names_count = 0;
    char **names = NULL;
    struct err err;

    out->services = ARENA_ARRAY(a, LIMIT_SERVICES_PER_HOST, struct local_service);
    out->listeners = ARENA_ARRAY(a, LIMIT_LISTENERS_PER_HOST, struct local_listener);
    out->service_count = out->listener_count = 0;
    if (file_exists(dir.p)) {
        if (file_list(dir.p, suffixes, &names, &names_count, &err))
            fail_file(&r, dir, &err);
        for (size_t i = 0; i < names_count; i++)
            read_file(&r, dir.p, names[i]);
        file_list_free(names, names_count);
    }
    return f->errors == before ? 0 : -1;
}
