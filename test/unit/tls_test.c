/* Two sessions back to back in memory. */
#include "test/unit/tls_world.h"

/* Everything that `t` can decrypt now, in reads of `max`. */
static enum tls_step read_all(struct tls *t, struct pipe *from, size_t chunk, size_t max,
                              struct buf *out)
{
    uint8_t *plain = mem_alloc(max);
    enum tls_step step;

    for (;;) {
        struct tls_input in = take(from, chunk);
        size_t had = in.n, n = 0;

        step = tls_read(t, &in, plain, max, &n);
        from->at += had - in.n;
        buf_add(out, (struct str){(const char *)plain, n});
        if (step == TLS_AGAIN && from->at < from->b.n)
            continue;
        if (step != TLS_OK)
            break;
    }
    mem_free(plain);
    return step;
}

static const struct tls_options mesh = {.peer = TLS_PEER_REQUIRED};

struct mesh_pair {
    struct pki_world w;
    struct creds *web, *db;
    struct tls_tickets *tickets;
    struct tls_context *client, *server;
};

static void mesh_init_with(struct mesh_pair *m, const struct tls_options *client,
                           const struct tls_options *server)
{
    struct err err = {0};

    pki_world_init(&m->w, "cluster.local");
    m->web = pki_world_creds(&m->w, WEB_URI, m->w.now_ms);
    m->db = pki_world_creds(&m->w, DB_URI, m->w.now_ms);
    m->tickets = tls_tickets_new();
    m->client = tls_client_context(m->web, client, &err);
    m->server = tls_server_context(m->db, m->tickets, server, &err);
    if (!m->client || !m->server)
        print_error("%s\n", err.text);
    CHECK(m->client && m->server);
}

static void mesh_init(struct mesh_pair *m)
{
    mesh_init_with(m, &mesh, &mesh);
}

static void mesh_done(struct mesh_pair *m)
{
    tls_context_unref(m->client);
    tls_context_unref(m->server);
    tls_tickets_unref(m->tickets);
    creds_unref(m->web);
    creds_unref(m->db);
    pki_world_done(&m->w);
}

TEST(both_sides_learn_who_the_other_is)
{
    struct mesh_pair m;
    struct pair p;

    mesh_init(&m);
    pair_init(&p, m.client, m.server, "db.default", "");
    tls_expect(p.client, STR(DB_URI));
    tls_expect(p.server, STR("spiffe://other.test/x spiffe://cluster.local/ns/default/*"));
    CHECK(pair_shake(&p));
    CHECK(tls_is_established(p.client) && tls_is_established(p.server));
    CHECK_STR(tls_peer_uri(p.client), DB_URI);
    CHECK_STR(tls_peer_uri(p.server), WEB_URI);
    CHECK(str_eq(tls_peer_fingerprint(p.client), creds_fingerprint(m.db)));
    CHECK(str_eq(tls_peer_fingerprint(p.server), creds_fingerprint(m.web)));
    CHECK_INT(tls_peer_not_after_ms(p.client), creds_not_after_ms(m.db));
    CHECK_STR(tls_sni(p.server), "db.default");
    CHECK_TEXT(tls_version(p.client), "TLSv1.2");
    CHECK_TEXT(tls_cipher(p.client), "TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256");
    CHECK(!tls_is_resumed(p.client) && !tls_is_resumed(p.server));
    CHECK_INT(tls_alpn(p.client).n, 0);
    pair_done(&p);
    mesh_done(&m);
}

TEST(a_handshake_may_come_one_byte_at_a_time)
{
    struct mesh_pair m;
    struct pair p;

    mesh_init(&m);
    pair_init(&p, m.client, m.server, "", "");
    p.chunk = 1;
    CHECK(pair_shake(&p));
    CHECK_STR(tls_peer_uri(p.server), WEB_URI);
    pair_done(&p);
    mesh_done(&m);
}

