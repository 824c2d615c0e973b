/* How the ledger lies in the store:
 *
 *     /audit/N           a row of the audit log; /audit-head says how many and the hash of the last
 *     /token/ID          a join token
 *     /spent/ID/PIN      who spent it, and when: makes the replay of a lost answer possible
 *     /cert/SERIAL       a certificate; /host-cert/HOST/SERIAL finds those of a host
 *     /eject/HOST        an ejection; /eject-pin/PIN refuses the key
 */
#include "store/ledger.h"

#include <string.h>

#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "store/row.h"
#include "store/store.h"

#define ROW_BYTES   (1u << 20)
#define HEX         (2 * HASH_BYTES)
#define TRIES       4u /* when another server was faster */
#define CERTS_BATCH 60u
#define SWEEP_BATCH 60u
#define PAGE        500u
#define TEXT_BYTES  4096u /* of one field of an audit row; longer is cut */
#define USES_MAX    1000000

static const char zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";

static struct str hash_hex(struct str text, struct arena *a)
{
    uint8_t hash[HASH_BYTES];
    struct buf b;

    hash_sha256(text, hash);
    buf_init(&b, HEX);
    text_hex(&b, hash, sizeof(hash));
    return row_done(&b, a);
}

static bool is_hash(struct str s)
{
    uint8_t hash[HASH_BYTES];

    return text_unhex(s, hash, sizeof(hash));
}

static int get_row(struct store *s, struct str key, const char *what, struct arena *a,
                   struct node **out, int64_t *mod_seq, struct err *err)
{
    struct store_kv kv;

    if (store_get(s, key, a, &kv, err))
        return -1;
    *mod_seq = kv.mod_seq;
    *out = NULL;
    return kv.mod_seq ? row_parse(kv.value, what, a, out, err) : 0;
}

/* -------------------------------------------------------------------- audit */

static void put_text(struct buf *b, const char *name, struct str text)
{
    row_opt(b, name, str_sub(text, 0, TEXT_BYTES));
}

static struct str encode_audit(int64_t n, const struct ledger_audit *audit, struct str previous,
                               struct arena *a)
{
    struct buf b, at;

    buf_init(&at, 64);
    text_time(&at, audit->now_ms, true);
    buf_init(&b, ROW_BYTES);
    buf_addc(&b, '{');
    row_int(&b, "n", n);
    row_str(&b, "at", buf_str(&at));
    row_int(&b, "at_ms", audit->now_ms);
    put_text(&b, "actor", audit->actor);
    put_text(&b, "source", audit->source);
    put_text(&b, "action", audit->action);
    put_text(&b, "object", audit->object);
    put_text(&b, "verdict", audit->verdict.n ? audit->verdict : STR("ok"));
    put_text(&b, "message", audit->message);
    put_text(&b, "digest", audit->digest);
    if (audit->revision_before || audit->revision) {
        row_int(&b, "revision_before", audit->revision_before);
        row_int(&b, "revision", audit->revision);
    }
    row_str(&b, "previous", previous);
    buf_addc(&b, '}');
    buf_done(&at);
    return row_done(&b, a);
}

int ledger_audit_add(struct store *s, struct store_txn *t, const struct ledger_audit *audit,
                     struct err *err)
{
    struct str row, previous = str_from(zeros);
    struct node *head;
    int64_t seq, n = 1;

    if (get_row(s, STR("/audit-head"), "the head of the audit log", &t->arena, &head, &seq, err))
        return -1;
    if (head) {
        n = row_number(head, "n") + 1;
        previous = node_text(head, "hash");
    }
    row = encode_audit(n, audit, previous, &t->arena);
    store_txn_if_seq(t, STR("/audit-head"), seq);
    store_txn_put(t, STR("/audit-head"),
                  arena_printf(&t->arena, "{\"n\":%lld,\"hash\":\"%.*s\"}", (long long)n,
                               STR_ARG(hash_hex(row, &t->arena))));
    store_txn_put(t, row_number_key(&t->arena, "/audit/", n), row);
    return 0;
}

static int write_txn(struct store *s, struct store_txn *t, const struct ledger_audit *audit,
                     struct err *err)
{
    if (audit && ledger_audit_add(s, t, audit, err))
        return -1;
    return row_commit(s, t, "somebody else changed it meanwhile: try again", err);
}

int ledger_audit_write(struct store *s, const struct ledger_audit *audit, struct err *err)
{
    struct store_txn t;
    int rc;

    store_txn_init(&t);
    rc = write_txn(s, &t, audit, err);
    store_txn_done(&t);
    return rc;
}

