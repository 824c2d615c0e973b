#include "cmd/agent/tls_files.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "mesh/base/file.h"
#include "mesh/base/log.h"
#include "mesh/base/loop.h"
#include "mesh/base/map.h"
#include "mesh/base/mem.h"
#include "mesh/snapshot.h"
#include "pki/cert.h"
#include "pki/creds.h"
#include "pki/crl.h"
#include "pki/key.h"
#include "proxy/proxy.h"

#define UNUSED_MAX 2u /* then it is dropped */

enum { N_LOOK = 1 };

/* How a file looked when it was read; all zero: it was not there. */
struct look {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec changed;
};

struct entry {
    char *paths[TLS_TEXTS]; /* NULL: none */
    struct look looks[TLS_TEXTS];
    struct str texts[TLS_TEXTS]; /* owned; of Credentials, in their place */
    unsigned unused; /* by so many snapshots in force, the last ones */
};

struct tls_files {
    struct task task;
    struct timer timer;
    struct proxy *proxy;
    struct map entries; /* key of the credentials -> struct entry * */
};

/* Where systems keep the authorities that everybody trusts. */
static const char *system_authorities(void)
{
    static const char *const places[] = {"/etc/ssl/certs/ca-certificates.crt",
                                         "/etc/pki/tls/certs/ca-bundle.crt"};

    for (size_t i = 0; i < COUNT(places); i++) {
        if (file_exists(places[i]))
            return places[i];
    }
    return places[0];
}

static struct look look_at(const char *path)
{
    struct look l = {0};
    struct stat st;

    if (path && stat(path, &st) == 0)
        l = (struct look){st.st_dev, st.st_ino, st.st_size, st.st_mtim};
    return l;
}

static bool same_look(const struct look *a, const struct look *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

static size_t most_bytes(enum tls_text_kind kind)
{
    return kind == TLS_TEXT_CRL ? CRL_TEXT_MAX : CERT_TEXT_MAX;
}

static int read_texts(const struct entry *e, struct buf texts[TLS_TEXTS], struct err *err)
{
    for (size_t i = 0; i < TLS_TEXTS; i++) {
        if (e->paths[i] && file_read(e->paths[i], &texts[i], err))
            return -1;
        buf_add(&texts[i], e->texts[i]);
    }
    return 0;
}

static const char *name_of(const struct entry *e)
{
    static const enum tls_text_kind kinds[] = {TLS_TEXT_CERT, TLS_TEXT_CA, TLS_TEXT_CRL};

    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (e->paths[kinds[i]])
            return e->paths[kinds[i]];
    }
    return "a Credential";
}

static struct creds *read_creds(const struct entry *e, struct err *err)
{
    struct buf texts[TLS_TEXTS];
    struct creds *c = NULL;

    for (size_t i = 0; i < TLS_TEXTS; i++)
        buf_init(&texts[i], most_bytes((enum tls_text_kind)i));
    if (read_texts(e, texts, err) == 0) {
        c = creds_make(&(struct creds_texts){.shown = {{buf_str(&texts[TLS_TEXT_CERT]), buf_str(&texts[TLS_TEXT_KEY])},
                                                       {buf_str(&texts[TLS_TEXT_CERT_2]), buf_str(&texts[TLS_TEXT_KEY_2])}},
                                             .roots = buf_str(&texts[TLS_TEXT_CA]),
                                             .crl = buf_str(&texts[TLS_TEXT_CRL])},
                       err);
        if (!c)
            (void)err_wrap(err, "%s", name_of(e));
    }
    for (size_t i = 0; i < TLS_TEXTS; i++) {
        if (texts[i].p)
            key_wipe(texts[i].p, texts[i].n); /* only keys need it */
        buf_done(&texts[i]);
    }
    return c;
}

static void load(struct tls_files *f, struct str key, struct entry *e)
{
    struct creds *c;
    struct err err;

    for (size_t i = 0; i < TLS_TEXTS; i++)
        e->looks[i] = look_at(e->paths[i]);
    c = read_creds(e, &err);
    if (!c) {
        log_error("tls of a rule: %s", err.text);
        return;
    }
    proxy_set_creds(f->proxy, key, c);
    creds_unref(c);
}

static void drop_texts(struct entry *e)
{
    for (size_t i = 0; i < TLS_TEXTS; i++) {
        if (e->texts[i].p)
            key_wipe((char *)(uintptr_t)e->texts[i].p, e->texts[i].n);
        str_free(e->texts[i]);
        e->texts[i] = STR_NONE;
    }
}

