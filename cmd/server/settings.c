/* DIR/server.ini: written by `weft server init`, edited by people, read at start. */
#include "cmd/command.h"
#include "cmd/manual.h"
#include "cmd/server/server.h"
#include "mesh/base/file.h"
#include "mesh/identity.h"
#include "mesh/settings.h"

#define SETTINGS_BYTES (64u << 10)
#define MINUTE         60000000000ll
#define HOUR           (60 * MINUTE)

static int check_trust_domain(struct str s, struct err *err)
{
    return identity_trust_domain_ok(s)
               ? 0
               : err_set(err, ERR_INVALID,
                         "trust_domain \"%.*s\" is not one (SPIFFE: lower case letters, digits, "
                         ". - _)",
                         STR_ARG(s));
}

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */
static const struct field rows[] = {
    {"state_dir", FIELD_TEXT, SCHEMA_AT(server_settings, state_dir), .flags = FIELD_REQUIRED,
     .meaning = "Store (weft.db) and certificate authority (ca/)."},
    {"socket", FIELD_TEXT, SCHEMA_AT(server_settings, socket_path), .flags = FIELD_REQUIRED,
     .meaning = "API for this machine; peer credentials decide."},
    {"listen", FIELD_ADDRESS, SCHEMA_AT(server_settings, listen), .flags = FIELD_REQUIRED,
     .meaning = "Where agents connect (TLS)."},
    {"advertise", FIELD_TEXT, SCHEMA_AT(server_settings, advertise), .flags = FIELD_REQUIRED,
     .meaning = "How hosts reach this server: HOST:PORT[,HOST:PORT]."},
    {"trust_domain", FIELD_TEXT, SCHEMA_AT(server_settings, trust_domain), .flags = FIELD_REQUIRED,
     .check = check_trust_domain, .meaning = "Of SPIFFE names; set once."},
    {"domain", FIELD_TEXT, SCHEMA_AT(server_settings, domain), .flags = FIELD_REQUIRED,
     .meaning = "Of service names: NAME.NAMESPACE.svc.DOMAIN; set once."},
    {"root_namespace", FIELD_TEXT, SCHEMA_AT(server_settings, root_namespace),
     .flags = FIELD_REQUIRED, .meaning = "Its policies hold for the whole mesh."},
    {"leaf_lifetime", FIELD_DURATION, SCHEMA_AT(server_settings, leaf_ns),
     .flags = FIELD_BOUNDED, .def = 72 * HOUR, SCHEMA_BOUNDS(MINUTE, 2160 * HOUR),
     .meaning = "Life of certificates; renewed at a sixth of it."},
};
/* clang-format on */

static SCHEMA(schema, "[server]", server_settings, rows);

static const struct settings_type server_type = {"server", &schema, false, NULL};

const struct settings_file server_ini = {
    "weft-server.ini",
    "/etc/weft/server.ini",
    "settings of the weft server",
    "weft server init writes it; weft server run reads it at start. Restart the server after a "
    "change.",
    &server_type,
    1,
};

int server_settings_read(const char *path, struct arena *a, struct server_settings *out,
                         struct err *err)
{
    struct settings_section *sections;
    struct findings f;
    struct buf text;
    int rc = -1;

    buf_init(&text, SETTINGS_BYTES);
    findings_init(&f, a);
    if (file_read(path, &text, err)) {
        (void)err_wrap(err, "the server was not set up here (weft server init)");
    } else if (settings_parse(buf_str(&text), str_from(path), &server_type, 1, a, &sections, &f)) {
        rc = command_findings(&f, err);
    } else if (!sections) {
        (void)err_set(err, ERR_INVALID, "%s has no section [server]", path);
    } else {
        *out = *(const struct server_settings *)sections->values;
        out->node = NULL;
        rc = 0;
    }
    buf_done(&text);
    return rc;
}

int server_settings_write(const char *path, const struct server_settings *s, struct err *err)
{
    struct buf b;
    int rc;

    buf_init(&b, SETTINGS_BYTES);
    buf_adds(&b, "; weft server settings. Restart the server after a change.\n");
    settings_write(&server_type, s, &b);
    rc = file_write(path, buf_str(&b), 0644, err);
    buf_done(&b);
    return rc;
}
