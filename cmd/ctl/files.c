#include "cmd/ctl/files.h"

#include <string.h>
#include <sys/stat.h>

#include "cmd/command.h"
#include "mesh/base/file.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/decode.h"

struct walk {
    files_visit *visit;
    void *arg;
};

static int read_one(const struct walk *w, const char *path, struct err *err)
{
    struct buf text;
    int rc;

    buf_init(&text, LIMIT_APPLY_BYTES);
    rc = file_read(path, &text, err);
    if (rc == 0)
        rc = w->visit(w->arg, strcmp(path, "-") == 0 ? STR("(stdin)") : str_from(path),
                      buf_str(&text), err);
    buf_done(&text);
    return rc;
}

static int read_in_folder(const struct walk *w, const char *folder, const char *name,
                          struct err *err)
{
    struct buf path;
    char *text;
    int rc = 0;

    buf_init(&path, strlen(folder) + strlen(name) + 2);
    buf_printf(&path, "%s/%s", folder, name);
    text = buf_steal(&path);
    rc = read_one(w, text, err);
    mem_free(text);
    return rc;
}

static int read_path(const struct walk *w, const char *path, struct err *err)
{
    struct stat st;
    char **names;
    size_t n;
    int rc = 0;

    if (strcmp(path, "-") == 0 || stat(path, &st) || !S_ISDIR(st.st_mode))
        return read_one(w, path, err);
    if (file_list(path, document_endings, &names, &n, err))
        return -1;
    if (n == 0)
        rc = err_set(err, ERR_MISSING, "%s: no .yaml, .yml, .json or .ini file in this folder",
                     path);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = read_in_folder(w, path, names[i], err);
    file_list_free(names, n);
    return rc;
}

int files_each(const struct args *a, files_visit *visit, void *arg, struct err *err)
{
    const struct walk w = {visit, arg};
    const char *path;

    for (size_t i = 0; (path = args_nth(a, "file", i)); i++) {
        if (read_path(&w, path, err))
            return -1;
    }
    return 0;
}
