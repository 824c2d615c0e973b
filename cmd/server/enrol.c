/* Token + CSR -> certificate: joining, further certificates, and coming back after weeks.
 *
 * Spending the token and binding the host's key is one transaction (ledger_spend_token); the
 * certificate is signed after it, and a host that lost the answer asks again with the same key. */
#include <stdio.h>
#include <string.h>

#include "cmd/server/server.h"
#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/text.h"
#include "mesh/identity.h"
#include "pki/ca.h"
#include "pki/cert.h"
#include "pki/key.h"
#include "pki/token.h"
#include "store/ledger.h"
#include "store/registry.h"
#include "store/store.h"

#define CLOCK_SKEW_MS_MAX 300000 /* a join with clocks further apart is refused with both times */
#define JOIN_TTL_MS_MAX   (366ll * 24 * 3600 * 1000)
#define GRANTS_MAX        64
#define REQUESTS_MAX      100  /* certificates in one call */
#define SIGNED_MINUTE     1000 /* certificates for one host: 429 */
#define STRANGERS_MINUTE  60   /* refused joins and recoveries from one address: 429 */

static bool too_often(struct server *s, struct serve_request *r, struct str who, unsigned cost,
                      unsigned limit)
{
    if (throttle_take(s->throttle, who, cost, limit, loop_now_ms(s->loop)))
        return false;
    serve_header(r, "retry-after", STR("60"));
    reply_problem(r, 429, http_reason(429), "too many requests; try again in a minute");
    return true;
}

/* ---- tokens ---- */

static int parse_grants(struct str list, struct registry_grant *out, size_t *count, struct err *err)
{
    struct str item;

    *count = 0;
    while (str_next(&list, ',', &item)) {
        struct str ns = STR("default"), name = str_trim(item), head;

        if (str_cut(&name, '/', &head))
            ns = head;
        if (!identity_label_ok(ns) || !identity_label_ok(name))
            return err_set(err, ERR_INVALID,
                           "\"%.*s\" is not a service: write NAME or NAMESPACE/NAME",
                           STR_ARG(item));
        if (*count == GRANTS_MAX)
            return err_set(err, ERR_LIMIT, "more than %d services in one token", GRANTS_MAX);
        out[(*count)++] = (struct registry_grant){ns, name, name};
    }
    return 0;
}

static int parse_sources(struct str list, struct str *out, size_t *count, struct err *err)
{
    struct str item;
    struct cidr c;

    *count = 0;
    while (str_next(&list, ',', &item)) {
        if (!cidr_parse(str_trim(item), &c))
            return err_set(err, ERR_INVALID, "\"%.*s\" is not an address range: write 10.0.0.0/16",
                           STR_ARG(item));
        if (*count == GRANTS_MAX)
            return err_set(err, ERR_LIMIT, "more than %d ranges in one token", GRANTS_MAX);
        out[(*count)++] = str_trim(item);
    }
    return 0;
}

int enrol_token_create(struct server *s, const struct enrol_token *want,
                       const struct ledger_audit *audit, struct buf *join, struct buf *id,
                       struct err *err)
{
    struct registry_grant grants[GRANTS_MAX];
    struct str sources[GRANTS_MAX], endpoints[TOKEN_ENDPOINTS_MAX],
        rest = str_from(s->settings.advertise), item;
    struct ledger_token row = {.grants = grants, .sources = sources};
    struct token token;
    uint8_t hash[HASH_BYTES];
    struct buf hex;
    size_t count = 0;
    int rc = -1;

    if (want->uses < 1 || want->uses > 1000000)
        return err_set(err, ERR_INVALID, "uses must be between 1 and 1000000");
    if (want->ttl_ms < 1000 || want->ttl_ms > JOIN_TTL_MS_MAX)
        return err_set(err, ERR_INVALID, "ttl must be between 1s and 8784h");
    if (parse_grants(want->services, grants, &row.grant_count, err) ||
        parse_sources(want->from, sources, &row.source_count, err))
        return -1;
    while (count < TOKEN_ENDPOINTS_MAX && str_next(&rest, ',', &item))
        endpoints[count++] = str_trim(item);
    if (token_mint(ca_pin(s->ca), endpoints, count, &token, err))
        return -1;
    buf_init(&hex, 2 * HASH_BYTES + 1);
    token_hash(token.secret, hash);
    text_hex(&hex, hash, sizeof(hash));
    row.id = str_from(token.id);
    row.secret = buf_str(&hex);
    row.uses_max = row.uses_left = want->uses;
    row.created_ms = audit->now_ms;
    row.expires_ms = audit->now_ms + want->ttl_ms;
    row.creator = audit->actor;
    row.unrestricted = row.grant_count == 0;
    if (ledger_token_add(s->store, &row, audit, err) == 0 && token_format(&token, join, err) == 0) {
        buf_adds(id, token.id);
        rc = 0;
    }
    key_wipe(&token, sizeof(token));
    buf_done(&hex);
    return rc;
}

