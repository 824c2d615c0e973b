/* Every setting of an accepted text lies in a section, on its own line. */
#include <stdlib.h>

#include "mesh/base/ini.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good)
        abort();
}

static void check(const struct ini_section *s)
{
    unsigned line = s->line;

    must(s->type.n > 0);
    for (const struct ini_entry *e = s->first; e; e = e->next) {
        must(e->key.n > 0 && e->key_line > line && e->line >= e->key_line && e->column > 0);
        line = e->key_line;
        for (const struct ini_piece *p = e->pieces; p; p = p->next) {
            must(p->line >= line);
            line = p->line;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const void *bytes = data;
    struct arena a;
    struct findings f;
    struct ini_section *s = NULL;

    arena_init(&a);
    findings_init(&f, &a);
    if (ini_read((struct str){bytes, size}, STR("fuzz"), &a, &s, &f) != 0)
        must(f.errors > 0);
    for (; s; s = s->next)
        check(s);
    arena_done(&a);
    return 0;
}
