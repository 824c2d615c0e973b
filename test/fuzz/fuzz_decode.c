/* Any text as documents: no crash, and what is taken comes back the same from its canonical form.
 */
#include <stdlib.h>

#include "mesh/base/json.h"
#include "mesh/decode.h"
#include "mesh/encode.h"
#include "mesh/validate.h"

static void check_round_trip(struct object *o, struct arena *a)
{
    struct node *once = encode_object(o, a);
    struct object_list again = {0};
    struct findings f;
    struct buf json;

    findings_init(&f, a);
    buf_init(&json, 16u << 20);
    json_write(once, 0, &json);
    if (documents_parse(buf_str(&json), STR("again"), SYNTAX_JSON, a, &again, &f) != 0 ||
        again.count != 1 || !node_eq(once, encode_object(again.items[0], a)))
        abort();
    buf_done(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct validate_scope scope = {.domain = "cluster.local"};
    struct object_list list = {0};
    struct findings f;
    struct arena a;
    int result;

    arena_init(&a);
    findings_init(&f, &a);
    result = documents_parse((struct str){(const char *)data, size}, STR("fuzz"), SYNTAX_AUTO, &a,
                             &list, &f);
    if ((result != 0) != (f.errors != 0))
        abort();
    for (size_t i = 0; i < list.count; i++)
        check_round_trip(list.items[i], &a);
    validate_set(&list, &scope, &f);
    validate_duplicates(&list, &f);
    arena_done(&a);
    return 0;
}
