/* What an agent is told (agent.ini, resolv.conf) and who it is (agent.json, written by join). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/agent/agent.h"
#include "cmd/agent/capture.h"
#include "cmd/command.h"
#include "cmd/manual.h"
#include "mesh/base/file.h"
#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/dns.h"
#include "mesh/locality.h"
#include "mesh/settings.h"

#define FILE_BYTES (1u << 20)

static const struct field_value capture_modes[] = {
    {.name = "auto", .value = CAPTURE_AUTO},         {.name = "on", .value = CAPTURE_AUTO},
    {.name = "nftables", .value = CAPTURE_NFTABLES}, {.name = "iptables", .value = CAPTURE_IPTABLES},
    {.name = "off", .value = CAPTURE_OFF},           {.name = NULL},
};

static const struct field_value mesh_versions[] = {
    {.name = "1.2", .value = 0}, {.name = "1.3", .value = 1}, {.name = NULL}};

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */
static const struct field rows[] = {
    {"address", FIELD_IP, SCHEMA_AT(agent_settings, address),
     .meaning = "This host's IP towards the others; without it the one that the server saw."},
    {"locality", FIELD_STRING, SCHEMA_AT(agent_settings, locality), .check = locality_check,
     .meaning = "Where this host stands, region/zone/subzone, for localityLbSetting."},
    {"workers", FIELD_UINT32, SCHEMA_AT(agent_settings, workers), .flags = FIELD_BOUNDED, .def = 2,
     SCHEMA_BOUNDS(1, LIMIT_WORKERS), .meaning = "Threads of the proxy."},
    {"connections_per_source", FIELD_UINT32, SCHEMA_AT(agent_settings, connections_per_source),
     .meaning = "How many connections to its gateways one address (of IPv6 a /64) may have; 0 is half of what there is room for."},
    {"capture", FIELD_ENUM, SCHEMA_HAS(agent_settings, capture), .values = capture_modes,
     .def = CAPTURE_AUTO,
     .meaning = "What redirects connections; auto takes nftables where the kernel can, else iptables."},
    {"dns", FIELD_SWITCH, SCHEMA_HAS(agent_settings, dns), .def = 1,
     .meaning = "If off, mesh names are not answered."},
    {"mesh_tls", FIELD_ENUM, SCHEMA_AT(agent_settings, mesh_tls13), .values = mesh_versions,
     .meaning = "Version of mutual TLS; 1.2 is resumed by tickets, 1.3 is for meshes without 1.2."},
    {"dns_port", FIELD_PORT, SCHEMA_AT(agent_settings, dns_port), .def = CAPTURE_DNS,
     .meaning = "Port for the first nameserver; the next ones follow."},
    {"outbound", FIELD_ADDRESS, SCHEMA_AT(agent_settings, outbound),
     SCHEMA_DEFAULT("0.0.0.0:15001"),
     .meaning = "Where redirected outbound connections arrive; the port also on ::1."},
    {"inbound", FIELD_ADDRESS, SCHEMA_AT(agent_settings, inbound), SCHEMA_DEFAULT("0.0.0.0:15006"),
     .meaning = "Where redirected inbound connections arrive; the port also on ::1."},
    {"admin", FIELD_ADDRESS, SCHEMA_AT(agent_settings, admin), SCHEMA_DEFAULT("127.0.0.1:15000"),
     .flags = FIELD_MAY_BE_OFF, .meaning = "All pages."},
    {"metrics", FIELD_ADDRESS, SCHEMA_AT(agent_settings, metrics),
     SCHEMA_DEFAULT("127.0.0.1:15020"), .flags = FIELD_MAY_BE_OFF, .meaning = "Metrics and health."},
    {"health", FIELD_ADDRESS, SCHEMA_AT(agent_settings, health), SCHEMA_DEFAULT("0.0.0.0:15021"),
     .flags = FIELD_MAY_BE_OFF, .meaning = "Health alone, for load balancers."},
    {"access_log", FIELD_TEXT, SCHEMA_AT(agent_settings, access_log), SCHEMA_DEFAULT("off"),
     .meaning = "A file, - for standard output, or off."},
    {"resolv_conf", FIELD_TEXT, SCHEMA_AT(agent_settings, resolv_conf),
     SCHEMA_DEFAULT("/etc/resolv.conf"), .meaning = "Where the nameservers are read, every 5 s."},
};
/* clang-format on */

static SCHEMA(schema, "[agent]", agent_settings, rows);

static const struct settings_type agent_type = {"agent", &schema, false, NULL};

const struct settings_file agent_ini = {
    "weft-agent.ini",
    "/etc/weft/agent.ini",
    "settings of the weft agent",
    "weft agent run reads it at start. The file and every key may be missing. With --standalone "
    "DIR it\nis DIR/agent.ini, and neither capture nor dns is on unless it says so.\n\n"
    "  [agent]\n  workers = 4\n  access_log = /var/log/weft/access.log",
    &agent_type,
    1,
};

