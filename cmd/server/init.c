/* `weft server init`: makes the CA, the store and the settings of a new mesh.
 *
 * Killed at any moment it can be repeated. server.ini is written last, and without it no server
 * starts: until then a mark in the state folder says that what lies there is init's own unfinished
 * work, which the next init removes. Without the mark nothing that is there is touched.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/command.h"
#include "cmd/owner.h"
#include "cmd/server/server.h"
#include "mesh/base/file.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "mesh/identity.h"
#include "pki/ca.h"
#include "pki/key.h"
#include "store/ledger.h"
#include "store/store.h"

#define CONFIG_DIR  "/etc/weft"
#define STATE_DIR   "/var/lib/weft"
#define SOCKET_PATH "/run/weft/api.sock"

const char *server_path(struct arena *a, const char *dir, const char *name)
{
    return arena_printf(a, "%s/%s", dir, name).p;
}

const char *server_config_path(const struct args *a, struct arena *arena)
{
    return server_path(arena, args_path(a, "config-dir", "WEFT_CONFIG_DIR", CONFIG_DIR),
                       "server.ini");
}

/* ---- what is wanted ---- */

static int read_init(const struct args *a, struct server_settings *s, struct arena *arena,
                     struct err *err)
{
    const char *state = args_path(a, "state-dir", "WEFT_STATE_DIR", STATE_DIR);
    const char *socket = args_path(a, "socket", "WEFT_SOCKET", SOCKET_PATH);
    const char *listen = args_text(a, "listen", "0.0.0.0:15012");
    const char *advertise = args_text(a, "advertise", NULL);
    char name[256] = "";

    if (!addr_parse(str_from(listen), &s->listen) || !s->listen.port)
        return err_set(err, ERR_INVALID, "--listen %s: write IP:PORT", listen);
    if (!advertise) { /* the listening address, or this machine's name when that is a wildcard */
        if (addr_is_any(&s->listen) && gethostname(name, sizeof(name) - 1) == 0)
            advertise = arena_printf(arena, "%s:%u", name, s->listen.port).p;
        else
            advertise = listen;
    }
    s->state_dir = state;
    s->socket_path = socket;
    s->advertise = advertise;
    s->trust_domain = args_text(a, "trust-domain", "cluster.local");
    s->domain = args_text(a, "domain", "cluster.local");
    s->root_namespace = args_text(a, "root-namespace", "istio-system");
    s->leaf_ns = 72ll * 3600 * 1000000000;
    if (!identity_trust_domain_ok(str_from(s->trust_domain)))
        return err_set(err, ERR_INVALID,
                       "--trust-domain %s: lower case letters, digits, '.', '-' and '_' only",
                       s->trust_domain);
    return 0;
}

static int first_token(struct server *s, struct str creator, struct buf *join, struct err *err)
{
    const struct enrol_token want = {.uses = 1, .ttl_ms = 3600 * 1000};
    struct ledger_audit audit = {.now_ms = text_wall_ms(),
                                 .actor = creator,
                                 .source = STR("local"),
                                 .action = STR("token.create")};
    struct buf id;
    int rc;

    buf_init(&id, 64);
    rc = enrol_token_create(s, &want, &audit, join, &id, err);
    buf_done(&id);
    return rc;
}

/* ---- the state folder ---- */

/* One init at a time; the lock goes with the descriptor. */
static int lock_folder(const char *dir, struct err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return err_errno(err, ERR_IO, "%s", dir);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    if (errno == EWOULDBLOCK)
        (void)err_set(err, ERR_CONFLICT, "another weft server init is at work in %s: wait for it",
                      dir);
    else
        (void)err_errno(err, ERR_IO, "%s", dir);
    close(fd);
    return -1;
}

/* Removes the files of the folder whose names start so; a folder that is not there has none. */
static int remove_files(const char *dir, struct str prefix, struct arena *a, struct err *err)
{
    static const char *const any[] = {"", NULL};
    char **names = NULL;
    size_t count = 0;
    int rc = 0;

    if (!file_exists(dir))
        return 0;
    if (file_list(dir, any, &names, &count, err))
        return -1;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const char *path = server_path(a, dir, names[i]);

        if (str_starts(str_from(names[i]), prefix) && unlink(path))
            rc = err_errno(err, ERR_IO, "%s", path);
    }
    file_list_free(names, count);
    return rc;
}

