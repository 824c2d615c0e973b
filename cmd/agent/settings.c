/* What an agent is told (agent.ini, resolv.conf) and who it is (agent.json, written by join). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/agent/agent.h"
#include "cmd/agent/capture.h"
#include "mesh/base/file.h"
#include "mesh/base/ini.h"
#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/dns.h"

#define FILE_BYTES (1u << 20)

enum value_kind {
    VALUE_PATH,
    VALUE_IP,
    VALUE_ADDR,
    VALUE_SWITCH,
    VALUE_CAPTURE,
    VALUE_WORKERS,
    VALUE_PORT
};

/* Every key of [agent]. */
static const struct {
    const char *key;
    enum value_kind kind;
    size_t offset;
} keys[] = {
    {"access_log",  VALUE_PATH,    offsetof(struct agent_settings, access_log) },
    {"resolv_conf", VALUE_PATH,    offsetof(struct agent_settings, resolv_conf)},
    {"address",     VALUE_IP,      offsetof(struct agent_settings, address)    },
    {"workers",     VALUE_WORKERS, offsetof(struct agent_settings, workers)    },
    {"capture",     VALUE_CAPTURE, offsetof(struct agent_settings, capture)    },
    {"dns",         VALUE_SWITCH,  offsetof(struct agent_settings, dns)        },
    {"dns_port",    VALUE_PORT,    offsetof(struct agent_settings, dns_port)   },
    {"outbound",    VALUE_ADDR,    offsetof(struct agent_settings, outbound)   },
    {"inbound",     VALUE_ADDR,    offsetof(struct agent_settings, inbound)    },
    {"admin",       VALUE_ADDR,    offsetof(struct agent_settings, admin)      },
    {"metrics",     VALUE_ADDR,    offsetof(struct agent_settings, metrics)    },
    {"health",      VALUE_ADDR,    offsetof(struct agent_settings, health)     },
};

static int bad(struct err *err, const struct node *n, const char *want)
{
    return err_set(err, ERR_INVALID, "%u: %.*s: \"%.*s\" is not %s", n->line, STR_ARG(n->key),
                   STR_ARG(n->text), want);
}

static int read_capture(const struct node *n, enum capture_mode *to, struct err *err)
{
    static const struct {
        const char *word;
        enum capture_mode mode;
    } words[] = {
        {"auto",     CAPTURE_AUTO    },
        {"on",       CAPTURE_AUTO    },
        {"nftables", CAPTURE_NFTABLES},
        {"iptables", CAPTURE_IPTABLES},
        {"off",      CAPTURE_OFF     },
    };

    for (size_t i = 0; i < COUNT(words); i++) {
        if (str_eq(n->text, str_from(words[i].word))) {
            *to = words[i].mode;
            return 0;
        }
    }
    return bad(err, n, "auto, nftables, iptables or off");
}

static int read_value(const struct node *n, enum value_kind kind, void *to, struct err *err)
{
    uint64_t number;

    switch (kind) {
    case VALUE_PATH:
        mem_free(*(char **)to);
        *(char **)to = str_dup(n->text);
        return 0;
    case VALUE_IP:
        return addr_parse_ip(n->text, to) ? 0 : bad(err, n, "an IP address");
    case VALUE_ADDR:
        return addr_parse(n->text, to) ? 0 : bad(err, n, "IP:PORT");
    case VALUE_SWITCH:
        if (!str_eq(n->text, STR("on")) && !str_eq(n->text, STR("off")))
            return bad(err, n, "on or off");
        *(bool *)to = n->text.n == 2;
        return 0;
    case VALUE_CAPTURE:
        return read_capture(n, to, err);
    case VALUE_WORKERS:
        if (!str_uint(n->text, 1, LIMIT_WORKERS, &number))
            return bad(err, n, "a number of threads between 1 and 64");
        *(unsigned *)to = (unsigned)number;
        return 0;
    case VALUE_PORT:
        if (!str_uint(n->text, 1, 65535, &number))
            return bad(err, n, "a port");
        *(uint16_t *)to = (uint16_t)number;
        return 0;
    }
    return 0;
}

static int read_key(const struct node *n, struct agent_settings *out, struct err *err)
{
    const char *near = NULL;
    size_t best = 4;

    for (size_t i = 0; i < COUNT(keys); i++) {
        size_t d = str_distance(str_from(keys[i].key), n->key, 3);

        if (d == 0)
            return read_value(n, keys[i].kind, (char *)out + keys[i].offset, err);
        if (d < best) {
            best = d;
            near = keys[i].key;
        }
    }
    if (near)
        return err_set(err, ERR_INVALID, "unknown setting \"%.*s\": did you mean %s?",
                       STR_ARG(n->key), near);
    return err_set(err, ERR_INVALID, "unknown setting \"%.*s\"", STR_ARG(n->key));
}

static int read_ini(const char *path, struct agent_settings *out, struct err *err)
{
    struct ini_section *sections = NULL;
    struct findings f;
    struct arena a;
    struct buf text;
    int rc = -1;

    if (!file_exists(path))
        return 0; /* every key has a default */
    arena_init(&a);
    buf_init(&text, FILE_BYTES);
    findings_init(&f, &a);
    if (file_read(path, &text, err))
        goto out;
    if (ini_read(buf_str(&text), str_from(path), &a, &sections, &f)) {
        (void)findings_err(&f, err);
        goto out;
    }
    for (const struct ini_section *s = sections; s; s = s->next) {
        if (!str_eq(s->type, STR("agent"))) {
            (void)err_set(err, ERR_INVALID, "%s:%u: unknown section [%.*s]; there is only [agent]",
                          path, s->line, STR_ARG(s->type));
            goto out;
        }
        for (const struct node *n = s->values->first; n; n = n->next) {
            if (read_key(n, out, err)) {
                (void)err_wrap(err, "%s:%u", path, n->key_line);
                goto out;
            }
        }
    }
    rc = 0;
out:
    buf_done(&text);
    arena_done(&a);
    return rc;
}

int agent_settings_read(const char *config_dir, const char *state_dir, const char *socket,
                        struct agent_settings *out, struct err *err)
{
    char path[4096];

    *out = (struct agent_settings){
        .capture = CAPTURE_AUTO, .dns = true, .workers = 2, .dns_port = CAPTURE_DNS};
    out->config_dir = str_dup(str_from(config_dir));
    out->state_dir = str_dup(str_from(state_dir));
    out->socket_path = str_dup(str_from(socket));
    out->resolv_conf = str_dup(STR("/etc/resolv.conf"));
    if (!addr_parse(STR("0.0.0.0:15001"), &out->outbound) ||
        !addr_parse(STR("0.0.0.0:15006"), &out->inbound) ||
        !addr_parse(STR("127.0.0.1:15000"), &out->admin) ||
        !addr_parse(STR("127.0.0.1:15020"), &out->metrics) ||
        !addr_parse(STR("0.0.0.0:15021"), &out->health))
        return err_set(err, ERR_INVALID, "the defaults do not parse");
    (void)snprintf(path, sizeof(path), "%s/agent.ini", config_dir);
    if (read_ini(path, out, err) == 0)
        return 0;
    agent_settings_done(out);
    return -1;
}

void agent_settings_done(struct agent_settings *s)
{
    mem_free(s->state_dir);
    mem_free(s->config_dir);
    mem_free(s->socket_path);
    mem_free(s->access_log);
    mem_free(s->resolv_conf);
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