/* ---- signing ---- */

/* Sign for `uri`, note it in `row`, append the chain to `pem`. */
static int sign(struct server *s, struct str csr, struct str uri, struct str host_id,
                struct buf *pem, struct arena *a, struct ledger_certificate *row, struct err *err)
{
    struct ca_leaf leaf = {.uri = uri, .lifetime_ms = s->settings.leaf_ns / 1000000};
    struct cert_info *info = ARENA_NEW(a, struct cert_info);
    struct buf pin;
    uint8_t hash[HASH_BYTES];

    if (cert_csr_key(csr, &leaf.key, err) ||
        ca_sign(s->ca, &leaf, loop_wall_ms(s->loop), pem, info, err))
        return -1;
    buf_init(&pin, 2 * HASH_BYTES + 1);
    key_pin(&leaf.key, hash);
    text_hex(&pin, hash, sizeof(hash));
    *row = (struct ledger_certificate){.serial = str_from(info->serial),
                                       .identity = uri,
                                       .host = host_id,
                                       .pin = arena_str(a, buf_str(&pin)),
                                       .issued_ms = loop_wall_ms(s->loop),
                                       .not_after_ms = info->not_after_ms};
    buf_done(&pin);
    return 0;
}

/* What was signed is issued when the ledger has it; before, nobody gets to see it. */
static int remember(struct server *s, const struct ledger_certificate *rows, size_t count,
                    struct err *err)
{
    if (count && ledger_certificate_add(s->store, rows, count, NULL, err))
        return -1;
    s->counters.certificates += count;
    return 0;
}

static int csr_pin(struct str csr, struct buf *hex, struct err *err)
{
    struct key_pub pub;
    uint8_t hash[HASH_BYTES];

    if (cert_csr_key(csr, &pub, err))
        return -1;
    key_pin(&pub, hash);
    text_hex(hex, hash, sizeof(hash));
    return 0;
}

/* The part of the answer that joining and coming back share. */
static int answer_host(struct server *s, struct serve_request *r, const struct registry_host *h,
                       struct str csr, struct arena *a, struct err *err)
{
    struct ledger_certificate row;
    struct buf uri, pem, body;
    int rc = -1;

    buf_init(&uri, 4096);
    buf_init(&pem, LIMIT_API_BODY_BYTES);
    buf_init(&body, LIMIT_API_BODY_BYTES);
    identity_host(&uri, str_from(s->settings.trust_domain), h->id);
    if (sign(s, csr, buf_str(&uri), h->id, &pem, a, &row, err) == 0 &&
        remember(s, &row, 1, err) == 0) {
        buf_adds(&body, "{\"hostId\":");
        buf_json(&body, h->id);
        buf_adds(&body, ",\"name\":");
        buf_json(&body, h->name);
        buf_adds(&body, ",\"address\":");
        buf_json(&body, h->address);
        buf_adds(&body, ",\"trustDomain\":");
        buf_json(&body, str_from(s->settings.trust_domain));
        buf_adds(&body, ",\"domain\":");
        buf_json(&body, str_from(s->settings.domain));
        buf_adds(&body, ",\"rootNamespace\":");
        buf_json(&body, str_from(s->settings.root_namespace));
        buf_adds(&body, ",\"server\":");
        buf_json(&body, str_from(s->name));
        buf_printf(&body,
                   ",\"joins\":%lld,\"serverTime\":%lld,\"certificate\":", (long long)h->joins,
                   (long long)loop_wall_ms(s->loop));
        buf_json(&body, buf_str(&pem));
        buf_adds(&body, ",\"roots\":");
        buf_json(&body, ca_roots_pem(s->ca));
        buf_addc(&body, '}');
        reply_json(r, 200, &body);
        rc = 0;
    }
    buf_done(&uri);
    buf_done(&pem);
    buf_done(&body);
    return rc;
}

static int check_clock(const struct server *s, const struct node *body, struct err *err)
{
    struct str text = node_text(body, "time");
    int64_t theirs, ours = loop_wall_ms(s->loop), off;
    struct buf b;

    if (!str_int(text, 0, INT64_MAX / 2, &theirs))
        return err_set(err, ERR_INVALID, "time (milliseconds since 1970) is missing");
    off = theirs > ours ? theirs - ours : ours - theirs;
    if (off <= CLOCK_SKEW_MS_MAX)
        return 0;
    buf_init(&b, 256);
    text_time(&b, theirs, false);
    buf_adds(&b, ", the server's ");
    text_time(&b, ours, false);
    (void)err_set(err, ERR_INVALID,
                  "the clocks are %lld s apart: this host's says %.*s; set the clock (timedatectl) "
                  "and join again",
                  (long long)(off / 1000), STR_ARG(buf_str(&b)));
    buf_done(&b);
    return -1;
}