TEST(data_crosses_in_odd_chunks_and_close_notify_is_the_end)
{
    static const size_t sizes[] = {1, 7, 16384, 16385, 100000, 0, 3};
    static uint8_t plain[100000];
    struct mesh_pair m;
    struct pair p;
    struct buf sent, got;

    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)(i * 31 + i / 251);
    mesh_init(&m);
    pair_init(&p, m.client, m.server, "", "");
    CHECK(pair_shake(&p));
    buf_init(&sent, 1 << 20);
    buf_init(&got, 1 << 20);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        CHECK_INT(tls_write(p.client, plain, sizes[i]), TLS_OK);
        buf_add(&sent, (struct str){(const char *)plain, sizes[i]});
    }
    CHECK_INT(read_all(p.server, &p.up, 137, 1000, &got), TLS_AGAIN);
    CHECK(str_eq(buf_str(&sent), buf_str(&got)));
    CHECK(!tls_read_pending(p.server));
    /* The other way, while the first stays open; then a half-close. */
    buf_clear(&got);
    CHECK_INT(tls_write(p.server, "pong", 4), TLS_OK);
    CHECK_INT(read_all(p.client, &p.down, 5, 3, &got), TLS_AGAIN);
    CHECK_STR(buf_str(&got), "pong");
    tls_close(p.client);
    CHECK_INT(tls_write(p.client, "x", 1), TLS_FAILED);
    CHECK_INT(read_all(p.server, &p.up, 1000, 1000, &got), TLS_EOF);
    CHECK_INT(read_all(p.server, &p.up, 1000, 1000, &got), TLS_EOF);
    CHECK_INT(tls_write(p.server, "last words", 10), TLS_OK);
    buf_clear(&got);
    CHECK_INT(read_all(p.client, &p.down, 1000, 1000, &got), TLS_AGAIN);
    CHECK_STR(buf_str(&got), "last words");
    buf_done(&sent);
    buf_done(&got);
    pair_done(&p);
    mesh_done(&m);
}

TEST(part_of_a_record_stays_inside)
{
    struct mesh_pair m;
    struct pair p;
    struct tls_input in;
    uint8_t out[4];
    size_t n;

    mesh_init(&m);
    pair_init(&p, m.client, m.server, "", "");
    CHECK(pair_shake(&p));
    CHECK_INT(tls_write(p.client, "12345678", 8), TLS_OK);
    in = take(&p.up, 1000);
    CHECK_INT(tls_read(p.server, &in, out, sizeof(out), &n), TLS_OK);
    CHECK_INT(n, 4);
    CHECK_INT(in.n, 0);
    CHECK(tls_read_pending(p.server));
    CHECK_INT(tls_read(p.server, &in, out, sizeof(out), &n), TLS_OK);
    CHECK_INT(memcmp(out, "5678", 4), 0);
    CHECK(!tls_read_pending(p.server));
    pair_done(&p);
    mesh_done(&m);
}

TEST(an_end_without_close_notify_is_a_failure)
{
    struct mesh_pair m;
    struct pair p;
    struct buf got;

    mesh_init(&m);
    pair_init(&p, m.client, m.server, "", "");
    CHECK(pair_shake(&p));
    buf_init(&got, 1 << 16);
    CHECK_INT(tls_write(p.client, "half", 4), TLS_OK);
    tls_transport_eof(p.server);
    CHECK_INT(read_all(p.server, &p.up, 1000, 1000, &got), TLS_FAILED);
    CHECK_STR(buf_str(&got), "half"); /* what came whole is delivered first */
    CHECK(strstr(tls_failure(p.server).p, "without close_notify") != NULL);
    buf_done(&got);
    pair_done(&p);
    mesh_done(&m);
}

TEST(an_end_within_the_handshake_is_a_failure)
{
    struct mesh_pair m;
    struct pair p;
    struct tls_input none = {NULL, 0};

    mesh_init(&m);
    pair_init(&p, m.client, m.server, "", "");
    CHECK_INT(tls_handshake(p.client, &none), TLS_AGAIN);
    tls_transport_eof(p.client);
    CHECK_INT(tls_handshake(p.client, &none), TLS_FAILED);
    CHECK_INT(tls_write(p.client, "x", 1), TLS_FAILED);
    pair_done(&p);
    mesh_done(&m);
}