/* A missing file is an empty one: every key has a default. */
static int read_ini(const char *path, struct arena *a, struct agent_settings *out, struct err *err)
{
    struct settings_section *sections = NULL;
    struct findings f;
    struct buf text;
    int rc = -1;

    schema_defaults(&schema, out);
    if (!file_exists(path))
        return 0;
    buf_init(&text, FILE_BYTES);
    findings_init(&f, a);
    if (file_read(path, &text, err) == 0) {
        rc = settings_parse(buf_str(&text), arena_str(a, str_from(path)), &agent_type, 1, a,
                            &sections, &f);
        if (rc)
            (void)command_findings(&f, err);
    }
    if (rc == 0 && sections)
        *out = *(const struct agent_settings *)sections->values;
    out->locality = arena_str(a, out->locality);
    buf_done(&text);
    return rc;
}

int agent_settings_read(const char *config_dir, const char *state_dir, const char *socket,
                        const char *standalone_dir, struct agent_settings *out, struct err *err)
{
    struct agent_settings s = {0};
    struct arena a;
    int rc;

    arena_init(&a);
    rc = read_ini(arena_printf(&a, "%s/agent.ini", config_dir).p, &a, &s, err);
    s.node = NULL;
    if (standalone_dir) {
        s.standalone_dir = arena_str(&a, str_from(standalone_dir)).p;
        s.capture = s.has_capture ? s.capture : CAPTURE_OFF;
        s.dns = s.has_dns && s.dns;
    }
    s.config_dir = arena_str(&a, str_from(config_dir)).p;
    s.state_dir = arena_str(&a, str_from(state_dir)).p;
    s.socket_path = arena_str(&a, str_from(socket)).p;
    s.arena = a;
    if (rc)
        arena_done(&s.arena);
    else
        *out = s;
    return rc;
}

void agent_settings_done(struct agent_settings *s)
{
    arena_done(&s->arena);
    *s = (struct agent_settings){0};
}

/* ---- who this host is ---- */

int agent_member_read(const char *state_dir, struct agent_member *out, struct err *err)
{
    struct buf text;
    struct arena a;
    struct node *root;
    const struct node *servers;
    char path[4096];
    int rc = -1;

    *out = (struct agent_member){0};
    (void)snprintf(path, sizeof(path), "%s/agent.json", state_dir);
    if (!file_exists(path))
        return err_set(err, ERR_MISSING,
                       "this host is no member of a mesh (%s is not there): weft join TOKEN", path);
    arena_init(&a);
    buf_init(&text, FILE_BYTES);
    if (file_read(path, &text, err) || json_read(buf_str(&text), &a, &root, err)) {
        (void)err_wrap(err, "%s", path);
        goto out;
    }
    out->host_id = str_dup(node_text(root, "hostId"));
    out->name = str_dup(node_text(root, "name"));
    out->address = str_dup(node_text(root, "address"));
    out->trust_domain = str_dup(node_text(root, "trustDomain"));
    out->domain = str_dup(node_text(root, "domain"));
    out->root_namespace = str_dup(node_text(root, "rootNamespace"));
    servers = node_get(root, STR("servers"));
    for (const struct node *n = servers ? servers->first : NULL;
         n && out->server_count < AGENT_SERVERS_MAX; n = n->next)
        out->servers[out->server_count++] = str_dup(n->text);
    if (!*out->host_id || !*out->trust_domain || !out->server_count) {
        (void)err_set(err, ERR_INVALID, "%s is damaged: join this host again with a new token",
                      path);
        agent_member_done(out);
        goto out;
    }
    rc = 0;
out:
    buf_done(&text);
    arena_done(&a);
    return rc;
}

int agent_member_write(const char *state_dir, const struct agent_member *m, struct err *err)
{
    const struct {
        const char *name, *value;
    } members[] = {
        {"hostId",        m->host_id       },
        {"name",          m->name          },
        {"address",       m->address       },
        {"trustDomain",   m->trust_domain  },
        {"domain",        m->domain        },
        {"rootNamespace", m->root_namespace}
    };
    struct buf b;
    char path[4096];
    int rc;

    buf_init(&b, FILE_BYTES);
    buf_addc(&b, '{');
    for (size_t i = 0; i < COUNT(members); i++) {
        buf_printf(&b, "\"%s\":", members[i].name);
        buf_json(&b, str_from(members[i].value));
        buf_adds(&b, ",\n");
    }
    buf_adds(&b, "\"servers\":[");
    for (size_t i = 0; i < m->server_count; i++) {
        if (i)
            buf_addc(&b, ',');
        buf_json(&b, str_from(m->servers[i]));
    }
    buf_adds(&b, "]}\n");
    (void)snprintf(path, sizeof(path), "%s/agent.json", state_dir);
    rc = file_write(path, buf_str(&b), 0644, err);
    buf_done(&b);
    return rc;
}

void agent_member_done(struct agent_member *m)
{
    mem_free(m->host_id);
    mem_free(m->name);
    mem_free(m->address);
    mem_free(m->trust_domain);
    mem_free(m->domain);
    mem_free(m->root_namespace);
    for (size_t i = 0; i < m->server_count; i++)
        mem_free(m->servers[i]);
    *m = (struct agent_member){0};
}

size_t agent_nameservers(const char *path, struct addr *out, size_t max)
{
    struct buf text;
    struct err err;
    size_t n;

    buf_init(&text, FILE_BYTES);
    if (file_read(path, &text, &err))
        buf_clear(&text); /* no resolv.conf is an empty one */
    n = dns_resolv_conf(buf_str(&text), out, max);
    buf_done(&text);
    return n;
}
