/* `weft server run`: assemble the parts, run the loop, stop in order. */
#include "cmd/server/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/command.h"
#include "cmd/owner.h"
#include "cmd/server/api.h"
#include "mesh/base/file.h"
#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "mesh/identity.h"
#include "pki/ca.h"
#include "pki/creds.h"
#include "pki/key.h"
#include "proxy/wire/crypto.h"
#include "proxy/wire/tls.h"
#include "store/ledger.h"
#include "store/registry.h"
#include "store/revision.h"
#include "store/store.h"

#define SWEEP_MS      3600000
#define TOKEN_KEEP_MS (7ll * 24 * 3600 * 1000)
#define CONNECTIONS   20000
#define UNIX_SOCKETS  1000
#define IDLE_MS       60000       /* an agent's stream is no longer ours, so this hurts nobody */
#define BODY_BYTES    (16u << 10) /* what a caller without a role may send: a join */

enum { NOTE_SIGNAL = 1, NOTE_RENEW = 2, NOTE_REPORT = 4 };

/* ---- own certificate ---- */

static int issue_own(struct server *s, struct err *err)
{
    struct key *key = key_new();
    struct ca_leaf leaf = {.lifetime_ms = s->settings.leaf_ns / 1000000};
    struct creds *creds = NULL;
    char pem[KEY_PEM_MAX];
    struct buf uri, chain;

    buf_init(&uri, 4096);
    buf_init(&chain, LIMIT_API_BODY_BYTES);
    identity_server(&uri, str_from(s->settings.trust_domain));
    key_public(key, &leaf.key);
    leaf.uri = buf_str(&uri);
    if (ca_sign(s->ca, &leaf, text_wall_ms(), &chain, NULL, err) == 0) {
        /* The root goes along, so that a joining host can find the one that its pin names. */
        buf_add(&chain, ca_roots_pem(s->ca));
        creds = creds_new(buf_str(&chain), (struct str){pem, key_pem(key, pem)},
                          ca_roots_pem(s->ca), err);
    }
    key_wipe(pem, sizeof(pem));
    key_free(key);
    buf_done(&uri);
    buf_done(&chain);
    if (!creds)
        return err_wrap(err, "the server's own certificate");
    creds_unref(s->creds);
    s->creds = creds;
    return 0;
}

static int use_own(struct server *s, struct err *err)
{
    static const char *const alpn[] = {"http/1.1", NULL};
    const struct tls_options o = {
        .peer = TLS_PEER_OPTIONAL, .alpn = alpn, .min_version = 12, .max_version = 12};
    struct tls_context *tls = tls_server_context(s->creds, s->tickets, &o, err);

    if (!tls)
        return -1;
    serve_set_tls(s->tls_face, tls);
    tls_context_unref(tls);
    return 0;
}

/* ---- housekeeping ---- */

static void renew(struct server *s)
{
    size_t removed;
    struct err err;

    if (issue_own(s, &err) || use_own(s, &err))
        log_error("the server's certificate was not renewed, the old one stays until it ends: %s",
                  err.text);
    if (ledger_token_sweep(s->store, text_wall_ms(), TOKEN_KEEP_MS, &removed, &err) ||
        ledger_certificate_sweep(s->store, text_wall_ms(), TOKEN_KEEP_MS, &removed, &err))
        log_warn("old rows were not swept, will try again in an hour: %s", err.text);
    timer_in(&s->renew_timer, MIN(SWEEP_MS, s->settings.leaf_ns / 1000000 / 6));
}

/* To the service manager. This loop is watched by sending it; a helper that stands still stops it. */
static void report(struct server *s)
{
    timer_in(&s->report_timer, notify_ping_ms(&s->notify));
    if (crypto_is_alive())
        notify_alive(&s->notify);
    notify_status(&s->notify, "serving revision %lld, %zu agents connected",
                  (long long)revision_current(s->revisions), s->session_count);
    notify_ready(&s->notify);
}