TEST(a_changed_byte_is_a_failure)
{
    struct mesh_pair m;
    struct pair p;
    struct buf got;

    mesh_init(&m);
    pair_init(&p, m.client, m.server, "", "");
    CHECK(pair_shake(&p));
    buf_init(&got, 1 << 16);
    CHECK_INT(tls_write(p.client, "hello", 5), TLS_OK);
    p.up.b.p[p.up.b.n - 1] ^= 1;
    CHECK_INT(read_all(p.server, &p.up, 1000, 1000, &got), TLS_FAILED);
    CHECK_INT(got.n, 0);
    buf_done(&got);
    pair_done(&p);
    mesh_done(&m);
}

TEST(a_peer_of_another_authority_is_refused)
{
    struct mesh_pair m, stranger;
    struct pair p;

    mesh_init(&m);
    mesh_init(&stranger);
    pair_init(&p, m.client, stranger.server, "", "");
    CHECK(!pair_shake(&p));
    CHECK(!tls_is_established(p.client) && !tls_is_established(p.server));
    CHECK(strstr(tls_failure(p.client).p, "not signed by a trusted root") != NULL);
    CHECK(strstr(tls_failure(p.server).p, "does not trust") != NULL ||
          strstr(tls_failure(p.server).p, "did not accept") != NULL);
    pair_done(&p);
    mesh_done(&stranger);
    mesh_done(&m);
}

TEST(a_server_refuses_a_client_of_another_authority)
{
    struct mesh_pair m;
    struct pki_world other;
    struct creds *forged, *both;
    struct tls_context *client;
    struct pair p;
    struct err err = {0};
    struct key *k = key_new();
    struct buf pem;
    char text[KEY_PEM_MAX];

    /* The stranger trusts our root, but is not of it. */
    mesh_init(&m);
    pki_world_init(&other, "cluster.local");
    buf_init(&pem, 1 << 16);
    pki_world_chain(&other, k, WEB_URI, other.now_ms, &pem, NULL);
    key_pem(k, text);
    forged = pki_world_creds(&other, WEB_URI, other.now_ms);
    {
        struct buf roots;

        buf_init(&roots, 1 << 16);
        buf_add(&roots, ca_roots_pem(other.ca));
        buf_add(&roots, ca_roots_pem(m.w.ca));
        both = creds_new(buf_str(&pem), str_from(text), buf_str(&roots), &err);
        buf_done(&roots);
    }
    CHECK(both != NULL);
    client = tls_client_context(both, &mesh, &err);
    pair_init(&p, client, m.server, "", "");
    CHECK(!pair_shake(&p));
    CHECK(!tls_is_established(p.server));
    CHECK(strstr(tls_failure(p.server).p, "not signed by a trusted root") != NULL);
    pair_done(&p);
    tls_context_unref(client);
    creds_unref(both);
    creds_unref(forged);
    buf_done(&pem);
    key_free(k);
    pki_world_done(&other);
    mesh_done(&m);
}

TEST(an_unexpected_identity_is_refused_by_either_side)
{
    struct mesh_pair m;
    struct pair p;

    mesh_init(&m);
    pair_init(&p, m.client, m.server, "", "");
    tls_expect(p.client, STR("spiffe://cluster.local/ns/default/sa/other"));
    CHECK(!pair_shake(&p));
    CHECK(strstr(tls_failure(p.client).p, "not expected") != NULL);
    pair_done(&p);
    pair_init(&p, m.client, m.server, "", "");
    tls_expect(p.server, STR("spiffe://cluster.local/ns/default/sa/webserver"));
    CHECK(!pair_shake(&p));
    CHECK(!tls_is_established(p.server));
    CHECK(strstr(tls_failure(p.server).p, WEB_URI) != NULL);
    pair_done(&p);
    mesh_done(&m);
}

