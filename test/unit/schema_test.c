/* The tables themselves: every row is complete and sane, names and hints work. */
#include "mesh/kinds/kinds.h"
#include "mesh/kinds/virtual_service.h"
#include "test/test.h"

static void check_schema(const struct schema *s, unsigned depth)
{
    CHECK(depth < 12);
    CHECK(s->name && s->size >= sizeof(void *));
    for (size_t i = 0; i < s->count; i++) {
        const struct field *f = &s->fields[i];

        CHECK(f->name && f->name[0]);
        CHECK(f->meaning && f->meaning[strlen(f->meaning) - 1] == '.');
        CHECK(!(f->status == FIELD_UNSUPPORTED || f->status == FIELD_DEPRECATED) || f->reason);
        CHECK(f->type != FIELD_ANY || f->status == FIELD_UNSUPPORTED || f->status == FIELD_NOT_YET);
        CHECK(f->type == FIELD_ANY || f->offset >= sizeof(void *)); /* `node` comes first */
        CHECK(f->offset < s->size);
        CHECK((f->type == FIELD_ENUM || f->type == FIELD_WORD) == (f->values != NULL));
        CHECK(schema_find(s, str_from(f->name)) == f); /* no twin */
        CHECK(f->status == FIELD_DEPRECATED || !strchr(f->name, '_')); /* Istio once took proto's spelling */
        if (f->type == FIELD_ENUM && !f->has_offset)
            CHECK(schema_value_of(f->values, (int)f->def) != NULL);
        if (f->type == FIELD_MESSAGE || f->type == FIELD_EMBED || f->type == FIELD_MESSAGES ||
            f->type == FIELD_MESSAGE_MAP || f->type == FIELD_NAMED_MESSAGES) {
            CHECK(f->message != NULL);
            check_schema(f->message, depth + 1);
        }
        switch (f->type) {
        case FIELD_STRINGS:
        case FIELD_UINT32S:
        case FIELD_MATCHES:
        case FIELD_MESSAGES:
        case FIELD_NUMBERS:
        case FIELD_MATCH_MAP:
        case FIELD_MESSAGE_MAP:
        case FIELD_NAMED_MESSAGES:
            CHECK(f->count_offset > f->offset && f->count_offset < s->size);
            break;
        default:
            CHECK_INT(f->count_offset, 0);
        }
    }
}

TEST(every_row_of_every_table_is_complete)
{
    for (size_t i = 0; kind_at(i); i++) {
        CHECK_INT(kind_at(i)->id, i);
        CHECK(kind_get((enum kind_id)i) == kind_at(i));
        CHECK(kind_at(i)->meaning && kind_at(i)->meaning[strlen(kind_at(i)->meaning) - 1] == '.');
        CHECK((kind_at(i)->spec != NULL) == (kind_at(i)->validate != NULL));
        if (kind_at(i)->spec)
            check_schema(kind_at(i)->spec, 0);
    }
}

TEST(kinds_are_found_by_any_of_their_names)
{
    CHECK(kind_find(STR("VirtualService"))->id == KIND_VIRTUAL_SERVICE);
    CHECK(kind_find(STR("virtualservice")) == NULL);
    CHECK(kind_find_any(STR("vs"))->id == KIND_VIRTUAL_SERVICE);
    CHECK(kind_find_any(STR("virtualservices"))->id == KIND_VIRTUAL_SERVICE);
    CHECK(kind_find_any(STR("VirtualService"))->id == KIND_VIRTUAL_SERVICE);
    CHECK(kind_find_any(STR("dr"))->id == KIND_DESTINATION_RULE);
    CHECK(kind_find_any(STR("gw"))->id == KIND_GATEWAY);
    CHECK(kind_find_any(STR("se"))->id == KIND_SERVICE_ENTRY);
    CHECK(kind_find_any(STR("we"))->id == KIND_WORKLOAD_ENTRY);
    CHECK(kind_find_any(STR("pa"))->id == KIND_PEER_AUTHENTICATION);
    CHECK(kind_find_any(STR("svc"))->id == KIND_SERVICE);
    CHECK(kind_find_any(STR("pod")) == NULL);
}

TEST(unknown_names_get_a_suggestion)
{
    struct arena a;

    arena_init(&a);
    CHECK_STR(schema_suggest(&virtual_service_schema, STR("host"), &a), "did you mean \"hosts\"?");
    CHECK_STR(schema_suggest(&virtual_service_schema, STR("HTTP"), &a), "did you mean \"http\"?");
    CHECK_STR(schema_suggest(&virtual_service_schema, STR("export_to"), &a),
              "names are written in camelCase: \"exportTo\"");
    CHECK_STR(schema_suggest(&virtual_service_schema, STR("nothingLikeIt"), &a), "");
    arena_done(&a);
}

TEST(paths_lead_through_lists_and_messages)
{
    const struct field *f =
        schema_path(&virtual_service_schema, "http.route.destination.port.number");

    CHECK(f && f->type == FIELD_UINT32);
    CHECK(schema_path(&virtual_service_schema, "http.route.nothing") == NULL);
    CHECK(schema_path(&virtual_service_schema, "hosts.x") == NULL);
}

TEST(defaults_are_written)
{
    struct http_retry r;
    const struct field *f = schema_path(&virtual_service_schema, "http.retries");

    memset(&r, 0, sizeof(r));
    schema_defaults(f->message, &r);
    CHECK(r.retry_ignore_previous_hosts);
    CHECK_INT(r.per_try_timeout_ns, DURATION_UNSET);
    CHECK_INT(r.attempts, 0);
}
