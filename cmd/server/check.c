/* `weft server check`: proves, with the server stopped, that what is stored is whole. Every part is
 * looked at, so that one run tells all that is wrong. */
#include <stdio.h>

#include "cmd/command.h"
#include "cmd/server/server.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "pki/ca.h"
#include "store/check.h"
#include "store/ledger.h"
#include "store/revision.h"
#include "store/store.h"

/* One line per part. */
static bool tell(const char *part, int rc, const struct err *err, const char *good)
{
    printf("  %-10s %s\n", part, rc ? err->text : good);
    return rc == 0;
}

static bool check_rows(struct store *s, struct arena *a)
{
    struct revision_health health = {0};
    struct check_counts counts = {0};
    struct err err;
    int64_t rows = 0;
    bool good = true;
    int rc;

    rc = revision_check(s, &health, &err);
    good &= tell("revisions", rc, &err,
                 arena_printf(a,
                              "%lld to %lld, whole; %zu objects read; %zu unfinished commits, "
                              "which the next start removes",
                              (long long)health.first, (long long)health.head, health.objects,
                              health.orphans)
                     .p);
    rc = ledger_audit_verify(s, &rows, &err);
    good &= tell("audit", rc, &err,
                 arena_printf(a, "%lld rows, the chain is whole", (long long)rows).p);
    rc = check_hosts(s, &counts, &err);
    good &= tell("hosts", rc, &err, arena_printf(a, "%zu, each with its key", counts.hosts).p);
    rc = check_tokens(s, &counts, &err);
    good &= tell("tokens", rc, &err, arena_printf(a, "%zu, none overused", counts.tokens).p);
    return good;
}

static bool check_ca(const char *dir, struct arena *a)
{
    struct err err;
    struct ca *ca = ca_open(dir, &err);
    struct buf until;
    bool good;

    buf_init(&until, 64);
    if (ca)
        text_time(&until, ca_issuer_not_after_ms(ca), false);
    good = tell(
        "authority", ca ? 0 : -1, &err,
        arena_printf(a, "root, issuer and key fit; the issuer ends %.*s", STR_ARG(buf_str(&until)))
            .p);
    buf_done(&until);
    ca_close(ca);
    return good;
}

int server_check(const struct args *a)
{
    struct server_settings settings = {0};
    struct store *store;
    struct arena arena;
    struct err err;
    const char *state = args_text(a, "state-dir", NULL), *db;
    bool good = true;
    int rc = 0;

    arena_init(&arena);
    if (!state) {
        rc = server_settings_read(server_config_path(a, &arena), &arena, &settings, &err);
        state = settings.state_dir;
    }
    if (rc == 0) {
        db = server_path(&arena, state, SERVER_DATABASE);
        store = store_open_whole(db, &err);
        rc = !store && (err.code == ERR_CONFLICT || err.code == ERR_MISSING) ? -1 : 0;
        if (rc == 0) { /* it is there and ours: what is wrong with it is a finding */
            good = tell(
                "database", store ? 0 : -1, &err,
                store
                    ? arena_printf(&arena, "%s, whole, at %lld", db, (long long)store_seq(store)).p
                    : "");
            good &= store ? check_rows(store, &arena) : false;
            good &= check_ca(server_path(&arena, state, SERVER_CA), &arena);
        }
        store_close(store);
    }
    arena_done(&arena);
    if (rc)
        return command_failed(&err);
    return good ? EXIT_DONE : EXIT_FINDINGS;
}
