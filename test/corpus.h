/* Files of the corpus of cases that others wrote. WEFT_CORPUS says where it is. */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/base/mem.h"
#include "test/test.h"

/* A whole file; freed by the caller. A test without its file is skipped, and fails where CI=true. */
__attribute__((unused)) static char *corpus_file(const char *name)
{
    const char *dir = getenv("WEFT_CORPUS");
    char path[512];
    char *text = NULL;
    long size;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir ? dir : "../shared/corpus", name);
    f = fopen(path, "rb");
    if (!f) {
        if (getenv("CI") && strcmp(getenv("CI"), "true") == 0)
            fail_msg("corpus missing: %s", path);
        print_message("skipped: no %s\n", path);
        skip();
        return NULL;
    }
    fseek(f, 0, SEEK_END);
    size = ftell(f);
    rewind(f);
    text = mem_alloc((size_t)size + 1);
    text[fread(text, 1, (size_t)size, f)] = '\0';
    fclose(f);
    return text;
}

__attribute__((unused)) static DIR *corpus_dir(const char *name, char *path, size_t n)
{
    const char *root = getenv("WEFT_CORPUS");
    DIR *d;

    snprintf(path, n, "%s/%s", root ? root : "../shared/corpus", name);
    d = opendir(path);
    if (!d) {
        if (getenv("CI") && strcmp(getenv("CI"), "true") == 0)
            fail_msg("corpus missing: %s", path);
        print_message("skipped: no %s\n", path);
        skip();
    }
    return d;
}

/* Rows are one object per line, written by one program: a key is found by its text. */
__attribute__((unused)) static struct str json_value(struct str row, const char *key)
{
    char want[64];
    size_t at, n;

    snprintf(want, sizeof(want), "\"%s\": ", key);
    if (!str_find(row, str_from(want), &at))
        return STR_NONE;
    row = str_sub(row, at + strlen(want), row.n);
    if (row.n > 0 && row.p[0] == '"') {
        row = str_sub(row, 1, row.n);
        for (n = 0; n < row.n && row.p[n] != '"'; n++)
            n += row.p[n] == '\\';
        return str_sub(row, 0, n);
    }
    for (n = 0; n < row.n && row.p[n] != ',' && row.p[n] != '}'; n++)
        ;
    return str_sub(row, 0, n);
}

__attribute__((unused)) static struct str unbase64(struct str s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = mem_alloc(s.n + 1);
    size_t n = 0;
    uint32_t bits = 0;
    unsigned have = 0;

    for (size_t i = 0; i < s.n && s.p[i] != '='; i++) {
        bits = bits << 6 | (uint32_t)(strchr(digits, s.p[i]) - digits);
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (char)(bits >> have & 0xff);
        }
    }
    return (struct str){out, n};
}