static int decode_audit(const struct store_kv *kv, struct arena *a, struct ledger_row *out,
                        struct err *err)
{
    struct node *m;

    if (row_parse(kv->value, "a row of the audit log", a, &m, err))
        return -1;
    *out = (struct ledger_row){
        .number = row_number(m, "n"),
        .audit = {.now_ms = row_number(m, "at_ms"),
                  .actor = node_text(m, "actor"),
                  .source = node_text(m, "source"),
                  .action = node_text(m, "action"),
                  .object = node_text(m, "object"),
                  .verdict = node_text(m, "verdict"),
                  .message = node_text(m, "message"),
                  .digest = node_text(m, "digest"),
                  .revision_before = row_number(m, "revision_before"),
                  .revision = row_number(m, "revision")},
        .previous = node_text(m, "previous"),
        .json = kv->value,
    };
    return 0;
}

int ledger_audit_list(struct store *s, int64_t before, size_t limit, struct arena *a,
                      struct ledger_row **rows, size_t *count, struct err *err)
{
    struct store_range range = {.prefix = STR("/audit/"), .limit = limit, .descending = true};
    struct ledger_row *list;
    struct store_kv *kvs;
    size_t n;

    if (before > 0)
        range.after = row_number_key(a, "/audit/", before);
    if (store_list(s, &range, a, &kvs, &n, NULL, err))
        return -1;
    list = ARENA_ARRAY(a, n, struct ledger_row);
    for (size_t i = 0; i < n; i++) {
        if (decode_audit(&kvs[i], a, &list[i], err))
            return -1;
    }
    *rows = list;
    *count = n;
    return 0;
}

/* Where the chain stands while it is walked. */
struct chain {
    int64_t n; /* rows seen */
    char hash[HEX + 1];
    char last_key[64];
    size_t last_key_bytes;
};

static int broken(int64_t n, const char *how, struct err *err)
{
    return err_set(err, ERR_CONFLICT, "audit row %lld %s: the log was tampered with", (long long)n,
                   how);
}

static int walk_page(struct store *s, struct chain *c, bool *more, struct err *err)
{
    struct store_range range = {
        .prefix = STR("/audit/"), .after = {c->last_key, c->last_key_bytes},
             .limit = PAGE
    };
    struct store_kv *kvs;
    struct arena a;
    size_t count;
    int rc;

    arena_init(&a);
    rc = store_list(s, &range, &a, &kvs, &count, more, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct str key = row_number_key(&a, "/audit/", c->n + 1);
        struct ledger_row row;

        if (!str_eq(kvs[i].key, key))
            rc = broken(c->n + 1, "is missing", err);
        else if (decode_audit(&kvs[i], &a, &row, err) || row.number != c->n + 1)
            rc = broken(c->n + 1, "was changed", err);
        else if (!str_eq(row.previous, str_from(c->hash)))
            rc = broken(c->n, "was changed", err);
        if (rc)
            break;
        c->n++;
        memcpy(c->hash, hash_hex(kvs[i].value, &a).p, HEX);
        memcpy(c->last_key, key.p, key.n);
        c->last_key_bytes = key.n;
    }
    arena_done(&a);
    return rc;
}

int ledger_audit_verify(struct store *s, int64_t *rows, struct err *err)
{
    struct chain c = {0};
    struct node *head;
    struct arena a;
    bool more = true;
    int64_t seq;
    int rc = 0;

    memcpy(c.hash, zeros, HEX);
    while (rc == 0 && more)
        rc = walk_page(s, &c, &more, err);
    arena_init(&a);
    if (rc == 0)
        rc = get_row(s, STR("/audit-head"), "the head of the audit log", &a, &head, &seq, err);
    if (rc == 0 && c.n != (head ? row_number(head, "n") : 0))
        rc = broken(c.n + 1, "is missing", err);
    if (rc == 0 && head && !str_eq(node_text(head, "hash"), str_from(c.hash)))
        rc = broken(c.n, "was changed", err);
    arena_done(&a);
    if (rc == 0)
        *rows = c.n;
    return rc;
}

/* ------------------------------------------------------------------- tokens */

static struct str token_path(struct arena *a, struct str id)
{
    return arena_printf(a, "/token/%.*s", STR_ARG(id));
}

static struct str spent_path(struct arena *a, struct str id, struct str pin)
{
    return arena_printf(a, "/spent/%.*s/%.*s", STR_ARG(id), STR_ARG(pin));
}

static struct str encode_token(const struct ledger_token *t, struct arena *a)
{
    struct buf b;

