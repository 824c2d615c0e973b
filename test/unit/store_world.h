/* A store in a folder of its own, for the tests of store/. */
#pragma once

#include <ftw.h>
#include <unistd.h>

#include "mesh/base/buf.h"
#include "store/store.h"
#include "test/test.h"

struct world {
    char dir[64];
    char path[96];
    struct store *store;
    struct arena arena;
    struct err err;
};

#define OK(call) test_ok((call), &w.err, __FILE__, __LINE__)
/* The call fails with this code, and its text holds these words. */
#define FAILS(call, err_code, words)                                                               \
    test_fails((call), &w.err, (err_code), (words), __FILE__, __LINE__)

__attribute__((unused)) static void test_ok(int rc, const struct err *err, const char *file,
                                            int line)
{
    if (rc == 0)
        return;
    print_error("%s\n", err->text);
    _fail(file, line);
}

__attribute__((unused)) static void test_fails(int rc, const struct err *err, enum err_code code,
                                               const char *words, const char *file, int line)
{
    if (rc == -1 && err->code == code && strstr(err->text, words))
        return;
    print_error("gave %d, code %d: %s\n", rc, (int)err->code, rc ? err->text : "no error");
    _fail(file, line);
}

__attribute__((unused)) static struct world world_open(void)
{
    struct world w = {.dir = "/tmp/weft-store-XXXXXX"};

    CHECK(mkdtemp(w.dir) != NULL);
    snprintf(w.path, sizeof(w.path), "%s/weft.db", w.dir);
    arena_init(&w.arena);
    w.store = store_create(w.path, &w.err);
    OK(w.store ? 0 : -1);
    return w;
}

__attribute__((unused)) static int world_unlink(const char *path, const struct stat *st, int flag,
                                                struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

__attribute__((unused)) static void world_close(struct world *w)
{
    store_close(w->store);
    arena_done(&w->arena);
    nftw(w->dir, world_unlink, 8, FTW_DEPTH | FTW_PHYS);
}

/* Put one key; gives its seq. */
__attribute__((unused)) static int64_t world_put(struct world *w, const char *key,
                                                 const char *value)
{
    struct store_result result;
    struct store_txn t;
    int rc;

    store_txn_init(&t);
    store_txn_put(&t, str_from(key), str_from(value));
    rc = store_commit(w->store, &t, &result, &w->err);
    store_txn_done(&t);
    test_ok(rc, &w->err, __FILE__, __LINE__);
    return result.seq;
}

__attribute__((unused)) static struct store_kv world_get(struct world *w, const char *key)
{
    struct store_kv kv;

    test_ok(store_get(w->store, str_from(key), &w->arena, &kv, &w->err), &w->err, __FILE__,
            __LINE__);
    return kv;
}

__attribute__((unused)) static size_t world_count(struct world *w, const char *prefix)
{
    struct store_range range = {.prefix = str_from(prefix), .keys_only = true};
    struct store_kv *rows;
    size_t n;

    test_ok(store_list(w->store, &range, &w->arena, &rows, &n, NULL, &w->err), &w->err, __FILE__,
            __LINE__);
    return n;
}