static int join(struct server *s, struct serve_request *r, struct arena *a, struct err *err)
{
    struct node *body;
    struct registry_host host;
    struct ledger_audit audit;
    struct ledger_join want;
    uint8_t secret[TOKEN_SECRET_BYTES], hash[HASH_BYTES];
    struct buf hash_hex, pin;
    char source[ADDR_TEXT_MAX];
    struct addr ip;
    bool replayed = false;
    int rc = -1;

    buf_init(&hash_hex, 2 * HASH_BYTES + 1);
    buf_init(&pin, 2 * HASH_BYTES + 1);
    if (json_read(r->body, a, &body, err) || check_clock(s, body, err))
        goto out;
    if (!token_parse_secret(node_text(body, "secret"), secret)) {
        (void)err_set(err, ERR_DENIED,
                      "the token is not valid; make another with: weft token create");
        goto out;
    }
    token_hash(secret, hash);
    key_wipe(secret, sizeof(secret));
    text_hex(&hash_hex, hash, sizeof(hash));
    if (csr_pin(node_text(body, "csr"), &pin, err))
        goto out;
    want = (struct ledger_join){.token = node_text(body, "token"),
                                .secret_hash = buf_str(&hash_hex),
                                .host_name = node_text(body, "name"),
                                .pin = buf_str(&pin),
                                .source = r->peer,
                                .address = node_text(body, "address"),
                                .now_ms = loop_wall_ms(s->loop)};
    if (want.address.n == 0)
        want.address = str_from(addr_format_ip(&r->peer, source));
    if (!addr_parse_ip(want.address, &ip) || addr_is_any(&ip)) {
        (void)err_set(err, ERR_INVALID, "address \"%.*s\" is not an IP address others could reach",
                      STR_ARG(want.address));
        goto out;
    }
    role_audit(s, r, "host.join", a, &audit);
    audit.actor = arena_printf(a, "token %.*s", STR_ARG(want.token));
    audit.object = want.host_name;
    if (ledger_spend_token(s->store, &want, &audit, a, &host, &replayed, err))
        goto out;
    rc = answer_host(s, r, &host, node_text(body, "csr"), a, err);
    if (rc == 0)
        log_info("host joined host=%.*s id=%.*s token=%.*s replayed=%d", STR_ARG(host.name),
                 STR_ARG(host.id), STR_ARG(want.token), replayed);
out:
    buf_done(&hash_hex);
    buf_done(&pin);
    return rc;
}

void enrol_join(struct server *s, struct serve_request *r)
{
    struct arena a;
    struct str who;
    struct err err;

    arena_init(&a);
    who = throttle_source(&r->peer, &a);
    if (too_often(s, r, who, 0, STRANGERS_MINUTE)) {
        s->counters.joins_refused++;
    } else if (join(s, r, &a, &err)) {
        (void)throttle_take(s->throttle, who, 1, STRANGERS_MINUTE, loop_now_ms(s->loop));
        s->counters.joins_refused++;
        log_warn("join refused, host stays out: %s", err.text);
        reply_err(r, &err);
    } else {
        s->counters.joins++;
    }
    arena_done(&a);
}

/* ---- further certificates of a member ---- */

/* The identity asked for, if this host may have it. */
static int identity_for(struct server *s, const struct node *want, struct str host_id,
                        struct buf *uri, struct err *err)
{
    struct str kind = node_text(want, "kind"), ns = node_text(want, "namespace"),
               account = node_text(want, "account");
    struct str td = str_from(s->settings.trust_domain);

    if (str_eq(kind, STR("host"))) {
        identity_host(uri, td, host_id);
        return 0;
    }
    if (!identity_label_ok(ns))
        return err_set(err, ERR_INVALID, "namespace \"%.*s\" is not a label", STR_ARG(ns));
    if (str_eq(kind, STR("default"))) { /* callers that belong to no service: host-ID, which nobody
                                           else can ask for */
        char name[64];
        int n = snprintf(name, sizeof(name), "host-%.*s", STR_ARG(host_id));

        for (int i = 0; i < n; i++)
            name[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
        identity_service(uri, td, ns, str_from(name));
        return 0;
    }
    if (!str_eq(kind, STR("service")))
        return err_set(err, ERR_INVALID, "kind \"%.*s\" is not host, default or service",
                       STR_ARG(kind));
    if (registry_may(s->registry, host_id, ns, node_text(want, "service"), account, err))
        return -1;
    identity_service(uri, td, ns, account);
    return 0;
}

/* One item of the answer: a certificate, or why there is none. One that may not be must not cost
 * the host the others. */
static bool answer_request(struct server *s, const struct node *want, struct str host_id,
                           struct buf *body, struct arena *a, struct ledger_certificate *row)
{
    struct buf uri, pem;
    struct err err;
    bool good;