TEST(without_a_list_the_trust_domain_must_fit)
{
    struct mesh_pair m;
    struct creds *foreign;
    struct tls_context *server;
    struct pair p;
    struct err err = {0};

    mesh_init(&m);
    foreign = pki_world_creds(&m.w, "spiffe://elsewhere.test/ns/default/sa/db", m.w.now_ms);
    server = tls_server_context(foreign, NULL, &mesh, &err);
    CHECK(server != NULL);
    pair_init(&p, m.client, server, "", "");
    CHECK(!pair_shake(&p));
    CHECK(strstr(tls_failure(p.client).p, "trust domain") != NULL);
    pair_done(&p);
    tls_context_unref(server);
    creds_unref(foreign);
    mesh_done(&m);
}

TEST(an_expired_peer_is_refused)
{
    struct mesh_pair m;
    struct creds *old;
    struct tls_context *server;
    struct pair p;
    struct err err = {0};
    struct key *k = key_new();
    struct ca_leaf leaf = {.uri = STR_INIT(DB_URI), .lifetime_ms = HOUR_MS};
    struct buf pem;
    char text[KEY_PEM_MAX];

    mesh_init(&m);
    buf_init(&pem, 1 << 16);
    key_public(k, &leaf.key);
    CHECK_INT(ca_sign(m.w.ca, &leaf, m.w.now_ms - 2 * HOUR_MS, &pem, NULL, &err), 0);
    key_pem(k, text);
    old = creds_new(buf_str(&pem), str_from(text), ca_roots_pem(m.w.ca), &err);
    CHECK(old != NULL);
    server = tls_server_context(old, NULL, &mesh, &err);
    pair_init(&p, m.client, server, "", "");
    CHECK(!pair_shake(&p));
    CHECK(strstr(tls_failure(p.client).p, "expired") != NULL);
    pair_done(&p);
    tls_context_unref(server);
    creds_unref(old);
    buf_done(&pem);
    key_free(k);
    mesh_done(&m);
}

TEST(a_client_without_certificate_is_refused)
{
    struct mesh_pair m;
    struct creds *anonymous;
    struct tls_context *client;
    struct pair p;
    struct err err = {0};

    mesh_init(&m);
    anonymous = creds_new(STR_NONE, STR_NONE, ca_roots_pem(m.w.ca), &err);
    client = tls_client_context(anonymous, &mesh, &err);
    CHECK(client != NULL);
    pair_init(&p, client, m.server, "", "");
    CHECK(!pair_shake(&p));
    CHECK(!tls_is_established(p.server));
    pair_done(&p);
    tls_context_unref(client);
    creds_unref(anonymous);
    mesh_done(&m);
}

TEST(a_ticket_resumes_and_the_peer_is_still_known)
{
    struct mesh_pair m;
    struct pair p;
    struct buf got;

    mesh_init(&m);
    buf_init(&got, 1 << 16);
    for (int round = 0; round < 3; round++) {
        pair_init(&p, m.client, m.server, "", "to-db");
        tls_expect(p.client, STR(DB_URI));
        CHECK(pair_shake(&p));
        CHECK_INT(tls_is_resumed(p.client), round > 0);
        CHECK_INT(tls_is_resumed(p.server), round > 0);
        CHECK_STR(tls_peer_uri(p.client), DB_URI);
        CHECK_STR(tls_peer_uri(p.server), WEB_URI);
        CHECK(str_eq(tls_peer_fingerprint(p.server), creds_fingerprint(m.web)));
        CHECK_INT(tls_peer_not_after_ms(p.server), creds_not_after_ms(m.web));
        buf_clear(&got);
        CHECK_INT(tls_write(p.client, "hello", 5), TLS_OK);
        CHECK_INT(read_all(p.server, &p.up, 3, 100, &got), TLS_AGAIN);
        CHECK_STR(buf_str(&got), "hello");
        pair_done(&p);
    }
    pair_init(&p, m.client, m.server, "", "another-slot");
    CHECK(pair_shake(&p));
    CHECK(!tls_is_resumed(p.client));
    pair_done(&p);
    buf_done(&got);
    mesh_done(&m);
}