/* Refuses a folder that holds more than what an init left that was cut short; empties that. */
static int claim_folder(const char *state, const char *ini, struct arena *a, struct err *err)
{
    const char *mark = server_path(a, state, SERVER_UNFINISHED);
    const char *ca = server_path(a, state, SERVER_CA), *db = server_path(a, state, SERVER_DATABASE);

    if (file_exists(ini)) {
        (void)unlink(mark); /* of an init that was cut short after its last step */
        return err_set(err, ERR_CONFLICT,
                       "there is a server here already (%s): start it with weft server run, make a "
                       "join line with weft token create; to begin anew, remove %s and %s first",
                       db, ini, state);
    }
    if (file_exists(mark))
        return remove_files(ca, STR_NONE, a, err) || remove_files(state, STR("weft.db"), a, err)
                   ? -1
                   : 0;
    if (file_exists(db) || file_exists(ca))
        return err_set(err, ERR_CONFLICT,
                       "there is a server here already (%s), but %s is missing: put that back, or "
                       "to begin anew, remove %s first",
                       db, ini, state);
    return file_write(mark, STR("weft server init is at work here, or was cut short: repeat it\n"),
                      0600, err);
}

/* As the state folder's owner. */
static int create_state(struct server *s, const char *ini, struct str creator, struct buf *join,
                        struct arena *a, struct err *err)
{
    const char *state = s->settings.state_dir, *ca = server_path(a, state, SERVER_CA);

    if (claim_folder(state, ini, a, err) ||
        ca_create(ca, str_from(s->settings.trust_domain), text_wall_ms(), err))
        return -1;
    s->ca = ca_open(ca, err);
    s->store = s->ca ? store_create(server_path(a, state, SERVER_DATABASE), err) : NULL;
    return s->store ? first_token(s, creator, join, err) : -1;
}

/* The settings are whose who runs the command. */
static int create(struct server *s, const struct owner *owner, const char *ini, struct str creator,
                  struct buf *join, struct arena *a, struct err *err)
{
    const char *state = s->settings.state_dir;

    if (owner_become(owner, err) || create_state(s, ini, creator, join, a, err) ||
        owner_return(owner, err) || server_settings_write(ini, &s->settings, err))
        return -1;
    (void)unlink(server_path(a, state, SERVER_UNFINISHED)); /* or at the first start */
    return 0;
}

static void report(const struct server *s, const char *ini, struct str join)
{
    const char *state = s->settings.state_dir;

    printf("  created   %s/%s\n  created   root and issuing CA of %s (P-256) in %s/%s\n"
           "  created   %s\n\n  Start the server:\n    %s\n\n"
           "  Add a host (valid 1 h, one use):\n    weft join %.*s\n",
           state, SERVER_DATABASE, s->settings.trust_domain, state, SERVER_CA, ini,
           command_start_hint("weft-server", "weft server run"), STR_ARG(join));
}

int server_init(const struct args *a)
{
    struct server s = {0};
    struct arena arena;
    struct owner owner;
    struct err err;
    struct buf join;
    const char *ini, *dir = args_path(a, "config-dir", "WEFT_CONFIG_DIR", CONFIG_DIR);
    int rc = -1, lock = -1;

    arena_init(&arena);
    buf_init(&join, 4096);
    ini = server_config_path(a, &arena);
    if (read_init(a, &s.settings, &arena, &err) == 0 && file_mkdirs(dir, 0755, &err) == 0 &&
        owner_open(a, s.settings.state_dir,
                   args_path_is_default(a, "state-dir", "WEFT_STATE_DIR"), &owner, &err) == 0) {
        (void)umask(077); /* what others may read says so when it is made */
        lock = lock_folder(s.settings.state_dir, &err);
        if (lock >= 0)
            rc = create(&s, &owner, ini, arena_printf(&arena, "uid %u", getuid()), &join, &arena, &err);
    }
    if (rc == 0)
        report(&s, ini, buf_str(&join));
    store_close(s.store);
    ca_close(s.ca);
    if (lock >= 0)
        close(lock);
    key_wipe(join.p, join.cap);
    buf_done(&join);
    arena_done(&arena);
    return rc ? command_failed(&err) : EXIT_DONE;
}
