/* DIR/server.ini: written by `weft server init`, edited by people, read at start. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/server/server.h"
#include "mesh/base/file.h"
#include "mesh/base/ini.h"
#include "mesh/base/mem.h"
#include "mesh/identity.h"

#define SETTINGS_BYTES (64u << 10)

/* Every key of [server], where it goes, and what it means. */
static const struct {
    const char *key;
    size_t offset;
    const char *comment;
} texts[] = {
    {"state_dir",      offsetof(struct server_settings, state_dir),
     "store (weft.db) and certificate authority (ca/)"                                              },
    {"socket",         offsetof(struct server_settings, socket_path),
     "API for this machine; peer credentials decide"                                                },
    {"advertise",      offsetof(struct server_settings, advertise),
     "how hosts reach this server: HOST:PORT[,HOST:PORT]"                                           },
    {"trust_domain",   offsetof(struct server_settings, trust_domain),   "of SPIFFE names; set once"},
    {"domain",         offsetof(struct server_settings, domain),
     "of service names: NAME.NAMESPACE.svc.DOMAIN; set once"                                        },
    {"root_namespace", offsetof(struct server_settings, root_namespace),
     "its policies hold for the whole mesh"                                                         },
};

void server_settings_done(struct server_settings *s)
{
    for (size_t i = 0; i < COUNT(texts); i++)
        mem_free(*(char **)(void *)((char *)s + texts[i].offset));
    *s = (struct server_settings){0};
}

static int read_value(struct server_settings *out, const struct node *n, struct err *err)
{
    int64_t ns;

    for (size_t i = 0; i < COUNT(texts); i++) {
        char **to = (char **)(void *)((char *)out + texts[i].offset);

        if (!str_eq(n->key, str_from(texts[i].key)))
            continue;
        mem_free(*to);
        *to = str_dup(n->text);
        return 0;
    }
    if (str_eq(n->key, STR("listen"))) {
        if (!addr_parse(n->text, &out->listen) || out->listen.port == 0)
            return err_set(err, ERR_INVALID, "%u: listen: \"%.*s\" is not IP:PORT", n->line,
                           STR_ARG(n->text));
        return 0;
    }
    if (str_eq(n->key, STR("leaf_lifetime"))) {
        if (!str_duration(n->text, &ns) || ns < 60000000000ll ||
            ns > 90ll * 24 * 3600 * 1000000000ll)
            return err_set(err, ERR_INVALID,
                           "%u: leaf_lifetime: must be between 1m and 2160h, like 72h", n->line);
        out->leaf_ms = ns / 1000000;
        return 0;
    }
    return err_set(err, ERR_INVALID, "%u: unknown setting \"%.*s\" in [server]", n->key_line,
                   STR_ARG(n->key));
}

static int read_sections(struct server_settings *out, const struct ini_section *sections,
                         struct err *err)
{
    for (const struct ini_section *s = sections; s; s = s->next) {
        if (!str_eq(s->type, STR("server")))
            return err_set(err, ERR_INVALID, "%u: unknown section [%.*s]; there is only [server]",
                           s->line, STR_ARG(s->type));
        for (const struct node *n = s->values->first; n; n = n->next) {
            if (read_value(out, n, err))
                return -1;
        }
    }
    if (!out->state_dir || !out->socket_path || !out->advertise || !out->trust_domain ||
        !out->domain || !out->root_namespace || !out->listen.family)
        return err_set(err, ERR_INVALID,
                       "state_dir, socket, listen, advertise, trust_domain, domain and "
                       "root_namespace are needed");
    if (!identity_trust_domain_ok(str_from(out->trust_domain)))
        return err_set(err, ERR_INVALID,
                       "trust_domain \"%s\" is not one (SPIFFE: lower case letters, digits, . - _)",
                       out->trust_domain);
    return 0;
}

int server_settings_read(const char *path, struct server_settings *out, struct err *err)
{
    struct ini_section *sections = NULL;
    struct findings f;
    struct arena a;
    struct buf text;
    int rc = -1;

    *out = (struct server_settings){.leaf_ms = 72ll * 3600 * 1000};
    arena_init(&a);
    buf_init(&text, SETTINGS_BYTES);
    findings_init(&f, &a);
    if (file_read(path, &text, err)) {
        (void)err_wrap(err, "the server was not set up here (weft server init)");
        goto out;
    }
    if (ini_read(buf_str(&text), str_from(path), &a, &sections, &f)) {
        (void)findings_err(&f, err);
        goto out;
    }
    rc = read_sections(out, sections, err);
    if (rc)
        (void)err_wrap(err, "%s", path);
out:
    if (rc)
        server_settings_done(out);
    buf_done(&text);
    arena_done(&a);
    return rc;
}

int server_settings_write(const char *path, const struct server_settings *s, struct err *err)
{
    char at[ADDR_TEXT_MAX];
    struct buf b;
    int rc;

    buf_init(&b, SETTINGS_BYTES);
    buf_adds(&b, "; weft server settings. Restart the server after a change.\n[server]\n");
    for (size_t i = 0; i < COUNT(texts); i++)
        buf_printf(&b, "; %s\n%s = %s\n", texts[i].comment, texts[i].key,
                   *(char *const *)(const void *)((const char *)s + texts[i].offset));
    buf_printf(&b, "; where agents connect\nlisten = %s\n", addr_format(&s->listen, at));
    buf_adds(&b, "; life of certificates; renewed at a sixth of it\nleaf_lifetime = ");
    buf_duration(&b, s->leaf_ms * 1000000);
    buf_addc(&b, '\n');
    rc = file_write(path, buf_str(&b), 0644, err);
    buf_done(&b);
    return rc;
}
