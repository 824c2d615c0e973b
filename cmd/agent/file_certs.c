#include "cmd/agent/file_certs.h"

#include <string.h>
#include <sys/stat.h>

#include "cmd/agent/agent.h"
#include "mesh/base/file.h"
#include "mesh/identity.h"
#include "pki/creds.h"
#include "pki/key.h"
#include "proxy/proxy.h"

#define FILE_BYTES (1u << 20)

struct reading {
    const char *dir;
    struct file_certs *out;
    struct findings *f;
    struct buf chain, key, roots, clients;
};

static void problem(struct reading *r, const char *name, const char *suffix, const char *text)
{
    struct finding *x = findings_add(r->f, FIND_VALUE, SEVERITY_ERROR, "%s", text);

    x->file = arena_printf(r->f->arena, "%s/%s%s", r->dir, name, suffix);
}

static bool read_text(struct reading *r, const char *name, const char *suffix, struct buf *out)
{
    struct str path = arena_printf(&r->out->arena, "%s/%s%s", r->dir, name, suffix);
    struct err err;

    buf_clear(out);
    if (file_read(path.p, out, &err) == 0)
        return true;
    problem(r, name, suffix, err.text);
    return false;
}

static bool key_is_closed(struct reading *r, const char *name)
{
    struct str path = arena_printf(&r->out->arena, "%s/%s.key", r->dir, name);
    struct stat st;

    if (stat(path.p, &st) || !(st.st_mode & S_IRWXO))
        return true; /* what is not there is told when it is read */
    problem(r, name, ".key", "everybody may read this key: chmod o-rwx it");
    return false;
}

static void take_identity(struct reading *r, const char *name, const struct creds *c)
{
    struct identity id;
    struct err err;

    if (identity_parse(creds_uri(c), &id, &err))
        problem(r, name, ".crt", err.text);
    else if (r->out->trust_domain.n == 0)
        r->out->trust_domain = arena_str(&r->out->arena, id.trust_domain);
    else if (!str_eq(r->out->trust_domain, id.trust_domain))
        problem(r, name, ".crt", "its trust domain is not that of the other certificates: an agent is in one mesh");
}

static struct creds *make(struct reading *r, const char *name, struct str roots)
{
    struct err err;
    struct creds *c = creds_new(buf_str(&r->chain), buf_str(&r->key), roots, &err);

    if (!c)
        problem(r, name, ".crt", err.text);
    return c;
}

/* With the authorities that its peers have: the mesh's for a SPIFFE name, else those of its clients, if any. */
static struct creds *with_roots(struct reading *r, const char *name, struct creds *bare)
{
    struct creds *c = NULL;

    if (creds_uri(bare).n == 0) {
        struct str path = arena_printf(&r->out->arena, "%s/%s-cacert.crt", r->dir, name);

        if (!file_exists(path.p))
            return creds_ref(bare);
        return read_text(r, name, "-cacert.crt", &r->clients) ? make(r, name, buf_str(&r->clients)) : NULL;
    }
    if (r->roots.n == 0)
        problem(r, name, ".crt", "it has a SPIFFE name, and there is no roots.pem to verify its peers with");
    else
        c = make(r, name, buf_str(&r->roots));
    if (c)
        take_identity(r, name, c);
    return c;
}

static void read_pair(struct reading *r, const char *file)
{
    struct str name = arena_str(&r->out->arena, str_sub(str_from(file), 0, strlen(file) - strlen(".crt")));
    struct creds *bare, *c;

    if (str_ends(name, STR("-cacert")))
        return; /* read with the credential that it belongs to */
    if (!key_is_closed(r, name.p) || !read_text(r, name.p, ".crt", &r->chain) ||
        !read_text(r, name.p, ".key", &r->key) || !(bare = make(r, name.p, STR_NONE)))
        return;
    c = with_roots(r, name.p, bare);
    creds_unref(bare);
    if (c)
        r->out->items[r->out->count++] = (struct file_cert){name, c};
}

