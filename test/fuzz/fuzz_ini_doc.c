/* Any text as documents in INI: no crash; a finding has its place; what is taken is written as INI
 * and comes back the same, and that text is written the same again. */
#include <stdlib.h>

#include "mesh/decode.h"
#include "mesh/encode.h"
#include "mesh/ini_doc.h"
#include "mesh/ini_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good)
        abort();
}

/* Every document stands in the text, behind the one before. */
static void check_documents(struct str text, struct arena *a)
{
    struct node_document *d;
    struct findings f;
    size_t end = 0;

    findings_init(&f, a);
    if (ini_doc_parse(text, STR("fuzz"), a, &d, &f) != 0)
        must(f.errors > 0);
    for (; d; d = d->next) {
        must(d->offset >= end && d->length <= text.n - d->offset && d->number > 0);
        must(d->root->kind == NODE_MAP && node_get(d->root, STR("kind")) && d->root->line > 0);
        end = d->offset + d->length;
    }
    for (const struct finding *x = f.first; x; x = x->next)
        must(x->line > 0 || x->code == FIND_PARSE);
}

static void check_round_trip(const struct object *o, struct arena *a)
{
    struct node *once = encode_object(o, a), *again;
    struct object_list list = {0};
    struct findings f;
    struct buf text, twice;

    findings_init(&f, a);
    buf_init(&text, 64u << 20);
    buf_init(&twice, 64u << 20);
    must(ini_write_document(once, &text) && !text.failed);
    must(documents_read(buf_str(&text), STR("again"),
                        &(struct documents_how){.syntax = SYNTAX_INI, .takes_not_yet = true}, a,
                        &list, &f) == 0);
    must(list.count == 1);
    again = encode_object(list.items[0], a);
    must(node_eq(once, again));
    must(ini_write_document(again, &twice) && str_eq(buf_str(&text), buf_str(&twice)));
    buf_done(&text);
    buf_done(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const void *bytes = data;
    struct str text = {bytes, size};
    struct object_list list = {0};
    struct findings f;
    struct arena a;
    int result;

    arena_init(&a);
    findings_init(&f, &a);
    check_documents(text, &a);
    result = documents_read(text, STR("fuzz"),
                            &(struct documents_how){.syntax = SYNTAX_INI, .takes_not_yet = true},
                            &a, &list, &f);
    must((result != 0) == (findings_errors_besides(&f, FIND_NOT_YET) != 0));
    for (size_t i = 0; i < list.count; i++)
        check_round_trip(list.items[i], &a);
    arena_done(&a);
    return 0;
}