    buf_init(&b, ROW_BYTES);
    buf_addc(&b, '{');
    row_str(&b, "id", t->id);
    row_str(&b, "secret", t->secret);
    row_int(&b, "uses_max", t->uses_max);
    row_int(&b, "uses_left", t->uses_left);
    row_int(&b, "created_ms", t->created_ms);
    row_int(&b, "expires_ms", t->expires_ms);
    row_opt(&b, "creator", t->creator);
    row_open(&b, "sources", '[');
    for (size_t i = 0; i < t->source_count; i++)
        row_str(&b, NULL, t->sources[i]);
    buf_addc(&b, ']');
    row_true(&b, "unrestricted", t->unrestricted);
    row_true(&b, "pending", t->pending);
    row_true(&b, "revoked", t->revoked);
    registry_encode_grants(&b, t->grants, t->grant_count);
    registry_encode_labels(&b, t->labels, t->label_count);
    buf_addc(&b, '}');
    return row_done(&b, a);
}

static void decode_token(const struct node *m, struct arena *a, struct ledger_token *out)
{
    const struct node *sources = node_get(m, STR("sources"));
    struct ledger_token t = {
        .id = arena_str(a, node_text(m, "id")),
        .secret = arena_str(a, node_text(m, "secret")),
        .uses_max = row_number(m, "uses_max"),
        .uses_left = row_number(m, "uses_left"),
        .created_ms = row_number(m, "created_ms"),
        .expires_ms = row_number(m, "expires_ms"),
        .creator = arena_str(a, node_text(m, "creator")),
        .unrestricted = node_is_true(m, "unrestricted"),
        .pending = node_is_true(m, "pending"),
        .revoked = node_is_true(m, "revoked"),
    };

    t.sources = ARENA_ARRAY(a, sources ? sources->count : 0, struct str);
    for (const struct node *n = sources ? sources->first : NULL; n; n = n->next)
        t.sources[t.source_count++] = arena_str(a, n->text);
    registry_decode_grants(m, a, &t.grants, &t.grant_count);
    registry_decode_labels(m, a, &t.labels, &t.label_count);
    *out = t;
}

static int check_token(const struct ledger_token *t, struct err *err)
{
    struct cidr c;

    if (t->id.n == 0 || t->id.n > 64 || str_has(t->id, '/') || !is_hash(t->secret))
        return err_set(err, ERR_INVALID, "a token needs an id and the SHA-256 of its secret");
    if (t->uses_max < 1 || t->uses_max > USES_MAX)
        return err_set(err, ERR_INVALID, "a token has 1 to %d uses, not %lld", USES_MAX,
                       (long long)t->uses_max);
    if (t->expires_ms <= t->created_ms)
        return err_set(err, ERR_INVALID, "a token must live for some time");
    for (size_t i = 0; i < t->source_count; i++) {
        if (!cidr_parse(t->sources[i], &c))
            return err_set(err, ERR_INVALID, "\"%.*s\" is not a range of addresses like 10.0.0.0/8",
                           STR_ARG(t->sources[i]));
    }
    return 0;
}

int ledger_token_add(struct store *s, const struct ledger_token *token,
                     const struct ledger_audit *audit, struct err *err)
{
    struct ledger_token row = *token;
    struct store_kv kv;
    struct store_txn t;
    struct str path;
    int rc;

    if (check_token(token, err))
        return -1;
    row.uses_left = row.uses_max;
    row.revoked = false;
    store_txn_init(&t);
    path = token_path(&t.arena, row.id);
    rc = store_get(s, path, &t.arena, &kv, err);
    if (rc == 0 && kv.mod_seq)
        rc = err_set(err, ERR_CONFLICT, "token %.*s exists already: make another", STR_ARG(row.id));
    if (rc == 0) {
        store_txn_if(&t, STORE_ABSENT, path);
        store_txn_put(&t, path, encode_token(&row, &t.arena));
        rc = write_txn(s, &t, audit, err);
    }
    store_txn_done(&t);
    return rc;
}

int ledger_token_list(struct store *s, struct arena *a, struct ledger_token **out, size_t *count,
                      struct err *err)
{
    struct store_range range = {.prefix = STR("/token/")};
    struct ledger_token *list;
    struct store_kv *kvs;
    size_t n;

    if (store_list(s, &range, a, &kvs, &n, NULL, err))
        return -1;
    list = ARENA_ARRAY(a, n, struct ledger_token);
    for (size_t i = 0; i < n; i++) {
        struct node *m;

        if (row_parse(kvs[i].value, "a token", a, &m, err))
            return -1;
        decode_token(m, a, &list[i]);
    }
    *out = list;
    *count = n;
    return 0;
}