int file_certs_read(const char *dir, struct file_certs *out, struct findings *f)
{
    static const char *const suffixes[] = {".crt", NULL};
    struct reading r = {.dir = dir, .out = out, .f = f};
    size_t n = 0, before = f->errors;
    char **names = NULL;
    struct err err;

    *out = (struct file_certs){0};
    arena_init(&out->arena);
    if (!file_exists(dir))
        return 0;
    buf_init(&r.chain, FILE_BYTES);
    buf_init(&r.key, FILE_BYTES);
    buf_init(&r.roots, FILE_BYTES);
    buf_init(&r.clients, FILE_BYTES);
    if (file_list(dir, suffixes, &names, &n, &err))
        problem(&r, "", "", err.text);
    if (file_exists(arena_printf(&out->arena, "%s/roots.pem", dir).p))
        (void)read_text(&r, "roots", ".pem", &r.roots); /* a problem is a finding */
    out->items = ARENA_ARRAY(&out->arena, n + 1, struct file_cert);
    for (size_t i = 0; i < n; i++)
        read_pair(&r, names[i]);
    file_list_free(names, n);
    if (r.key.p)
        key_wipe(r.key.p, r.key.n);
    buf_done(&r.chain);
    buf_done(&r.key);
    buf_done(&r.roots);
    buf_done(&r.clients);
    if (f->errors == before)
        return 0;
    file_certs_done(out);
    return -1;
}

void file_certs_done(struct file_certs *c)
{
    for (size_t i = 0; i < c->count; i++)
        creds_unref(c->items[i].creds);
    arena_done(&c->arena);
    *c = (struct file_certs){0};
}

bool file_certs_has(const struct file_certs *c, struct str uri)
{
    bool has = false;

    for (size_t i = 0; i < c->count; i++)
        has = has || str_eq(creds_uri(c->items[i].creds), uri);
    return has;
}

struct str file_certs_caller(const struct file_certs *c)
{
    struct str only = STR_NONE;
    size_t n = 0;

    for (size_t i = 0; i < c->count; i++) {
        struct str uri = creds_uri(c->items[i].creds);

        if (uri.n && str_eq(c->items[i].name, STR("host")))
            return uri;
        if (uri.n) {
            only = uri;
            n++;
        }
    }
    return n == 1 ? only : STR_NONE;
}

bool file_certs_same(const struct file_certs *a, const struct file_certs *b)
{
    bool same = a->count == b->count;

    for (size_t i = 0; same && i < a->count; i++)
        same = str_eq(a->items[i].name, b->items[i].name) &&
               str_eq(creds_fingerprint(a->items[i].creds), creds_fingerprint(b->items[i].creds)) &&
               str_eq(creds_roots_pem(a->items[i].creds), creds_roots_pem(b->items[i].creds));
    return same;
}

void file_certs_json(const struct file_certs *c, struct buf *out)
{
    buf_adds(out, "{\"certificates\":[");
    for (size_t i = 0; i < c->count; i++) {
        buf_adds(out, i ? ",{\"file\":" : "{\"file\":");
        buf_json(out, c->items[i].name);
        buf_addc(out, ',');
        certs_print(creds_uri(c->items[i].creds), c->items[i].creds, out);
        buf_addc(out, '}');
    }
    buf_adds(out, "]}");
}

int64_t file_certs_earliest_ms(const struct file_certs *c)
{
    int64_t first = 0;

    for (size_t i = 0; i < c->count; i++) {
        int64_t end = creds_not_after_ms(c->items[i].creds);

        first = first ? MIN(first, end) : end;
    }
    return first;
}

void file_certs_apply(const struct file_certs *c, struct proxy *p)
{
    for (size_t i = 0; i < c->count; i++) {
        struct str uri = creds_uri(c->items[i].creds);

        if (uri.n)
            proxy_set_creds(p, uri, c->items[i].creds);
    }
}
