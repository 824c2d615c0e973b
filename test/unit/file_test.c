#include "test/test.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mesh/base/file.h"
#include "mesh/base/log.h"

static char folder[64];
static struct err err;

static const char *in_folder(const char *name)
{
    static char path[4][256];
    static unsigned i;

    i = (i + 1) % 4;
    snprintf(path[i], sizeof(path[i]), "%s/%s", folder, name);
    return path[i];
}

static void make_folder(void)
{
    snprintf(folder, sizeof(folder), "/tmp/weft-file-test-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_mode & 07777 : 0;
}

TEST(a_file_is_written_whole_with_its_mode_and_read_back)
{
    struct buf b;

    make_folder();
    CHECK_INT(file_write(in_folder("a"), STR("one"), 0640, &err), 0);
    CHECK_INT(mode_of(in_folder("a")), 0640);
    CHECK_INT(file_write(in_folder("a"), STR("two\0three"), 0600, &err), 0);
    CHECK_INT(mode_of(in_folder("a")), 0600);
    buf_init(&b, 100);
    CHECK_INT(file_read(in_folder("a"), &b, &err), 0);
    CHECK_INT(b.n, 9);
    buf_done(&b);
    CHECK(file_exists(in_folder("a")));
    CHECK_INT(unlink(in_folder("a")), 0);
    CHECK_INT(rmdir(folder), 0); /* and so no temporary file is left */
}

TEST(failures_say_what_and_why)
{
    struct buf b;
    char want[200];

    make_folder();
    buf_init(&b, 2);
    CHECK_INT(file_read(in_folder("none"), &b, &err), -1);
    CHECK_INT(err.code, ERR_MISSING);
    snprintf(want, sizeof(want), "cannot open %s/none: No such file or directory", folder);
    CHECK_TEXT(err.text, want);
    CHECK_INT(file_write(in_folder("none/x"), STR(""), 0600, &err), -1);
    CHECK_INT(err.code, ERR_MISSING);
    CHECK_INT(file_write(in_folder("big"), STR("abc"), 0600, &err), 0);
    CHECK_INT(file_read(in_folder("big"), &b, &err), -1);
    CHECK_INT(err.code, ERR_LIMIT);
    CHECK_INT(file_mkdirs(in_folder("big/x"), 0755, &err), -1);
    CHECK(!file_exists(in_folder("none")));
    buf_done(&b);
    unlink(in_folder("big"));
    rmdir(folder);
}

TEST(folders_are_made_with_their_parents)
{
    make_folder();
    CHECK_INT(file_mkdirs(in_folder("a/b//c/"), 0750, &err), 0);
    CHECK_INT(mode_of(in_folder("a/b/c")), 0750);
    CHECK_INT(file_mkdirs(in_folder("a/b"), 0700, &err), 0); /* is there, keeps its mode */
    CHECK_INT(mode_of(in_folder("a/b")), 0750);
    CHECK_INT(file_mkdirs("/", 0700, &err), 0);
    rmdir(in_folder("a/b/c"));
    rmdir(in_folder("a/b"));
    rmdir(in_folder("a"));
    CHECK_INT(rmdir(folder), 0);
}

TEST(a_listing_is_sorted_and_filtered)
{
    static const char *const made[] = {"b.yaml", "a.yml", "B.yaml", "c.txt", ".hidden.yaml"};
    static const char *const suffixes[] = {".yaml", ".yml", NULL};
    char **names = NULL;
    size_t count = 99;

    make_folder();
    CHECK_INT(file_list(folder, suffixes, &names, &count, &err), 0);
    CHECK_INT(count, 0);
    CHECK(names == NULL);
    for (size_t i = 0; i < COUNT(made); i++)
        CHECK_INT(file_write(in_folder(made[i]), STR("x"), 0644, &err), 0);
    CHECK_INT(file_list(folder, suffixes, &names, &count, &err), 0);
    CHECK_INT(count, 3);
    CHECK_TEXT(names[0], "B.yaml");
    CHECK_TEXT(names[1], "a.yml");
    CHECK_TEXT(names[2], "b.yaml");
    file_list_free(names, count);
    for (size_t i = 0; i < COUNT(made); i++)
        unlink(in_folder(made[i]));
    rmdir(folder);
    CHECK_INT(file_list(folder, suffixes, &names, &count, &err), -1);
    CHECK_INT(err.code, ERR_MISSING);
}

TEST(errors_gain_context_from_the_outside_in)
{
    errno = EACCES;
    CHECK_INT(err_errno(&err, ERR_DENIED, "open %s", "x"), -1);
    CHECK_INT(err_wrap(&err, "line %d", 12), -1);
    CHECK_INT(err_wrap(&err, "web.yaml"), -1);
    CHECK_TEXT(err.text, "web.yaml: line 12: open x: Permission denied");
    CHECK_INT(err.code, ERR_DENIED);
    CHECK_INT(err_set(&err, ERR_IO, "again: %.8s", err.text), -1);
    CHECK_TEXT(err.text, "again: web.yaml");
}

TEST(overlong_errors_are_cut)
{
    err_set(&err, ERR_IO, "%02000d", 1);
    CHECK_INT(strlen(err.text), ERR_TEXT_MAX - 1);
    err_wrap(&err, "outside");
    CHECK_INT(strlen(err.text), ERR_TEXT_MAX - 1);
    CHECK(strncmp(err.text, "outside: 000", 12) == 0);
}

/* Standard error goes to a file for the length of one call. */
static struct str logged(char *out, size_t room, const char *text)
{
    int saved = dup(STDERR_FILENO);
    FILE *f = tmpfile();
    size_t n;

    CHECK(f != NULL && saved >= 0);
    dup2(fileno(f), STDERR_FILENO);
    log_warn("%s", text);
    log_debug("%s", "below the level");
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(f);
    n = fread(out, 1, room, f);
    fclose(f);
    return (struct str){out, n};
}

TEST(a_log_event_is_one_line_whatever_it_holds)
{
    static char out[8192];
    static char text[6000];
    struct str line;

    log_level = LOG_INFO;
    line = logged(out, sizeof(out), "peer said=a\nb\x1b[31m\x7f");
    CHECK(str_ends(line, STR("WARN peer said=a\\nb\\x1b[31m\\x7f\n")));
    memset(text, 'x', sizeof(text) - 1);
    line = logged(out, sizeof(out), text);
    CHECK(line.n <= 4096 && str_ends(line, STR("xx\n")));
}

TEST(levels_have_names)
{
    enum log_level level = LOG_ERROR;

    CHECK(log_level_parse(STR("Debug"), &level) && level == LOG_DEBUG);
    CHECK(!log_level_parse(STR("loud"), &level) && level == LOG_DEBUG);
}