/* *mod_seq 0: there is none. */
static int get_token(struct store *s, struct str id, struct arena *a, struct ledger_token *out,
                     int64_t *mod_seq, struct err *err)
{
    struct node *m;

    if (get_row(s, token_path(a, id), "a token", a, &m, mod_seq, err))
        return -1;
    if (m)
        decode_token(m, a, out);
    return 0;
}

int ledger_token_find(struct store *s, struct str id, struct arena *a, struct ledger_token *out,
                      struct err *err)
{
    int64_t seq;

    if (get_token(s, id, a, out, &seq, err))
        return -1;
    return seq ? 0 : err_set(err, ERR_MISSING, "there is no token %.*s", STR_ARG(id));
}

int ledger_token_revoke(struct store *s, struct str id, const struct ledger_audit *audit,
                        struct err *err)
{
    struct ledger_token token;
    struct store_txn t;
    struct str path;
    int64_t seq;
    int rc;

    store_txn_init(&t);
    path = token_path(&t.arena, id);
    rc = get_token(s, id, &t.arena, &token, &seq, err);
    if (rc == 0 && !seq)
        rc = err_set(err, ERR_MISSING, "there is no token %.*s", STR_ARG(id));
    if (rc == 0 && !token.revoked) {
        token.revoked = true;
        store_txn_if_seq(&t, path, seq);
        store_txn_put(&t, path, encode_token(&token, &t.arena));
        rc = write_txn(s, &t, audit, err);
    }
    store_txn_done(&t);
    return rc;
}

static bool token_is_over(const struct ledger_token *t, int64_t now_ms, int64_t keep_ms)
{
    if (t->expires_ms + keep_ms < now_ms)
        return true;
    /* A used up or revoked one is kept as long as it would have lived: its id must stay refused. */
    return (t->uses_left == 0 || t->revoked) && t->expires_ms < now_ms;
}

int ledger_token_sweep(struct store *s, int64_t now_ms, int64_t keep_ms, size_t *removed,
                       struct err *err)
{
    struct ledger_token *list;
    struct store_txn *t = MEM_NEW(struct store_txn);
    struct arena a;
    size_t n = 0, gone = 0;
    int rc;

    arena_init(&a);
    store_txn_init(t);
    rc = ledger_token_list(s, &a, &list, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (!token_is_over(&list[i], now_ms, keep_ms))
            continue;
        store_txn_delete(t, token_path(&a, list[i].id));
        store_txn_delete_prefix(t, spent_path(&a, list[i].id, STR("")));
        gone++;
        if (t->op_count >= SWEEP_BATCH) {
            rc = write_txn(s, t, NULL, err);
            store_txn_clear(t);
        }
    }
    if (rc == 0 && t->op_count)
        rc = write_txn(s, t, NULL, err);
    store_txn_done(t);
    mem_free(t);
    arena_done(&a);
    if (rc == 0 && removed)
        *removed = gone;
    return rc;
}

/* ----------------------------------------------------------- spending a token */

static bool from_allowed(const struct ledger_token *t, const struct addr *source)
{
    struct cidr c;

    for (size_t i = 0; i < t->source_count; i++) {
        if (cidr_parse(t->sources[i], &c) && cidr_has(&c, source))
            return true;
    }
    return t->source_count == 0;
}

static bool same_hash(struct str a, struct str b)
{
    uint8_t x[HASH_BYTES], y[HASH_BYTES];

    return text_unhex(a, x, sizeof(x)) && text_unhex(b, y, sizeof(y)) && hash_eq(x, y);
}

/* What does not depend on whether it was spent. The secret is judged first: who does not have it
 * learns nothing else. */
static int check_bearer(const struct ledger_token *t, const struct ledger_join *j, struct err *err)
{
    char text[ADDR_TEXT_MAX];

    if (!same_hash(t->secret, j->secret_hash))
        return err_set(
            err, ERR_DENIED,
            "the secret of token %.*s is wrong: copy the whole token again, or make a new "
            "one",
            STR_ARG(j->token));
    if (t->revoked)
        return err_set(err, ERR_DENIED, "token %.*s was revoked: make a new one",
                       STR_ARG(j->token));
    if (!from_allowed(t, &j->source))
        return err_set(
            err, ERR_DENIED,
            "token %.*s may not be used from %s: join from an address it allows, or make "
            "one with a wider source range",
            STR_ARG(j->token), addr_format_ip(&j->source, text));
    return 0;
}