TEST(a_ticket_does_not_get_past_what_is_expected_now)
{
    struct mesh_pair m;
    struct pair p;

    mesh_init(&m);
    pair_init(&p, m.client, m.server, "", "to-db");
    CHECK(pair_shake(&p));
    pair_done(&p);
    /* The server no longer wants this client. */
    pair_init(&p, m.client, m.server, "", "to-db");
    tls_expect(p.server, STR("spiffe://cluster.local/ns/default/sa/other"));
    CHECK(!pair_shake(&p));
    CHECK(!tls_is_established(p.server) && !tls_is_resumed(p.server));
    pair_done(&p);
    /* The client no longer wants this server. */
    pair_init(&p, m.client, m.server, "", "to-db");
    CHECK(pair_shake(&p));
    pair_done(&p);
    pair_init(&p, m.client, m.server, "", "to-db");
    tls_expect(p.client, STR("spiffe://cluster.local/ns/default/sa/other"));
    CHECK(!pair_shake(&p));
    CHECK(!tls_is_established(p.client));
    pair_done(&p);
    mesh_done(&m);
}

TEST(a_ticket_of_other_keys_makes_a_full_handshake)
{
    struct mesh_pair m;
    struct tls_tickets *fresh = tls_tickets_new();
    struct tls_context *server;
    struct pair p;
    struct err err = {0};

    mesh_init(&m);
    pair_init(&p, m.client, m.server, "", "to-db");
    CHECK(pair_shake(&p));
    pair_done(&p);
    server = tls_server_context(m.db, fresh, &mesh, &err);
    pair_init(&p, m.client, server, "", "to-db");
    CHECK(pair_shake(&p));
    CHECK(!tls_is_resumed(p.client) && !tls_is_resumed(p.server));
    CHECK_STR(tls_peer_uri(p.server), WEB_URI);
    pair_done(&p);
    tls_context_unref(server);
    tls_tickets_unref(fresh);
    mesh_done(&m);
}

TEST(a_ticket_made_for_nobody_does_not_name_a_client)
{
    static const struct tls_options nobody = {.peer = TLS_PEER_NONE};
    struct mesh_pair m;
    struct tls_context *open;
    struct pair p;
    struct err err = {0};

    /* The same ticket keys behind a listener that asks for no certificate. */
    mesh_init(&m);
    open = tls_server_context(m.db, m.tickets, &nobody, &err);
    CHECK(open != NULL);
    pair_init(&p, m.client, open, "", "to-db");
    CHECK(pair_shake(&p));
    CHECK_INT(tls_peer_uri(p.server).n, 0);
    pair_done(&p);
    pair_init(&p, m.client, m.server, "", "to-db");
    CHECK(pair_shake(&p));
    CHECK(!tls_is_resumed(p.server));
    CHECK_STR(tls_peer_uri(p.server), WEB_URI);
    pair_done(&p);
    tls_context_unref(open);
    mesh_done(&m);
}

TEST(tls13_names_both_sides_and_is_never_resumed)
{
    static const struct tls_options modern = {
        .peer = TLS_PEER_REQUIRED, .min_version = 13, .max_version = 13};
    struct mesh_pair m;
    struct pair p;
    struct buf got;

    mesh_init_with(&m, &modern, &modern);
    buf_init(&got, 1 << 16);
    for (int round = 0; round < 2; round++) {
        pair_init(&p, m.client, m.server, "", "to-db");
        p.chunk = 97;
        CHECK(pair_shake(&p));
        CHECK_TEXT(tls_version(p.server), "TLSv1.3");
        CHECK(!tls_is_resumed(p.client) && !tls_is_resumed(p.server));
        CHECK_STR(tls_peer_uri(p.client), DB_URI);
        CHECK_STR(tls_peer_uri(p.server), WEB_URI);
        buf_clear(&got);
        CHECK_INT(tls_write(p.server, "hello", 5), TLS_OK);
        tls_close(p.server);
        CHECK_INT(read_all(p.client, &p.down, 3, 100, &got), TLS_EOF);
        CHECK_STR(buf_str(&got), "hello");
        pair_done(&p);
    }
    buf_done(&got);
    mesh_done(&m);
}

