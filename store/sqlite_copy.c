/* Whole copies: backup, restore, and the limit of size. */
#include "store/sqlite_parts.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mesh/base/file.h"
#include "store/migrate.h"

static int copy_db(sqlite3 *from, sqlite3 *to, struct err *err)
{
    sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
    int rc;

    if (!b)
        return db_failed(to, sqlite3_errcode(to), err);
    sqlite3_backup_step(b, -1);
    rc = sqlite3_backup_finish(b);
    if (rc != SQLITE_OK)
        return db_failed(to, rc, err);
    /* One file, without a -wal beside it that somebody could forget to carry along. */
    return db_exec(to, "PRAGMA journal_mode = DELETE", err);
}

static int sync_folder(const char *path, struct err *err)
{
    const char *slash = strrchr(path, '/');
    char dir[PATH_BYTES];
    int fd, rc;

    snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, ERR_IO, "%s", dir);
    rc = fsync(fd);
    if (rc)
        err_errno(err, ERR_IO, "%s", dir);
    close(fd);
    return rc;
}

/* Copy `from` to the new file `path` by way of path.partial, so that a half one never has the name.
 */
static int copy_to(sqlite3 *from, const char *path, bool epoch, struct err *err)
{
    char part[PATH_BYTES];
    sqlite3 *to = NULL;
    int n = snprintf(part, sizeof(part), "%s.partial", path);
    int rc;

    if (n < 0 || (size_t)n >= sizeof(part))
        return err_set(err, ERR_INVALID, "%s: the path is too long", path);
    if (file_exists(path))
        return err_set(err, ERR_CONFLICT, "%s exists already: name another file", path);
    unlink(part); /* of a copy that was cut short */
    if (db_make_file(part, O_EXCL, err))
        return -1;
    rc = db_open(part, SQLITE_OPEN_READWRITE, &to, err);
    if (rc == 0)
        rc = copy_db(from, to, err);
    if (rc == 0 && epoch)
        rc = db_new_epoch(to, err);
    sqlite3_close(to);
    if (rc == 0 && rename(part, path))
        rc = err_errno(err, ERR_IO, "%s", path);
    if (rc) {
        unlink(part);
        return -1;
    }
    return sync_folder(path, err);
}

int store_backup(struct store *s, const char *path, struct err *err)
{
    return copy_to(s->db, path, false, err);
}

int store_restore(const char *backup, const char *path, struct err *err)
{
    char wal[PATH_BYTES];
    sqlite3 *from = NULL;
    int64_t version;
    int n = snprintf(wal, sizeof(wal), "%s-wal", path);
    int rc;

    if (n < 0 || (size_t)n >= sizeof(wal))
        return err_set(err, ERR_INVALID, "%s: the path is too long", path);
    if (file_exists(wal))
        return err_set(err, ERR_CONFLICT,
                       "%s belongs to a database that is not there: move it away first", wal);
    rc = db_open(backup, SQLITE_OPEN_READONLY, &from, err);
    if (rc == 0)
        rc = db_check(from, THOROUGH, &version, err);
    if (rc == 0 && (version == 0 || version > migrate_latest()))
        rc = err_set(err, version ? ERR_UNSUPPORTED : ERR_INVALID,
                     version ? "it has schema %lld, this weft knows up to %d: use the weft that "
                               "made it"
                             : "it is empty (schema %lld of %d)",
                     (long long)version, migrate_latest());
    if (rc)
        err_wrap(err, "%s", backup);
    else
        rc = copy_to(from, path, true, err);
    sqlite3_close(from);
    return rc;
}

int store_limit_bytes(struct store *s, int64_t bytes, struct err *err)
{
    char text[64];
    int64_t page, pages;

    if (db_pragma(s->db, "PRAGMA page_size", &page, NULL, 0, err))
        return -1;
    snprintf(text, sizeof(text), "PRAGMA max_page_count = %lld",
             bytes ? (long long)(bytes / page) : 1073741823LL);
    return db_pragma(s->db, text, &pages, NULL, 0, err);
}