static int check_life(const struct ledger_token *t, const struct ledger_join *j, struct err *err)
{
    if (j->now_ms >= t->expires_ms)
        return err_set(err, ERR_DENIED, "token %.*s expired %lld minutes ago: make a new one",
                       STR_ARG(j->token), (long long)((j->now_ms - t->expires_ms) / 60000));
    if (t->uses_left <= 0)
        return err_set(err, ERR_DENIED,
                       "token %.*s was used already (%lld of %lld): make a new one",
                       STR_ARG(j->token), (long long)t->uses_max, (long long)t->uses_max);
    return 0;
}

static int check_join(const struct ledger_join *j, struct err *err)
{
    if (!registry_host_name_ok(j->host_name))
        return err_set(err, ERR_INVALID,
                       "\"%.*s\" is not a host name: lower-case letters, digits and '-', in parts "
                       "separated by '.'",
                       STR_ARG(j->host_name));
    if (!is_hash(j->pin) || !is_hash(j->secret_hash))
        return err_set(err, ERR_INVALID, "a pin and a secret's hash are 64 hex digits");
    if (j->token.n == 0 || j->token.n > 64 || str_has(j->token, '/'))
        return err_set(err, ERR_INVALID, "that is not the id of a token");
    return 0;
}

/* A host by the key that names it; *seq 0 if there is none. */
static int get_host(struct store *s, struct str id, struct arena *a, struct registry_host *out,
                    int64_t *seq, struct err *err)
{
    struct store_kv kv;

    if (store_get(s, registry_host_path(a, id), a, &kv, err))
        return -1;
    *seq = kv.mod_seq;
    return kv.mod_seq ? registry_decode_host(kv.value, a, out, err) : 0;
}

static int get_host_by_pin(struct store *s, struct str pin, struct arena *a,
                           struct registry_host *out, int64_t *seq, struct err *err)
{
    struct node *m;
    int64_t found;

    *seq = 0;
    if (get_row(s, registry_pin_path(a, pin), "a bound key", a, &m, &found, err))
        return -1;
    return m ? get_host(s, node_text(m, "id"), a, out, seq, err) : 0;
}

/* The host that this key got from this token a moment ago; *replayed false if there is none. */
static int find_replay(struct store *s, const struct ledger_join *j, struct arena *a,
                       struct registry_host *out, bool *replayed, struct err *err)
{
    struct node *m;
    int64_t seq, host_seq;

    *replayed = false;
    if (get_row(s, spent_path(a, j->token, j->pin), "a spent token", a, &m, &seq, err))
        return -1;
    if (!m || j->now_ms - row_number(m, "at_ms") > LEDGER_REPLAY_MS)
        return 0;
    if (get_host(s, node_text(m, "host"), a, out, &host_seq, err))
        return -1;
    *replayed = host_seq != 0; /* it may have been deleted since */
    return 0;
}

/* The row of the host after this join: a new one, or the one that has this key. */
static int make_host(struct store *s, const struct ledger_join *j, const struct ledger_token *token,
                     struct arena *a, struct registry_host *h, int64_t *seq, struct err *err)
{
    char ulid[TEXT_ULID_MAX];
    struct store_kv name;

    if (get_host_by_pin(s, j->pin, a, h, seq, err))
        return -1;
    if (!*seq) {
        if (store_get(s, registry_name_path(a, j->host_name), a, &name, err))
            return -1;
        if (name.mod_seq)
            return err_set(
                err, ERR_CONFLICT,
                "the name %.*s is taken by a host with another key: choose another name, "
                "or delete that host first",
                STR_ARG(j->host_name));
        *h = (struct registry_host){.id = arena_str(a, str_from(text_ulid(j->now_ms, ulid))),
                                    .name = j->host_name,
                                    .pin = j->pin,
                                    .created_ms = j->now_ms};
    }
    h->state = token->pending ? REGISTRY_PENDING : REGISTRY_ACTIVE;
    if (j->address.n)
        h->address = j->address;
    h->unrestricted = token->unrestricted;
    h->grants = token->grants;
    h->grant_count = token->grant_count;
    h->labels = token->labels;
    h->label_count = token->label_count;
    h->joins++;
    h->last_join_ms = j->now_ms;
    h->token = j->token;
    return 0;
}

