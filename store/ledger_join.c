/* Spending a token: a host joins, once per token or as often as it says. */
#include "store/ledger_parts.h"

#include "mesh/base/text.h"

#define TRIES 4u /* when another server was faster */

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
    if (!ledger_is_hash(j->pin) || !ledger_is_hash(j->secret_hash))
        return err_set(err, ERR_INVALID, "a pin and a secret's hash are 64 hex digits");
    if (j->token.n == 0 || j->token.n > 64 || str_has(j->token, '/'))
        return err_set(err, ERR_INVALID, "that is not the id of a token");
    return 0;
}

static int get_host_by_pin(struct store *s, struct str pin, struct arena *a,
                           struct registry_host *out, int64_t *seq, struct err *err)
{
    struct node *m;
    int64_t found;

    *seq = 0;
    if (ledger_get_row(s, registry_pin_path(a, pin), "a bound key", a, &m, &found, err))
        return -1;
    return m ? ledger_get_host(s, node_text(m, "id"), a, out, seq, err) : 0;
}

/* The host that this key got from this token a moment ago; *replayed false if there is none. */
static int find_replay(struct store *s, const struct ledger_join *j, struct arena *a,
                       struct registry_host *out, bool *replayed, struct err *err)
{
    struct node *m;
    int64_t seq, host_seq;

    *replayed = false;
    if (ledger_get_row(s, ledger_spent_path(a, j->token, j->pin), "a spent token", a, &m, &seq,
                       err))
        return -1;
    if (!m || j->now_ms - row_number(m, "at_ms") > LEDGER_REPLAY_MS)
        return 0;
    if (ledger_get_host(s, node_text(m, "host"), a, out, &host_seq, err))
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
    store_txn_if_seq(t, ledger_token_path(&t->arena, j->token), token_seq);
    store_txn_put(t, ledger_token_path(&t->arena, j->token), ledger_encode_token(token, &t->arena));
    store_txn_put(t, ledger_spent_path(&t->arena, j->token, j->pin),
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

    if (ledger_get_token(s, j->token, a, &token, &token_seq, err))
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
