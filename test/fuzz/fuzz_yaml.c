/* What the YAML reader accepts is written, read again, and must be the same tree. */
#include <stdlib.h>

#include "mesh/base/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good)
        abort();
}

static void check(const struct node_document *d, struct str text, struct arena *a)
{
    struct node_document *again = NULL;
    struct findings f;
    struct buf b;

    must(d->offset <= text.n && d->length <= text.n - d->offset);
    findings_init(&f, a);
    buf_init(&b, 64u << 20);
    yaml_write(d->root, &b);
    must(b.failed || yaml_parse(buf_str(&b), STR("again"), a, &again, &f) == 0);
    must(b.failed || (again && node_eq(d->root, again->root)));
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const void *bytes = data;
    struct str text = {bytes, size};
    struct arena a;
    struct findings f;
    struct node_document *d = NULL;

    arena_init(&a);
    findings_init(&f, &a);
    if (yaml_parse(text, STR("fuzz"), &a, &d, &f) != 0)
        must(f.errors == 1);
    for (; d; d = d->next)
        check(d, text, &a);
    arena_done(&a);
    return 0;
}