static void put_join(struct store_txn *t, const struct ledger_join *j, struct ledger_token *token,
                     int64_t token_seq, const struct registry_host *h, int64_t host_seq)
{
    struct str id = arena_printf(&t->arena, "{\"id\":\"%.*s\"}", STR_ARG(h->id));
    struct str host = registry_host_path(&t->arena, h->id);

    token->uses_left--;
    store_txn_if_seq(t, token_path(&t->arena, j->token), token_seq);
    store_txn_put(t, token_path(&t->arena, j->token), encode_token(token, &t->arena));
    store_txn_put(t, spent_path(&t->arena, j->token, j->pin),
                  arena_printf(&t->arena, "{\"host\":\"%.*s\",\"at_ms\":%lld}", STR_ARG(h->id),
                               (long long)j->now_ms));
    store_txn_if(t, STORE_ABSENT, arena_printf(&t->arena, "/eject-pin/%.*s", STR_ARG(j->pin)));
    store_txn_if_seq(t, host, host_seq);
    store_txn_put(t, host, registry_encode_host(&t->arena, h));
    if (host_seq)
        return;
    store_txn_if(t, STORE_ABSENT, registry_name_path(&t->arena, h->name));
    store_txn_put(t, registry_name_path(&t->arena, h->name), id);
    store_txn_if(t, STORE_ABSENT, registry_pin_path(&t->arena, h->pin));
    store_txn_put(t, registry_pin_path(&t->arena, h->pin), id);
}

static void default_audit(const struct ledger_join *j, struct arena *a, struct ledger_audit *out)
{
    char text[ADDR_TEXT_MAX];

    *out = (struct ledger_audit){
        .now_ms = j->now_ms,
        .actor = arena_printf(a, "token %.*s", STR_ARG(j->token)),
        .source = arena_str(a, str_from(addr_format(&j->source, text))),
        .action = STR("host.join"),
        .object = arena_printf(a, "host %.*s", STR_ARG(j->host_name)),
    };
}

/* One try. *done false: another server was faster, look again. */
static int spend_once(struct store *s, const struct ledger_join *j,
                      const struct ledger_audit *audit, struct arena *a, struct registry_host *out,
                      bool *replayed, bool *done, struct err *err)
{
    struct ledger_token token;
    struct registry_host h;
    struct store_result result;
    struct store_txn t;
    int64_t token_seq, host_seq;
    int rc;

    if (get_token(s, j->token, a, &token, &token_seq, err))
        return -1;
    if (!token_seq)
        return err_set(
            err, ERR_DENIED,
            "there is no token %.*s on this server: it was made elsewhere or is long over; "
            "make a new one",
            STR_ARG(j->token));
    if (check_bearer(&token, j, err))
        return -1;
    if (ledger_ejected(s, j->pin))
        return err_set(
            err, ERR_DENIED,
            "the key of this host was ejected: delete its key file, then join with a new "
            "token");
    *done = true;
    if (find_replay(s, j, a, out, replayed, err))
        return -1;
    if (*replayed)
        return 0;
    if (check_life(&token, j, err) || make_host(s, j, &token, a, &h, &host_seq, err))
        return -1;
    store_txn_init(&t);
    put_join(&t, j, &token, token_seq, &h, host_seq);
    rc = ledger_audit_add(s, &t, audit, err);
    if (rc == 0)
        rc = store_commit(s, &t, &result, err);
    store_txn_done(&t);
    if (rc == 0) {
        *done = result.succeeded;
        *out = h;
    }
    return rc;
}

int ledger_spend_token(struct store *s, const struct ledger_join *join,
                       const struct ledger_audit *audit, struct arena *a, struct registry_host *out,
                       bool *replayed, struct err *err)
{
    struct ledger_audit made;
    struct registry_host h;
    bool again = false, done = false;

    if (check_join(join, err))
        return -1;
    default_audit(join, a, &made);
    for (unsigned i = 0; !done && i < TRIES; i++) {
        if (spend_once(s, join, audit ? audit : &made, a, &h, &again, &done, err))
            return -1;
    }
    if (!done)
        return err_set(err, ERR_CONFLICT, "too many changes at once: try again");
    h.name = arena_str(a, h.name); /* the join's texts need not live as long as the arena */
    h.pin = arena_str(a, h.pin);
    h.address = arena_str(a, h.address);
    h.token = arena_str(a, h.token);
    *out = h;
    if (replayed)
        *replayed = again;
    return 0;
}

/* ------------------------------------------------------------- certificates */

static struct str cert_path(struct arena *a, struct str serial)
{
    return arena_printf(a, "/cert/%.*s", STR_ARG(serial));
}

static struct str host_cert_path(struct arena *a, struct str host, struct str serial)
{
    return arena_printf(a, "/host-cert/%.*s/%.*s", STR_ARG(host), STR_ARG(serial));
}

static struct str encode_cert(const struct ledger_certificate *c, struct arena *a)
{
    struct buf b;

