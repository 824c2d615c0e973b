/* Files of the corpus of cases that others wrote. WEFT_CORPUS says where it is. */
#pragma once

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