static void run(struct task *t, unsigned notes)
{
    struct server *s = CONTAINER(t, struct server, task);

    if (notes & NOTE_SIGNAL) {
        log_info("stopping");
        notify_stopping(&s->notify);
        loop_stop(s->loop);
    }
    if (notes & NOTE_RENEW)
        renew(s);
    if (notes & NOTE_REPORT)
        report(s);
}

/* ---- assembly ---- */

static int open_parts(struct server *s, struct err *err)
{
    struct arena a;
    int rc = -1;

    arena_init(&a);
    /* A server that runs is set up: init must never take its folder for its own half-done work. */
    (void)unlink(server_path(&a, s->settings.state_dir, SERVER_UNFINISHED));
    s->store = store_open(server_path(&a, s->settings.state_dir, SERVER_DATABASE), err);
    if (!s->store)
        goto out;
    s->revisions = revision_open(s->store, err);
    s->registry = s->revisions ? registry_open(s->store, str_from(s->settings.domain), err) : NULL;
    s->ca = s->registry ? ca_open(server_path(&a, s->settings.state_dir, SERVER_CA), err) : NULL;
    if (!s->ca || issue_own(s, err))
        goto out;
    s->throttle = throttle_new();
    s->publish = publish_new(s);
    s->watches = api_watches_new(s);
    rc = publish_now(s->publish, err);
out:
    arena_done(&a);
    return rc;
}

static int open_faces(struct server *s, struct err *err)
{
    struct serve_options o = {.handle = api_handle,
                              .owner = s,
                              .body_max = BODY_BYTES,
                              .body_limit = api_body_limit,
                              .idle_ms = IDLE_MS,
                              .server_name = "weft"};
    int fd = serve_listen_unix(s->settings.socket_path, 0666, err);

    if (fd < 0)
        return -1;
    o.connections_max = UNIX_SOCKETS;
    s->unix_face = serve_new(s->loop, fd, &o, err);
    fd = s->unix_face ? serve_listen_tcp(&s->settings.listen, err) : -1;
    if (fd < 0)
        return -1;
    o.connections_max = CONNECTIONS;
    s->tls_face = serve_new(s->loop, fd, &o, err);
    if (!s->tls_face)
        return -1;
    s->tickets = tls_tickets_new();
    return use_own(s, err);
}

static void close_parts(struct server *s)
{
    session_close_all(s);
    api_watches_free(s->watches);
    serve_free(s->unix_face);
    serve_free(s->tls_face);
    publish_free(s->publish);
    throttle_free(s->throttle);
    tls_tickets_unref(s->tickets);
    creds_unref(s->creds);
    ca_close(s->ca);
    registry_close(s->registry);
    revision_close(s->revisions);
    store_close(s->store);
}

/* Before threads start: they inherit the mask, or a signal would find one of them and end us. */
static int catch_signals(struct err *err)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) ||
        (fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)) < 0)
        return err_errno(err, ERR_IO, "signals");
    return fd;
}

static void serve_until_stopped(struct server *s, int signal_fd)
{
    struct watch signals;
    char at[ADDR_TEXT_MAX];

    task_init(&s->task, s->loop, run);
    watch_init(&signals, &s->task, signal_fd, NOTE_SIGNAL, 0);
    watch_want(&signals, true, false);
    timer_init(&s->renew_timer, &s->task, NOTE_RENEW);
    timer_in(&s->renew_timer, MIN(SWEEP_MS, s->settings.leaf_ns / 1000000 / 6));
    timer_init(&s->report_timer, &s->task, NOTE_REPORT);
    notify_open(&s->notify);
    if (s->notify.fd >= 0)
        timer_in(&s->report_timer, 1);
    log_info("server runs version=%s agents=%s api=%s revision=%lld", WEFT_VERSION,
             addr_format(&s->settings.listen, at), s->settings.socket_path,
             (long long)revision_current(s->revisions));
    loop_run(s->loop);
    watch_close(&signals);
    timer_stop(&s->renew_timer);
    timer_stop(&s->report_timer);
    notify_close(&s->notify);
    task_forget(&s->task);
}

