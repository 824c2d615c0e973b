#include "store/migrate.h"

#include <stdio.h>

#include "mesh/base/file.h"

/* Steps are never edited once released: a change is a new row. clang-format off keeps the SQL
 * readable. */
/* clang-format off */
static const char *const steps[] = {
    /* 1: the engine's tables. The log holds a value only when the key no longer does. */
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;"
    "CREATE TABLE kv ("
    "  id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value TEXT NOT NULL,"
    "  create_seq INTEGER NOT NULL, mod_seq INTEGER NOT NULL, version INTEGER NOT NULL,"
    "  lease INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE INDEX kv_lease ON kv (lease) WHERE lease <> 0;"
    "CREATE TABLE log ("
    "  id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, key BLOB NOT NULL, deleted INTEGER NOT NULL,"
    "  value TEXT, create_seq INTEGER NOT NULL, version INTEGER NOT NULL) STRICT;"
    "CREATE INDEX log_seq ON log (seq);"
    "CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl_ms INTEGER NOT NULL) STRICT;"
    "INSERT INTO meta VALUES ('seq', 0), ('compacted', 0);",

    /* 2: views for people with the sqlite3 shell; the program does not read them. */
    "CREATE VIEW keys AS SELECT CAST(key AS TEXT) AS key, value, create_seq, mod_seq, version, lease FROM kv;"
    "CREATE VIEW hosts AS SELECT value->>'id' AS id, value->>'name' AS name, value->>'state' AS state,"
    "  value->>'address' AS address, value->>'pin' AS pin, value->>'joins' AS joins,"
    "  datetime((value->>'last_join_ms') / 1000, 'unixepoch') AS last_join,"
    "  value->'grants' AS grants, value->'labels' AS labels FROM keys WHERE key GLOB '/reg/host/*';"
    "CREATE VIEW services AS SELECT value->>'ns' AS namespace, value->>'name' AS name,"
    "  value->>'account' AS account, value->'ports' AS ports FROM keys WHERE key GLOB '/reg/service/*';"
    "CREATE VIEW workloads AS SELECT substr(k.key, 16) AS host, w.value->>'ns' AS namespace,"
    "  w.value->>'service' AS service, w.value->>'account' AS account, w.value->>'version' AS version,"
    "  w.value->'addresses' AS addresses, w.value->'ports' AS ports, w.value->'labels' AS labels"
    "  FROM keys AS k, json_each(k.value, '$.workloads') AS w WHERE k.key GLOB '/reg/workloads/*';"
    "CREATE VIEW vips AS SELECT value->>'ns' AS namespace, value->>'name' AS name, value->>'v4' AS v4,"
    "  value->>'v6' AS v6 FROM keys WHERE key GLOB '/reg/vip/*';"
    "CREATE VIEW revisions AS SELECT value->>'revision' AS revision,"
    "  datetime((value->>'at_ms') / 1000, 'unixepoch') AS at, value->>'who' AS who,"
    "  value->>'source' AS source, value->>'message' AS message, value->>'created' AS created,"
    "  value->>'changed' AS changed, value->>'deleted' AS deleted, value->>'objects' AS objects"
    "  FROM keys WHERE key GLOB '/rev/*';"
    "CREATE VIEW tokens AS SELECT value->>'id' AS id, value->>'uses_left' AS uses_left,"
    "  datetime((value->>'expires_ms') / 1000, 'unixepoch') AS expires, value->>'revoked' AS revoked,"
    "  value->>'creator' AS creator, value->'grants' AS grants FROM keys WHERE key GLOB '/token/*';"
    "CREATE VIEW certificates AS SELECT value->>'serial' AS serial, value->>'identity' AS identity,"
    "  value->>'host' AS host, datetime((value->>'not_after_ms') / 1000, 'unixepoch') AS not_after"
    "  FROM keys WHERE key GLOB '/cert/*';"
    "CREATE VIEW ejections AS SELECT value->>'host' AS host, value->>'name' AS name,"
    "  value->>'reason' AS reason, datetime((value->>'at_ms') / 1000, 'unixepoch') AS at"
    "  FROM keys WHERE key GLOB '/eject/*';"
    "CREATE VIEW audit AS SELECT value->>'n' AS n, value->>'at' AS at, value->>'actor' AS actor,"
    "  value->>'source' AS source, value->>'action' AS action, value->>'object' AS object,"
    "  value->>'verdict' AS verdict, value->>'revision' AS revision, value->>'message' AS message"
    "  FROM keys WHERE key GLOB '/audit/*';",
};
/* clang-format on */

int migrate_latest(void)
{
    return (int)COUNT(steps);
}

static int copy_before(const struct migrate_engine *engine, int version, const char *path,
                       struct err *err)
{
    char name[4096];
    int n = snprintf(name, sizeof(name), "%s.before-%d", path, version + 1);

    if (n < 0 || (size_t)n >= sizeof(name))
        return err_set(err, ERR_INVALID, "the path is too long");
    if (file_exists(name)) /* of an earlier try that was cut short */
        return 0;
    if (engine->copy(engine->arg, name, err))
        return err_wrap(err, "copying the database to %s before its migration", name);
    return 0;
}

int migrate_run(const struct migrate_engine *engine, int version, const char *path, struct err *err)
{
    if (version > migrate_latest())
        return err_set(err, ERR_UNSUPPORTED,
                       "the database has schema %d, this weft knows up to %d: it was written by a "
                       "newer weft; run that version, or restore a backup made before the upgrade",
                       version, migrate_latest());
    if (version > 0 && version < migrate_latest() && copy_before(engine, version, path, err))
        return -1;
    for (int v = version; v < migrate_latest(); v++) {
        if (engine->apply(engine->arg, steps[v], v + 1, err))
            return err_wrap(err, "migrating the database to schema %d", v + 1);
    }
    return 0;
}