TEST(versions_that_do_not_meet_fail)
{
    static const struct tls_options modern = {
        .peer = TLS_PEER_REQUIRED, .min_version = 13, .max_version = 13};
    static const struct tls_options wrong = {.peer = TLS_PEER_REQUIRED, .min_version = 11};
    struct mesh_pair m;
    struct pair p;
    struct err err;

    mesh_init_with(&m, &mesh, &modern);
    pair_init(&p, m.client, m.server, "", "");
    CHECK(!pair_shake(&p));
    pair_done(&p);
    CHECK(!tls_client_context(m.web, &wrong, &err));
    CHECK_INT(err.code, ERR_INVALID);
    mesh_done(&m);
}

TEST(alpn_picks_the_servers_most_wanted)
{
    static const char *const both[] = {"h2", "http/1.1", NULL};
    static const char *const one[] = {"http/1.1", NULL};
    static const char *const none[] = {"weft", NULL};
    const struct tls_options client = {.peer = TLS_PEER_REQUIRED, .alpn = both};
    const struct tls_options server = {.peer = TLS_PEER_REQUIRED, .alpn = one};
    const struct tls_options other = {.peer = TLS_PEER_REQUIRED, .alpn = none};
    struct mesh_pair m;
    struct pair p;

    mesh_init_with(&m, &client, &server);
    pair_init(&p, m.client, m.server, "", "");
    CHECK(pair_shake(&p));
    CHECK_STR(tls_alpn(p.client), "http/1.1");
    CHECK_STR(tls_alpn(p.server), "http/1.1");
    pair_done(&p);
    mesh_done(&m);
    mesh_init_with(&m, &client, &other);
    pair_init(&p, m.client, m.server, "", "");
    CHECK(!pair_shake(&p));
    pair_done(&p);
    mesh_done(&m);
}

/* A host that joins: it has a pin and nothing else. */
static bool join(const struct pki_world *w, const char *server_uri, const uint8_t *pin,
                 char why[320])
{
    static const struct tls_options optional = {.peer = TLS_PEER_OPTIONAL};
    struct tls_options pinned = {.peer = TLS_PEER_PINNED};
    struct err err = {0};
    struct creds *empty = creds_new(STR_NONE, STR_NONE, STR_NONE, &err);
    struct creds *creds = pki_world_creds(w, server_uri, w->now_ms);
    struct tls_context *client, *server;
    struct pair p;
    bool ok;

    memcpy(pinned.pin, pin, sizeof(pinned.pin));
    client = tls_client_context(empty, &pinned, &err);
    server = tls_server_context(creds, NULL, &optional, &err);
    CHECK(client && server);
    pair_init(&p, client, server, "server.test", "");
    ok = pair_shake(&p);
    if (ok) {
        CHECK_STR(tls_peer_uri(p.client), server_uri);
        CHECK_INT(tls_peer_uri(p.server).n, 0); /* anonymous so far */
    }
    snprintf(why, 320, "%.*s", STR_ARG(tls_failure(p.client)));
    pair_done(&p);
    tls_context_unref(client);
    tls_context_unref(server);
    creds_unref(empty);
    creds_unref(creds);
    return ok;
}

TEST(a_pin_trusts_the_server_and_nobody_else)
{
    struct pki_world w;
    uint8_t wrong[HASH_BYTES] = {7};
    char why[320];

    pki_world_init(&w, "cluster.local");
    CHECK(join(&w, SERVER_URI, ca_pin(w.ca), why));
    CHECK(!join(&w, SERVER_URI, wrong, why));
    CHECK(strstr(why, "pinned") != NULL);
    /* A workload's certificate makes no server. */
    CHECK(!join(&w, WEB_URI, ca_pin(w.ca), why));
    CHECK(strstr(why, "not a server of the mesh") != NULL);
    pki_world_done(&w);
}

