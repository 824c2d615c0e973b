/* `weft join TOKEN`: makes this host a member. The host trusts nothing but the pin in the token:
 * TLS first, the chain must end in the pinned root, only then token and request are sent. The key
 * is made here and never leaves. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/agent/agent.h"
#include "cmd/agent/join.h"
#include "cmd/owner.h"
#include "mesh/base/file.h"
#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "pki/creds.h"
#include "pki/key.h"
#include "pki/token.h"
#include "proxy/wire/fetch.h"
#include "proxy/wire/tls.h"

#define DEFAULT_CONFIG "/etc/weft"
#define DEFAULT_STATE  "/var/lib/weft"
#define TOKEN_BYTES    4096

struct join {
    const char *state_dir, *name, *address;
    struct token token;
    struct key *key;
    struct arena arena;
};

/* ---- the token ---- */

/* From the argument, a file, standard input ("-") or $WEFT_JOIN_TOKEN. */
static int read_token(const struct args *a, struct join *j, struct err *err)
{
    const char *file = args_text(a, "token-file", NULL), *variable = getenv("WEFT_JOIN_TOKEN");
    struct buf text;
    int rc = -1;

    buf_init(&text, TOKEN_BYTES);
    if (a->rest_count)
        buf_adds(&text, a->rest[0]);
    else if (file && file_read(file, &text, err))
        goto out;
    else if (!file && variable)
        buf_adds(&text, variable);
    if (text.n == 0) {
        (void)err_set(err, ERR_INVALID,
                      "no token: weft join TOKEN, or --token-file FILE, or $WEFT_JOIN_TOKEN. "
                      "The server makes one with: weft token create");
        goto out;
    }
    rc = token_parse(str_trim(buf_str(&text)), &j->token, err);
out:
    key_wipe(text.p, text.cap);
    buf_done(&text);
    return rc;
}

/* ---- the request ---- */

static int write_request(const struct join *j, struct buf *out, struct err *err)
{
    struct buf csr, secret;
    int rc;

    buf_init(&csr, TOKEN_BYTES);
    buf_init(&secret, TOKEN_BYTES);
    rc = key_csr(j->key, &csr, err);
    if (rc == 0) {
        token_format_secret(j->token.secret, &secret);
        buf_adds(out, "{\"token\":");
        buf_json(out, str_from(j->token.id));
        buf_adds(out, ",\"secret\":");
        buf_json(out, buf_str(&secret));
        buf_adds(out, ",\"name\":");
        buf_json(out, str_from(j->name));
        buf_adds(out, ",\"address\":");
        buf_json(out, str_from(j->address));
        buf_printf(out, ",\"version\":\"%s\",\"time\":%lld,\"csr\":", WEFT_VERSION,
                   (long long)text_wall_ms());
        buf_json(out, buf_str(&csr));
        buf_addc(out, '}');
    }
    key_wipe(secret.p, secret.cap);
    buf_done(&secret);
    buf_done(&csr);
    return rc;
}

static int resolve(const char *endpoint, struct addr *out, struct err *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    const char *colon = strrchr(endpoint, ':');
    char host[TOKEN_ENDPOINT_MAX];
    int rc;

    if (addr_parse(str_from(endpoint), out))
        return 0;
    if (!colon)
        return err_set(err, ERR_INVALID, "%s is not HOST:PORT", endpoint);
    (void)snprintf(host, sizeof(host), "%.*s", (int)(colon - endpoint), endpoint);
    rc = getaddrinfo(host, colon + 1, &hints, &list);
    if (rc)
        return err_set(err, ERR_IO, "the server's name %s cannot be looked up: %s", host,
                       gai_strerror(rc));
    rc = addr_from_sockaddr(list->ai_addr, out) ? 0 : -1;
    freeaddrinfo(list);
    return rc ? err_set(err, ERR_IO, "%s has no usable address", host) : 0;
}

static int call(const struct join *j, const char *endpoint, struct str body, unsigned *status,
                struct buf *answer, struct err *err)
{
    struct tls_options o = {.peer = TLS_PEER_PINNED, .min_version = 12, .max_version = 12};
    struct creds *none = creds_new(STR_NONE, STR_NONE, STR_NONE, err);
    struct tls_context *tls = NULL;
    struct fetch_request r = {.method = STR("POST"),
                              .path = STR("/v1/join"),
                              .host = STR("weft-server"),
                              .body = body,
                              .content_type = STR("application/json"),
                              .answer_max = LIMIT_API_BODY_BYTES,
                              .timeout_ms = 20000};
    int rc = -1;

    memcpy(o.pin, j->token.pin, sizeof(o.pin));
    if (none)
        tls = tls_client_context(none, &o, err);
    if (tls && resolve(endpoint, &r.to, err) == 0) {
        r.tls = tls;
        rc = fetch_wait(&r, status, answer, err);
    }
    tls_context_unref(tls);
    creds_unref(none);
    return rc ? err_wrap(err, "server %s", endpoint) : 0;
}

/* The server said no: its own words. */
static int refused(unsigned status, struct str answer, struct arena *a, struct err *err)
{
    struct node *root;
    struct err ignored;
    struct str detail = STR_NONE;

    if (json_read(answer, a, &root, &ignored) == 0)
        detail = node_text(root, "detail");
    return err_set(err,
                   status == 409                    ? ERR_CONFLICT
                   : status == 403 || status == 401 ? ERR_DENIED
                                                    : ERR_INVALID,
                   "the server refused (%u): %.*s", status, STR_ARG(detail.n ? detail : answer));
}

/* ---- what is kept ---- */