    buf_init(&uri, 4096);
    buf_init(&pem, LIMIT_API_BODY_BYTES);
    good = identity_for(s, want, host_id, &uri, &err) == 0 &&
           sign(s, node_text(want, "csr"), arena_str(a, buf_str(&uri)), host_id, &pem, a, row,
                &err) == 0;
    if (good) {
        buf_adds(body, "{\"identity\":");
        buf_json(body, buf_str(&uri));
        buf_adds(body, ",\"certificate\":");
        buf_json(body, buf_str(&pem));
    } else {
        buf_adds(body, "{\"service\":");
        buf_json(body, node_text(want, "service"));
        buf_adds(body, ",\"problem\":");
        buf_json(body, str_from(err.text));
    }
    buf_addc(body, '}');
    buf_done(&uri);
    buf_done(&pem);
    return good;
}

static int certificates(struct server *s, struct serve_request *r, struct str host_id,
                        const struct node *list, struct arena *a, struct err *err)
{
    struct ledger_certificate rows[REQUESTS_MAX];
    struct buf body;
    size_t count = 0;
    int rc;

    buf_init(&body, LIMIT_APPLY_BYTES);
    buf_adds(&body, "{\"certificates\":[");
    for (const struct node *n = list->first; n; n = n->next) {
        if (n != list->first)
            buf_addc(&body, ',');
        if (answer_request(s, n, host_id, &body, a, &rows[count]))
            count++;
    }
    buf_adds(&body, "],\"roots\":");
    buf_json(&body, ca_roots_pem(s->ca));
    buf_printf(&body, ",\"serverTime\":%lld}", (long long)loop_wall_ms(s->loop));
    rc = remember(s, rows, count, err);
    if (rc == 0)
        reply_json(r, 200, &body);
    buf_done(&body);
    return rc;
}

void enrol_certificates(struct server *s, struct serve_request *r, struct str host_id)
{
    const struct registry_host *h = registry_host(s->registry, host_id);
    const struct node *list;
    struct node *root;
    struct arena a;
    struct err err;
    int rc = -1;

    arena_init(&a);
    if (!h || h->state != REGISTRY_ACTIVE) {
        (void)err_set(&err, ERR_DENIED,
                      "this host is no member (any more); join it again with a new token");
    } else if (json_read(r->body, &a, &root, &err) == 0) {
        list = node_get(root, STR("requests"));
        if (!list || list->kind != NODE_LIST || list->count == 0 || list->count > REQUESTS_MAX)
            (void)err_set(&err, ERR_INVALID, "requests must be a list of 1 to %d", REQUESTS_MAX);
        else if (too_often(s, r, host_id, (unsigned)list->count, SIGNED_MINUTE))
            rc = 0; /* answered */
        else
            rc = certificates(s, r, host_id, list, &a, &err);
    }
    if (rc)
        reply_err(r, &err);
    arena_done(&a);
}

/* A host whose certificate ran out proves its bound key by the CSR's signature: a copy of the
 * request gives nobody else anything, because the certificate is for that key only. */
static int recover(struct server *s, struct serve_request *r, struct arena *a, struct err *err)
{
    struct node *body;
    const struct registry_host *h;
    struct buf pin;
    int rc = -1;

    buf_init(&pin, 2 * HASH_BYTES + 1);
    if (json_read(r->body, a, &body, err) || csr_pin(node_text(body, "csr"), &pin, err))
        goto out;
    h = registry_host_by_pin(s->registry, buf_str(&pin));
    if (!h || !str_eq(h->id, node_text(body, "host")) || h->state != REGISTRY_ACTIVE) {
        (void)err_set(err, ERR_DENIED,
                      "no member with this key; join the host again with a new token");
        goto out;
    }
    rc = answer_host(s, r, h, node_text(body, "csr"), a, err);
    if (rc == 0)
        log_info("host came back host=%.*s id=%.*s", STR_ARG(h->name), STR_ARG(h->id));
out:
    buf_done(&pin);
    return rc;
}

void enrol_recover(struct server *s, struct serve_request *r)
{
    struct arena a;
    struct err err;

    arena_init(&a);
    if (!too_often(s, r, throttle_source(&r->peer, &a), 1, STRANGERS_MINUTE) &&
        recover(s, r, &a, &err))
        reply_err(r, &err);
    arena_done(&a);
}
