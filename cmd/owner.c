#include "cmd/owner.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mesh/base/file.h"

static int find_account(const char *name, bool is_asked, struct owner *out, struct err *err)
{
    const struct passwd *user = getpwnam(name);
    uint64_t uid;

    if (user) {
        *out = (struct owner){user->pw_uid != 0, user->pw_uid, user->pw_gid};
    } else if (is_asked) {
        if (!str_uint(str_from(name), 0, UINT32_MAX - 1, &uid))
            return err_set(err, ERR_INVALID,
                           "--user %s: there is no such account (systemd-sysusers makes the "
                           "package's, weft)",
                           name);
        *out = (struct owner){uid != 0, (uid_t)uid, (gid_t)uid};
    }
    return 0;
}

/* Of a folder that exists. */
static int take_over(const char *dir, bool is_asked, struct owner *o, struct err *err)
{
    struct stat st;

    if (stat(dir, &st))
        return err_errno(err, ERR_IO, "cannot look at %s", dir);
    if (is_asked && st.st_uid != o->uid)
        return err_set(err, ERR_CONFLICT,
                       "%s belongs to user %u, not to user %u: give it away first, chown -R %u:%u %s",
                       dir, (unsigned)st.st_uid, (unsigned)o->uid, (unsigned)o->uid,
                       (unsigned)o->gid, dir);
    *o = (struct owner){st.st_uid != 0, st.st_uid, st.st_gid};
    return 0;
}

/* The folder was made by us a moment ago, in one that only root writes, so it is no link. */
static int give(const char *dir, const struct owner *o, struct err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), rc = 0;

    if (fd < 0 || fchown(fd, o->uid, o->gid))
        rc = err_errno(err, ERR_IO, "cannot give %s to user %u", dir, (unsigned)o->uid);
    if (fd >= 0)
        (void)close(fd); /* nothing was written */
    return rc;
}

static int make(const char *dir, const struct owner *o, struct err *err)
{
    char parent[4096];
    const char *slash = strrchr(dir, '/');

    (void)snprintf(parent, sizeof(parent), "%.*s", (int)(slash ? slash - dir : 0), dir);
    if (*parent && file_mkdirs(parent, o->is_other ? 0755 : 0700, err))
        return -1;
    return file_mkdirs(dir, 0700, err) || (o->is_other && give(dir, o, err)) ? -1 : 0;
}

int owner_open(const struct args *a, const char *dir, bool is_default, struct owner *out,
               struct err *err)
{
    const char *name = args_text(a, "user", NULL);

    *out = (struct owner){false, geteuid(), getegid()};
    if (geteuid() != 0) {
        if (name)
            return err_set(err, ERR_DENIED,
                           "--user %s: only root can make files for another account", name);
        return file_mkdirs(dir, 0700, err);
    }
    if ((name || is_default) && find_account(name ? name : OWNER_ACCOUNT, name != NULL, out, err))
        return -1;
    return file_exists(dir) ? take_over(dir, name != NULL, out, err) : make(dir, out, err);
}

int owner_become(const struct owner *o, struct err *err)
{
    if (!o->is_other)
        return 0;
    if (setgroups(0, NULL) || setegid(o->gid) || seteuid(o->uid))
        return err_errno(err, ERR_DENIED, "cannot act as user %u", (unsigned)o->uid);
    return 0;
}

int owner_return(const struct owner *o, struct err *err)
{
    if (!o->is_other)
        return 0;
    if (seteuid(0) || setegid(0))
        return err_errno(err, ERR_DENIED, "cannot act as root again");
    return 0;
}