static int run_server(const struct args *a)
{
    struct server s = {0};
    struct arena arena;
    struct err err;
    int rc = -1, fd;

    arena_init(&arena);
    log_name("weft-server");
    if (gethostname(s.name, sizeof(s.name) - 1))
        (void)snprintf(s.name, sizeof(s.name), "server");
    if (args_has(a, "debug"))
        log_level = LOG_DEBUG;
    if (server_settings_read(server_config_path(a, &arena), &arena, &s.settings, &err))
        goto out;
    (void)umask(077); /* what others may read says so when it is made */
    s.loop = loop_new(&err);
    fd = s.loop ? catch_signals(&err) : -1;
    if (fd < 0 || crypto_start(1, 4096, &err))
        goto out;
    s.started_ms = loop_now_ms(s.loop);
    if (open_parts(&s, &err) == 0 && open_faces(&s, &err) == 0) {
        serve_until_stopped(&s, fd);
        rc = 0;
    }
    close_parts(&s);
    crypto_stop();
out:
    if (s.loop)
        loop_free(s.loop);
    arena_done(&arena);
    return rc ? command_failed(&err) : EXIT_DONE;
}

/* ---- commands ---- */

static const struct flag init_flags[] = {
    {"listen",         'l', FLAG_TEXT, "IP:PORT",         "Where agents connect (default 0.0.0.0:15012)."            },
    {"advertise",      'a', FLAG_TEXT, "HOST:PORT[,...]",
     "How hosts reach this server; printed in join tokens."                                                          },
    {"trust-domain",   0,   FLAG_TEXT, "NAME",
     "Of SPIFFE identities (default cluster.local). Set once."                                                       },
    {"domain",         0,   FLAG_TEXT, "NAME",
     "Of service names: NAME.NAMESPACE.svc.DOMAIN (default cluster.local). Set once."                                },
    {"root-namespace", 0,   FLAG_TEXT, "NAME",
     "Its policies hold for the whole mesh (default istio-system)."                                                  },
    {"state-dir",      0,   FLAG_TEXT, "DIR",             "Store and CA (default /var/lib/weft, or $WEFT_STATE_DIR)."},
    OWNER_FLAG,
    {"config-dir",     0,   FLAG_TEXT, "DIR",             "Settings (default /etc/weft, or $WEFT_CONFIG_DIR)."       },
    {"socket",         0,   FLAG_TEXT, "PATH",            "Local API (default /run/weft/api.sock, or $WEFT_SOCKET)." },
};

static const struct flag check_flags[] = {
    {"config-dir", 0, FLAG_TEXT, "DIR", "Settings (default /etc/weft, or $WEFT_CONFIG_DIR)."},
    {"state-dir",  0, FLAG_TEXT, "DIR", "Look here (default: as server.ini says)."          },
};

static const struct flag run_flags[] = {
    {"config-dir", 0, FLAG_TEXT,   "DIR", "Settings (default /etc/weft, or $WEFT_CONFIG_DIR)."},
    {"debug",      0, FLAG_SWITCH, NULL,  "Log every step."                                   },
};

const struct command server_commands[] = {
    {"server init",  "[flags]",
     "Make the CA, the store and the settings of a new mesh; print a join line.",                 "Run it once, on the machine that will be the control plane:\n\n"
     "  weft server init --advertise 10.0.0.5:15012\n  weft server run", init_flags,  COUNT(init_flags),  0, 0, server_init },
    {"server run",   "[flags]", "Run the control plane in the foreground.",                       NULL,                                                   run_flags,
     COUNT(run_flags),                                                                                                                                                                     0, 0, run_server  },
    {"server check", "[flags]", "Prove that store and CA are whole. The server must be stopped.",
     "Reads every page of the database, every object of every kept revision, the chain of the\n"
     "audit log, hosts with their keys, tokens with their uses, and whether the files of the CA\n"
     "belong together. It changes nothing. Exit code 1 says that something does not fit.\n\n"
     "  systemctl stop weft-server\n  weft server check",                                                                                                 check_flags, COUNT(check_flags), 0, 0, server_check},
};
const size_t server_command_count = COUNT(server_commands);
