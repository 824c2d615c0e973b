/* What the JSON reader accepts is written, read again, and must be the same tree; the YAML reader
 * must agree with the YAML writer about it, too. */
#include <stdlib.h>

#include "mesh/base/json.h"
#include "mesh/base/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good)
        abort();
}

static void check_json(const struct node *n, struct arena *a)
{
    struct node *again = NULL;
    struct err err;
    struct buf b;

    buf_init(&b, 64u << 20);
    json_write(n, 2, &b);
    must(json_read(buf_str(&b), a, &again, &err) == 0 && node_eq(n, again));
    buf_done(&b);
}

static void check_yaml(const struct node *n, struct arena *a)
{
    struct node_document *d = NULL;
    struct findings f;
    struct buf b;

    findings_init(&f, a);
    buf_init(&b, 64u << 20);
    yaml_write(n, &b);
    must(yaml_parse(buf_str(&b), STR("again"), a, &d, &f) == 0);
    must(d && node_eq(n, d->root));
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const void *bytes = data;
    struct arena a;
    struct findings f;
    struct node *n = NULL;

    arena_init(&a);
    findings_init(&f, &a);
    if (json_parse((struct str){bytes, size}, STR("fuzz"), &a, &n, &f) == 0) {
        check_json(n, &a);
        check_yaml(n, &a);
    } else {
        must(f.errors == 1 && f.first->line > 0 && f.first->column > 0);
    }
    arena_done(&a);
    return 0;
}