TEST(an_optional_client_is_verified_if_it_shows_a_certificate)
{
    static const struct tls_options optional = {.peer = TLS_PEER_OPTIONAL};
    struct mesh_pair m, stranger;
    struct pair p;

    mesh_init_with(&m, &mesh, &optional);
    pair_init(&p, m.client, m.server, "", "");
    CHECK(pair_shake(&p));
    CHECK_STR(tls_peer_uri(p.server), WEB_URI);
    pair_done(&p);
    /* Not of our authority, and it does not even verify us. */
    mesh_init_with(&stranger, &mesh, &optional);
    pair_init(&p, stranger.client, m.server, "", "");
    CHECK(!pair_shake(&p));
    CHECK(!tls_is_established(p.server));
    pair_done(&p);
    mesh_done(&stranger);
    mesh_done(&m);
}

TEST(a_web_server_is_known_by_its_name)
{
    static const struct tls_options web = {.peer = TLS_PEER_WEB, .max_version = 13};
    static const struct tls_options open = {.peer = TLS_PEER_NONE, .max_version = 13};
    struct mesh_pair m;
    struct pair p;

    mesh_init_with(&m, &web, &open);
    pair_init(&p, m.client, m.server, "server.test", "");
    CHECK(pair_shake(&p));
    CHECK_TEXT(tls_version(p.client), "TLSv1.3");
    CHECK_STR(tls_sni(p.server), "server.test");
    pair_done(&p);
    pair_init(&p, m.client, m.server, "other.test", "");
    CHECK(!pair_shake(&p));
    CHECK(strstr(tls_failure(p.client).p, "another name") != NULL);
    pair_done(&p);
    pair_init(&p, m.client, m.server, "", "");
    CHECK(!pair_shake(&p));
    CHECK(strstr(tls_failure(p.client).p, "no name to compare") != NULL);
    pair_done(&p);
    mesh_done(&m);
}

/* What is asked for and what is accepted may differ (DestinationRule sni, subjectAltNames). */
TEST(a_web_server_may_have_to_have_other_names)
{
    static const struct tls_options web = {.peer = TLS_PEER_WEB, .max_version = 13};
    static const struct tls_options open = {.peer = TLS_PEER_NONE, .max_version = 12};
    static const struct {
        const char *sni, *names;
        bool fits;
    } rows[] = {
        {"other.test", "server.test",                true },
        {"",           "no.test SERVER.test",        true },
        {"",           "*",                          true },
        {"server.test", "other.test",                false},
        {"server.test", "test",                      false},
        {"",           DB_URI,                       true },
        {"",           WEB_URI " 192.0.2.1 rver.test", false},
    };
    struct mesh_pair m;
    struct pair p;

    mesh_init_with(&m, &web, &open);
    for (size_t i = 0; i < COUNT(rows); i++) {
        pair_init(&p, m.client, m.server, rows[i].sni, "key");
        tls_expect(p.client, str_from(rows[i].names));
        if (pair_shake(&p) != rows[i].fits)
            fail_msg("\"%s\" with \"%s\"", rows[i].sni, rows[i].names);
        pair_done(&p);
    }
    mesh_done(&m);
}

TEST(whoever_answers_is_taken_where_nothing_is_verified)
{
    static const struct tls_options any = {.peer = TLS_PEER_ANY, .max_version = 13};
    static const struct tls_options open = {.peer = TLS_PEER_NONE, .max_version = 13};
    struct creds *empty;
    struct mesh_pair m;
    struct tls_context *client;
    struct pair p;
    struct err err;

    mesh_init_with(&m, &mesh, &open);
    empty = creds_new(STR_NONE, STR_NONE, STR_NONE, &err);
    client = tls_client_context(empty, &any, &err);
    CHECK(client != NULL);
    pair_init(&p, client, m.server, "whatever.test", "");
    CHECK(pair_shake(&p));
    CHECK_TEXT(tls_version(p.client), "TLSv1.3");
    pair_done(&p);
    tls_context_unref(client);
    creds_unref(empty);
    mesh_done(&m);
}