    buf_init(&b, ROW_BYTES);
    buf_addc(&b, '{');
    row_str(&b, "serial", c->serial);
    row_str(&b, "identity", c->identity);
    row_str(&b, "host", c->host);
    row_opt(&b, "pin", c->pin);
    row_int(&b, "issued_ms", c->issued_ms);
    row_int(&b, "not_after_ms", c->not_after_ms);
    buf_addc(&b, '}');
    return row_done(&b, a);
}

static void decode_cert(const struct node *m, struct arena *a, struct ledger_certificate *out)
{
    *out = (struct ledger_certificate){
        .serial = arena_str(a, node_text(m, "serial")),
        .identity = arena_str(a, node_text(m, "identity")),
        .host = arena_str(a, node_text(m, "host")),
        .pin = arena_str(a, node_text(m, "pin")),
        .issued_ms = row_number(m, "issued_ms"),
        .not_after_ms = row_number(m, "not_after_ms"),
    };
}

static int put_certs(struct store *s, const struct ledger_certificate *certs, size_t count,
                     const struct ledger_audit *audit, struct err *err)
{
    struct store_txn *t = MEM_NEW(struct store_txn);
    int rc;

    store_txn_init(t);
    for (size_t i = 0; i < count; i++) {
        store_txn_put(t, cert_path(&t->arena, certs[i].serial), encode_cert(&certs[i], &t->arena));
        store_txn_put(t, host_cert_path(&t->arena, certs[i].host, certs[i].serial), STR("{}"));
    }
    rc = write_txn(s, t, audit, err);
    store_txn_done(t);
    mem_free(t);
    return rc;
}

int ledger_certificate_add(struct store *s, const struct ledger_certificate *certs, size_t count,
                           const struct ledger_audit *audit, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (certs[i].serial.n == 0 || certs[i].serial.n > HEX || str_has(certs[i].serial, '/'))
            return err_set(err, ERR_INVALID, "a certificate needs its serial number in hex");
    }
    for (size_t i = 0; i < count; i += CERTS_BATCH) {
        size_t n = MIN(count - i, CERTS_BATCH);

        if (put_certs(s, certs + i, n, i + n == count ? audit : NULL, err))
            return -1;
    }
    return 0;
}

int ledger_certificate_find(struct store *s, struct str serial, struct arena *a,
                            struct ledger_certificate *out, struct err *err)
{
    struct node *m;
    int64_t seq;

    if (get_row(s, cert_path(a, serial), "a certificate", a, &m, &seq, err))
        return -1;
    if (!m)
        return err_set(err, ERR_MISSING, "no certificate %.*s was issued here", STR_ARG(serial));
    decode_cert(m, a, out);
    return 0;
}

int ledger_certificate_list(struct store *s, struct str host, struct str after, size_t limit,
                            struct arena *a, struct ledger_certificate **out, size_t *count,
                            struct err *err)
{
    struct str prefix = host.n ? host_cert_path(a, host, STR("")) : STR("/cert/");
    struct store_range range = {.prefix = prefix, .limit = limit, .keys_only = true};
    struct ledger_certificate *list;
    struct store_kv *kvs;
    size_t n;

    if (after.n)
        range.after = arena_printf(a, "%.*s%.*s", STR_ARG(prefix), STR_ARG(after));
    if (store_list(s, &range, a, &kvs, &n, NULL, err))
        return -1;
    list = ARENA_ARRAY(a, n, struct ledger_certificate);
    for (size_t i = 0; i < n; i++) {
        if (ledger_certificate_find(s, str_sub(kvs[i].key, prefix.n, kvs[i].key.n), a, &list[i],
                                    err))
            return -1;
    }
    *out = list;
    *count = n;
    return 0;
}

/* One page of certificates: delete what is over. */
static int sweep_certs(struct store *s, int64_t before_ms, char *last, size_t *last_bytes,
                       bool *more, size_t *gone, struct err *err)
{
    struct store_range range = {
        .prefix = STR("/cert/"), .after = {last, *last_bytes},
             .limit = SWEEP_BATCH
    };
    struct store_txn *t = MEM_NEW(struct store_txn);
    struct store_kv *kvs;
    struct arena a;
    size_t n = 0;
    int rc;

    arena_init(&a);
    store_txn_init(t);
    rc = store_list(s, &range, &a, &kvs, &n, more, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct ledger_certificate c;
        struct node *m;

        rc = row_parse(kvs[i].value, "a certificate", &a, &m, err);
        if (rc)
            break;
        decode_cert(m, &a, &c);
        *last_bytes = kvs[i].key.n;
        memcpy(last, kvs[i].key.p, kvs[i].key.n);
        if (c.not_after_ms >= before_ms)
            continue;
        store_txn_delete(t, kvs[i].key);
        store_txn_delete(t, host_cert_path(&a, c.host, c.serial));
        *gone += 1;
    }
    if (rc == 0 && t->op_count)
        rc = write_txn(s, t, NULL, err);
    store_txn_done(t);
    mem_free(t);
    arena_done(&a);
    return rc;
}