static int write_file(const struct join *j, const char *name, struct str text, struct err *err)
{
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s/%s", j->state_dir, name);
    return file_write(path, text, 0644, err);
}

static int keep(struct join *j, const struct node *root, struct err *err)
{
    struct agent_member m = {.host_id = str_dup(node_text(root, "hostId")),
                             .name = str_dup(node_text(root, "name")),
                             .address = str_dup(node_text(root, "address")),
                             .trust_domain = str_dup(node_text(root, "trustDomain")),
                             .domain = str_dup(node_text(root, "domain")),
                             .root_namespace = str_dup(node_text(root, "rootNamespace"))};
    int rc = -1;

    for (size_t i = 0; i < j->token.endpoint_count && i < AGENT_SERVERS_MAX; i++)
        m.servers[m.server_count++] = str_dup(str_from(j->token.endpoints[i]));
    if (!*m.host_id || node_text(root, "certificate").n == 0)
        (void)err_set(err, ERR_INVALID,
                      "the server's answer is not complete; is it a weft server of this version?");
    else if (write_file(j, "host.crt", node_text(root, "certificate"), err) == 0 &&
             write_file(j, "roots.pem", node_text(root, "roots"), err) == 0)
        rc = agent_member_write(j->state_dir, &m, err); /* last: its presence means joined */
    if (rc == 0)
        printf("  identity   spiffe://%s/weft/host/%s (name %s)\n", m.trust_domain, m.host_id,
               m.name);
    agent_member_done(&m);
    return rc;
}

static void print_clock(const struct node *root)
{
    int64_t theirs, off;

    if (!str_int(node_text(root, "serverTime"), 0, INT64_MAX / 2, &theirs))
        return;
    off = theirs - text_wall_ms();
    printf("  clock      %.1f s off%s\n", (double)off / 1000,
           off > 30000 || off < -30000 ? "  WARNING: set the clock" : "");
}

/* Joining again with the same key gives the same host back, so a lost answer or an impatient hand
 * costs nothing. */
static int load_or_make_key(struct join *j, struct err *err)
{
    char path[4096];

    if (file_mkdirs(j->state_dir, 0700, err))
        return -1;
    (void)snprintf(path, sizeof(path), "%s/host.key", j->state_dir);
    if (file_exists(path)) {
        j->key = key_load(path, err);
    } else {
        j->key = key_new();
        if (key_save(j->key, path, err))
            return -1;
    }
    if (j->key)
        printf("  key        %s\n", path);
    return j->key ? 0 : -1;
}

static int join(struct join *j, struct err *err)
{
    struct buf body, answer;
    struct node *root;
    unsigned status = 0;
    size_t i;
    int rc = -1;

    buf_init(&body, LIMIT_API_BODY_BYTES);
    buf_init(&answer, LIMIT_API_BODY_BYTES);
    if (write_request(j, &body, err))
        goto out;
    for (i = 0; i < j->token.endpoint_count; i++) { /* an unreachable server: the next one */
        buf_clear(&answer);
        if (call(j, j->token.endpoints[i], buf_str(&body), &status, &answer, err) == 0)
            break;
    }
    if (i == j->token.endpoint_count)
        goto out;
    printf("  server     %s   pin matches\n", j->token.endpoints[i]);
    if (status != 200) {
        (void)refused(status, buf_str(&answer), &j->arena, err);
        goto out;
    }
    if (json_read(arena_str(&j->arena, buf_str(&answer)), &j->arena, &root, err))
        goto out;
    print_clock(root);
    rc = keep(j, root, err);
out:
    key_wipe(body.p, body.cap);
    buf_done(&body);
    buf_done(&answer);
    return rc;
}

/* The state folder, and its owner's hands from here on. */
static int open_state(const struct args *a, struct err *err)
{
    struct owner owner;
    const char *dir = args_path(a, "state-dir", "WEFT_STATE_DIR", DEFAULT_STATE);

    return owner_open(a, dir, args_path_is_default(a, "state-dir", "WEFT_STATE_DIR"), &owner, err) ||
                   owner_become(&owner, err)
               ? -1
               : 0;
}

int join_run(const struct args *a)
{
    struct join j = {0};
    char host[256] = "", path[4096];
    struct addr ip;
    struct err err;
    int rc = -1;

    arena_init(&j.arena);
    j.state_dir = arena_printf(&j.arena, "%s/agent",
                               args_path(a, "state-dir", "WEFT_STATE_DIR", DEFAULT_STATE))
                      .p;
    if (gethostname(host, sizeof(host) - 1))
        (void)snprintf(host, sizeof(host), "host");
    j.name = args_text(a, "name", host);
    j.address = args_text(a, "address", "");
    (void)snprintf(path, sizeof(path), "%s/agent.json", j.state_dir);
    if (*j.address && !addr_parse_ip(str_from(j.address), &ip))
        (void)err_set(&err, ERR_INVALID, "--address %s is not an IP address", j.address);
    else if (file_exists(path) && !args_has(a, "again"))
        (void)err_set(
            &err, ERR_CONFLICT,
            "this host is a member already (%s); to join another mesh or with another token, "
            "add --again",
            path);
    else if (read_token(a, &j, &err) == 0 && open_state(a, &err) == 0 &&
             load_or_make_key(&j, &err) == 0)
        rc = join(&j, &err);
    key_free(j.key);
    key_wipe(&j.token, sizeof(j.token));
    arena_done(&j.arena);
    if (rc)
        return command_failed(&err);
    printf("  joined.    Start the agent with: %s\n",
           command_start_hint("weft-agent", "weft agent run"));
    return EXIT_DONE;
}