TEST(options_that_make_no_sense_are_refused)
{
    static const struct tls_options none = {.peer = TLS_PEER_NONE};
    static const struct tls_options pinned = {.peer = TLS_PEER_PINNED};
    struct mesh_pair m;
    struct creds *empty;
    struct err err;

    mesh_init(&m);
    empty = creds_new(STR_NONE, STR_NONE, STR_NONE, &err);
    CHECK(!tls_client_context(m.web, &none, &err)); /* a client always verifies */
    CHECK(!tls_server_context(m.web, NULL, &pinned, &err));
    CHECK(!tls_server_context(empty, NULL, &none, &err));
    CHECK(!tls_client_context(empty, &mesh, &err)); /* no roots */
    creds_unref(empty);
    mesh_done(&m);
}

/* ---- sessions share record buffers (tls_lean.h) ---- */

#define CROWD 24

/* Many sessions in turns, their records cut anywhere: nobody finds another's bytes, whatever waits half read. */
static void crowd(const struct tls_options *o)
{
    static const size_t chunks[] = {1, 5, 13, 100, 4096, 100000};
    struct mesh_pair m;
    struct pair p[CROWD];
    struct buf want[CROWD], got[CROWD];
    uint64_t seed = 7;

    mesh_init_with(&m, o, o);
    for (size_t i = 0; i < CROWD; i++) {
        pair_init(&p[i], m.client, m.server, "", "");
        buf_init(&want[i], 8 << 20);
        buf_init(&got[i], 8 << 20);
        CHECK(pair_shake(&p[i]));
    }
    for (size_t turn = 0; turn < 4000; turn++) {
        size_t i = (seed = seed * 6364136223846793005u + 1442695040888963407u) >> 33;
        struct pair *q = &p[i % CROWD];
        struct tls_input in;
        uint8_t plain[700];
        size_t had, n = 0;
        char text[512];

        if (seed >> 63) {
            int made = snprintf(text, sizeof(text), "%zu says %zu;%*s", i % CROWD, turn, (int)(seed >> 55 & 255), "");

            CHECK_INT(tls_write(q->client, text, (size_t)made), TLS_OK);
            buf_add(&want[i % CROWD], (struct str){text, (size_t)made});
        }
        in = take(&q->up, chunks[seed >> 40 & 3]);
        had = in.n;
        CHECK(tls_read(q->server, &in, plain, 1 + (seed >> 45) % sizeof(plain), &n) <= TLS_AGAIN);
        q->up.at += had - in.n;
        buf_add(&got[i % CROWD], (struct str){(char *)plain, n});
    }
    for (size_t i = 0; i < CROWD; i++) {
        CHECK_INT(read_all(p[i].server, &p[i].up, 100000, 1000, &got[i]), TLS_AGAIN);
        CHECK_INT(got[i].n, want[i].n);
        CHECK(want[i].n > 100);
        assert_memory_equal(got[i].p, want[i].p, want[i].n);
        buf_done(&want[i]);
        buf_done(&got[i]);
        pair_done(&p[i]);
    }
    mesh_done(&m);
}

TEST(many_sessions_take_turns_with_few_buffers)
{
    const struct tls_options v13 = {.peer = TLS_PEER_REQUIRED, .min_version = 13, .max_version = 13};

    crowd(&mesh);
    crowd(&v13);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#include <malloc.h>

/* 6 KB a side, where mbedTLS would keep 39. */
TEST(an_idle_session_holds_no_buffers)
{
    struct mesh_pair m;
    struct pair p[40];
    size_t before = 0, each;

    mesh_init(&m);
    for (size_t i = 0; i < COUNT(p); i++) {
        if (i == 10) /* the thread's stock is full */
            before = mallinfo2().uordblks;
        pair_init(&p[i], m.client, m.server, "", "");
        CHECK(pair_shake(&p[i]));
        buf_done(&p[i].up.b), buf_done(&p[i].down.b);
    }
    each = (mallinfo2().uordblks - before) / (2 * (COUNT(p) - 10));
    if (each > 6000)
        print_error("%zu bytes each\n", each);
    CHECK(each <= 6000);
    for (size_t i = 0; i < COUNT(p); i++)
        pair_done(&p[i]);
    mesh_done(&m);
}
#endif
