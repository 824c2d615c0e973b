/* Numbered migrations of the database. A step runs in one transaction with the number it leads to,
 * after a copy of the file was made beside it: PATH.before-N.
 *
 * Flow:    sqlite.c calls migrate_run at open and does the SQL; which steps, and when a copy is
 * due, is decided here. Errors:  ERR_UNSUPPORTED if the file is newer than this program. Threads:
 * one.
 */
#pragma once

#include "mesh/base/err.h"

/* What the engine can do. All return 0, or -1 with err. */
struct migrate_engine {
    int (*copy)(void *arg, const char *path, struct err *err); /* consistent copy to a new file */
    int (*apply)(void *arg, const char *sql, int version, struct err *err); /* in one transaction */
    void *arg;
};

int migrate_latest(void);

/* Bring the file from `version` to the newest. `path` names the copies. Version 0 is an empty file:
 * no copy. */
int migrate_run(const struct migrate_engine *engine, int version, const char *path,
                struct err *err);