static bool has_files(const struct entry *e)
{
    for (size_t i = 0; i < TLS_TEXTS; i++) {
        if (e->paths[i])
            return true;
    }
    return false;
}

static struct entry *entry_new(const struct tls_material *m)
{
    struct entry *e = MEM_NEW(struct entry);

    for (size_t i = 0; i < TLS_TEXTS; i++) {
        e->paths[i] = m->texts[i].file.n ? str_dup(m->texts[i].file) : NULL;
        e->texts[i] = str_copy(m->texts[i].pem);
    }
    if (m->system_authorities)
        e->paths[TLS_TEXT_CA] = str_dup(str_from(system_authorities()));
    return e;
}

static void entry_free(struct entry *e)
{
    drop_texts(e);
    for (size_t i = 0; i < TLS_TEXTS; i++)
        mem_free(e->paths[i]);
    mem_free(e);
}

typedef void material_fn(struct tls_files *f, const struct tls_material *m);

static void each_material(struct tls_files *f, const struct snapshot *s, material_fn *fn)
{
    for (size_t i = 0; i < s->cluster_count; i++) {
        if (s->clusters[i]->origination)
            fn(f, &s->clusters[i]->origination->material);
    }
    for (size_t i = 0; i < s->listener_count; i++) {
        const struct tls_end *t = s->listeners[i]->tls;

        if (t && t->client != TLS_CLIENT_MESH)
            fn(f, &t->material);
    }
}

static void need(struct tls_files *f, const struct tls_material *m)
{
    struct entry *e;

    if (m->creds.n == 0 || map_get(&f->entries, m->creds)) /* there is none, as the compiler has told; or it was read */
        return;
    e = entry_new(m);
    map_put(&f->entries, m->creds, e);
    load(f, m->creds, e);
    if (!has_files(e)) /* it is not read again: another text has another key */
        drop_texts(e);
}

void tls_files_need(struct tls_files *f, const struct snapshot *s)
{
    each_material(f, s, need);
}

static void keep(struct tls_files *f, const struct tls_material *m)
{
    struct entry *e = map_get(&f->entries, m->creds);

    if (e)
        e->unused = 0;
}

void tls_files_keep(struct tls_files *f, const struct snapshot *s)
{
    struct map_entry *m;

    for (size_t i = 0; (m = map_each(&f->entries, &i));)
        ((struct entry *)m->value)->unused++;
    each_material(f, s, keep);
    for (size_t i = 0; (m = map_each(&f->entries, &i));) {
        struct entry *e = m->value;

        if (e->unused < UNUSED_MAX)
            continue;
        proxy_drop_creds(f->proxy, m->key);
        map_del(&f->entries, m->key);
        entry_free(e);
    }
    if (f->entries.count > 0)
        timer_in(&f->timer, TLS_FILES_LOOK_MS);
    else
        timer_stop(&f->timer);
}

void tls_files_look(struct tls_files *f)
{
    struct map_entry *m;

    for (size_t i = 0; (m = map_each(&f->entries, &i));) {
        struct entry *e = m->value;
        bool changed = false;

        for (size_t k = 0; k < TLS_TEXTS; k++) {
            struct look now = look_at(e->paths[k]);

            changed = changed || !same_look(&now, &e->looks[k]);
        }
        if (changed)
            load(f, m->key, e);
    }
}

static void run(struct task *t, unsigned notes)
{
    struct tls_files *f = CONTAINER(t, struct tls_files, task);

    (void)notes; /* N_LOOK, the only one */
    tls_files_look(f);
    timer_in(&f->timer, TLS_FILES_LOOK_MS);
}

struct tls_files *tls_files_new(struct loop *l, struct proxy *p)
{
    struct tls_files *f = MEM_NEW(struct tls_files);

    f->proxy = p;
    task_init(&f->task, l, run);
    timer_init(&f->timer, &f->task, N_LOOK);
    map_init(&f->entries);
    return f;
}

void tls_files_free(struct tls_files *f)
{
    struct map_entry *m;

    if (!f)
        return;
    timer_stop(&f->timer);
    task_forget(&f->task);
    for (size_t i = 0; (m = map_each(&f->entries, &i));)
        entry_free(m->value);
    map_done(&f->entries);
    mem_free(f);
}