int ledger_certificate_sweep(struct store *s, int64_t now_ms, int64_t keep_ms, size_t *removed,
                             struct err *err)
{
    char last[STORE_KEY_BYTES];
    size_t last_bytes = 0, gone = 0;
    bool more = true;

    while (more) {
        if (sweep_certs(s, now_ms - keep_ms, last, &last_bytes, &more, &gone, err))
            return -1;
    }
    if (removed)
        *removed = gone;
    return 0;
}

/* ---------------------------------------------------------------- ejections */

static struct str encode_ejection(const struct registry_host *h, struct str reason, int64_t at_ms,
                                  struct arena *a)
{
    struct buf b;

    buf_init(&b, ROW_BYTES);
    buf_addc(&b, '{');
    row_str(&b, "host", h->id);
    row_str(&b, "name", h->name);
    put_text(&b, "reason", reason);
    row_str(&b, "pin", h->pin);
    row_int(&b, "at_ms", at_ms);
    buf_addc(&b, '}');
    return row_done(&b, a);
}

int ledger_eject(struct store *s, struct str host, struct str reason,
                 const struct ledger_audit *audit, struct err *err)
{
    int64_t at_ms = audit ? audit->now_ms : text_wall_ms();
    struct registry_host h;
    struct store_txn t;
    struct str path, row;
    int64_t seq;
    int rc;

    store_txn_init(&t);
    path = registry_host_path(&t.arena, host);
    rc = get_host(s, host, &t.arena, &h, &seq, err);
    if (rc == 0 && !seq)
        rc = err_set(err, ERR_MISSING, "host %.*s is not known: see the list of hosts",
                     STR_ARG(host));
    if (rc == 0 && h.state == REGISTRY_EJECTED)
        rc = err_set(err, ERR_CONFLICT, "host %.*s is ejected already", STR_ARG(h.name));
    if (rc == 0) {
        h.state = REGISTRY_EJECTED;
        row = encode_ejection(&h, reason, at_ms, &t.arena);
        store_txn_if_seq(&t, path, seq);
        store_txn_put(&t, path, registry_encode_host(&t.arena, &h));
        store_txn_delete(&t, registry_workloads_path(&t.arena, h.id));
        store_txn_put(&t, arena_printf(&t.arena, "/eject/%.*s", STR_ARG(h.id)), row);
        store_txn_put(&t, arena_printf(&t.arena, "/eject-pin/%.*s", STR_ARG(h.pin)), row);
        rc = write_txn(s, &t, audit, err);
    }
    store_txn_done(&t);
    return rc;
}

int ledger_ejection_list(struct store *s, struct arena *a, struct ledger_ejection **out,
                         size_t *count, struct err *err)
{
    struct store_range range = {.prefix = STR("/eject/")};
    struct ledger_ejection *list;
    struct store_kv *kvs;
    size_t n;

    if (store_list(s, &range, a, &kvs, &n, NULL, err))
        return -1;
    list = ARENA_ARRAY(a, n, struct ledger_ejection);
    for (size_t i = 0; i < n; i++) {
        struct node *m;

        if (row_parse(kvs[i].value, "an ejection", a, &m, err))
            return -1;
        list[i] = (struct ledger_ejection){.host = node_text(m, "host"),
                                           .name = node_text(m, "name"),
                                           .reason = node_text(m, "reason"),
                                           .pin = node_text(m, "pin"),
                                           .at_ms = row_number(m, "at_ms")};
    }
    *out = list;
    *count = n;
    return 0;
}

bool ledger_ejected(struct store *s, struct str host_or_pin)
{
    static const char *const folders[] = {"/eject/", "/eject-pin/"};
    bool found = false;
    struct arena a;

    arena_init(&a);
    for (size_t i = 0; i < COUNT(folders); i++) {
        struct store_kv kv;
        struct err ignored;

        /* Who cannot be looked up is refused. */
        if (store_get(s, arena_printf(&a, "%s%.*s", folders[i], STR_ARG(host_or_pin)), &a, &kv,
                      &ignored) ||
            kv.mod_seq)
            found = true;
    }
    arena_done(&a);
    return found;
}
