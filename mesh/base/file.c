#include "mesh/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mesh/base/mem.h"

static enum err_code code_of(int number)
{
    switch (number) {
    case ENOENT:
    case ENOTDIR:
        return ERR_MISSING;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_DENIED;
    case ENOSPC:
    case EDQUOT:
        return ERR_FULL;
    default:
        return ERR_IO;
    }
}

static int fail(struct err *err, const char *verb, const char *path)
{
    return err_errno(err, code_of(errno), "%s %s", verb, path);
}

static int read_all(int fd, const char *path, struct buf *out, struct err *err)
{
    size_t chunk_bytes = 64u << 10;
    char *chunk = mem_alloc(chunk_bytes);
    int result = 0;

    for (;;) {
        ssize_t n = read(fd, chunk, chunk_bytes);

        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            result = fail(err, "cannot read", path);
            break;
        }
        buf_add(out, (struct str){chunk, (size_t)n});
        if (out->failed) {
            result = err_set(err, ERR_LIMIT, "%s is larger than %zu bytes", path, out->max);
            break;
        }
    }
    mem_free(chunk);
    return result;
}

int file_read(const char *path, struct buf *out, struct err *err)
{
    int fd, result;

    if (strcmp(path, "-") == 0)
        return read_all(STDIN_FILENO, "standard input", out, err);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(err, "cannot open", path);
    result = read_all(fd, path, out, err);
    close(fd);
    return result;
}

static bool write_all(int fd, struct str s)
{
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);

        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0)
            s = str_sub(s, (size_t)n, s.n);
    }
    return true;
}

/* The folder of a path, from malloc. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return str_dup(STR("."));
    return str_dup((struct str){path, slash == path ? 1 : (size_t)(slash - path)});
}

/* A rename lives in the folder, which has to reach the disk too. */
static int sync_folder(const char *path, struct err *err)
{
    char *folder = folder_of(path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = 0;

    if (fd < 0 || fsync(fd) != 0)
        result = fail(err, "cannot sync the folder of", path);
    if (fd >= 0)
        close(fd);
    mem_free(folder);
    return result;
}

/* Fill the temporary file. Its descriptor is closed either way: a network file system may
 * report the lost write only there. */
static bool fill(int fd, struct str contents, mode_t mode)
{
    bool good = fchmod(fd, mode) == 0 && write_all(fd, contents) && fsync(fd) == 0;
    int why = errno;

    if (close(fd) != 0 && good)
        return false;
    errno = why;
    return good;
}

int file_write(const char *path, struct str contents, mode_t mode, struct err *err)
{
    struct buf name;
    char *temporary;
    int fd, result = 0;

    buf_init(&name, 4096);
    buf_printf(&name, "%s.tmp-XXXXXX", path);
    temporary = buf_steal(&name);
    if (!temporary)
        return err_set(err, ERR_INVALID, "the path %.64s... is too long", path);
    fd = mkostemp(temporary, O_CLOEXEC); /* made as 0600 */
    if (fd < 0) {
        result = fail(err, "cannot write", path);
    } else if (!fill(fd, contents, mode) || rename(temporary, path) != 0) {
        result = fail(err, "cannot write", path);
        unlink(temporary);
    } else {
        result = sync_folder(path, err);
    }
    mem_free(temporary);
    return result;
}

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* A folder that exists is fine, also where we could not have made it. */
static int make_folder(const char *path, mode_t mode, struct err *err)
{
    if (is_folder(path) || mkdir(path, mode) == 0 || (errno == EEXIST && is_folder(path)))
        return 0;
    return fail(err, "cannot make the folder", path);
}

int file_mkdirs(const char *path, mode_t mode, struct err *err)
{
    char *part = str_dup(str_from(path));
    int result = 0;

    /* From the first '/' that has a name before it: "a" of "a/b", "/a" of "/a/b". */
    for (char *at = part; result == 0 && *at; at++) {
        if (*at != '/' || at == part || at[-1] == '/')
            continue;
        *at = '\0';
        result = make_folder(part, mode, err);
        *at = '/';
    }
    if (result == 0)
        result = make_folder(part, mode, err);
    mem_free(part);
    return result;
}

static bool has_suffix(struct str name, const char *const *suffixes)
{
    for (size_t i = 0; suffixes[i]; i++) {
        if (str_ends(name, str_from(suffixes[i])))
            return true;
    }
    return false;
}

static int by_bytes(const void *a, const void *b)
{
    const char *const *x = a;
    const char *const *y = b;

    return strcmp(*x, *y);
}

int file_list(const char *dir, const char *const *suffixes, char ***names, size_t *count,
              struct err *err)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    char **list = NULL;
    size_t n = 0, cap = 0;

    if (!d)
        return fail(err, "cannot list", dir);
    errno = 0;
    while ((entry = readdir(d))) {
        /* Hidden files are editors' and our own temporary ones. */
        if (entry->d_name[0] == '.' || !has_suffix(str_from(entry->d_name), suffixes))
            continue;
        if (n == cap) {
            cap = cap ? cap * 2 : 16;
            list = mem_realloc(list, cap * sizeof(*list));
        }
        list[n++] = str_dup(str_from(entry->d_name));
    }
    if (errno != 0) {
        int result = fail(err, "cannot list", dir);

        closedir(d);
        file_list_free(list, n);
        return result;
    }
    closedir(d);
    if (n)
        qsort(list, n, sizeof(*list), by_bytes);
    *names = list;
    *count = n;
    return 0;
}

void file_list_free(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        mem_free(names[i]);
    mem_free(names);
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}
