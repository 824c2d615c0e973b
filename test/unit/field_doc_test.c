/* Fields in words, and that docs/reference is what the tables say. */
#include "mesh/field_doc.h"

#include "cmd/ctl/reference.h"
#include "mesh/base/file.h"
#include "test/test.h"

static struct arena arena;

static const struct field_place *place(const char *path)
{
    static struct field_place p;
    struct err err;

    if (field_place_find(str_from(path), &arena, &p, &err))
        fail_msg("%s: %s", path, err.text);
    return &p;
}

static void expect_refusal(const char *path, const char *why)
{
    struct field_place p;
    struct err err;

    CHECK_INT(field_place_find(str_from(path), &arena, &p, &err), -1);
    CHECK_TEXT(err.text, why);
}

TEST(a_path_finds_its_field_however_it_is_written)
{
    static const char *const same[] = {
        "virtualservice.spec.http.retries.attempts",
        "vs.http.retries.attempts",
        "VirtualServices.http[0].retries.attempts",
        "VirtualService.spec.http[12].retries.attempts",
    };

    arena_init(&arena);
    for (size_t i = 0; i < COUNT(same); i++)
        CHECK_STR(place(same[i])->path, "VirtualService.spec.http.retries.attempts");
    CHECK_STR(place("vs.http.match.headers.end-user.exact")->path,
              "VirtualService.spec.http.match.headers.exact"); /* the key of a map */
    CHECK_STR(place("pa.portLevelMtls.8080.mode")->path,
              "PeerAuthentication.spec.portLevelMtls.mode");
    CHECK(place("dr")->field == NULL);
    CHECK(field_place_members(place("dr")) == kind_find(STR("DestinationRule"))->spec);
    arena_done(&arena);
}

TEST(an_unknown_path_says_where_it_ends)
{
    arena_init(&arena);
    expect_refusal("virtualservise",
                   "there is no kind \"virtualservise\"; did you mean \"virtualservice\"?");
    expect_refusal("GateWay2.servers", "there is no kind \"GateWay2\"; did you mean \"gateway\"?");
    expect_refusal("nonsense", "there is no kind \"nonsense\"; weft explain-field lists them");
    expect_refusal("vs.htp", "VirtualService.spec has no member \"htp\"; did you mean \"http\"?");
    expect_refusal("vs.hosts.x", "VirtualService.spec.hosts has no members");
    expect_refusal("namespace.x", "Namespace.spec has no members");
    arena_done(&arena);
}

TEST(types_defaults_and_rules_are_told)
{
    static const struct {
        const char *path, *type, *def, *rules;
    } rows[] = {
        {"dr.host",                                            "string",                  "",      "Required."                       },
        {"vs.http.fault.abort.httpStatus",                     "int32",                   "",
         "200 to 600. Not together with grpcStatus."                                                                                 },
        {"vs.http.timeout",                                    "duration",                "",      ""                                },
        {"dr.trafficPolicy.tls.insecureSkipVerify",            "bool",                    "false", ""                                },
        {"dr.trafficPolicy.connectionPool.tcp.maxConnections", "int32",                   "",      "At least 0."                     },
        {"dr.trafficPolicy.retryBudget.percent",               "double",                  "20",    "0 to 100."                       },
        {"dr.trafficPolicy.tunnel",                            "TunnelSettings",          "",      "Not together with proxyProtocol."},
        {"pa.portLevelMtls",                                   "map<uint32,MutualTLS>",   "",      NULL                              },
        {"vs.http.match.headers",                              "map<string,StringMatch>", "",      NULL                              },
    };

    arena_init(&arena);
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct field_place *p = place(rows[i].path);

        CHECK_STR(field_type_words(p->field, &arena), rows[i].type);
        CHECK_STR(field_default_words(p->field, &arena), rows[i].def);
        if (rows[i].rules && rows[i].rules[0])
            CHECK(str_starts(field_rules(p->in, p->field, &arena), str_from(rows[i].rules)));
    }
    CHECK_STR(field_rules(place("se.resolution")->in, place("se.resolution")->field, &arena),
              "Values: NONE, STATIC, DNS (not supported yet), DNS_ROUND_ROBIN (not supported yet), "
              "DYNAMIC_DNS (not supported yet).");
    arena_done(&arena);
}

static void check_page(const char *name, const struct buf *want)
{
    char path[256];
    struct buf have;
    struct err err;

    snprintf(path, sizeof(path), "docs/reference/%s.md", name);
    buf_init(&have, 1u << 20);
    if (file_read(path, &have, &err))
        fail_msg("%s", err.text);
    if (!str_eq(buf_str(&have), buf_str(want)))
        fail_msg("%s is not what the tables say: run make reference", path);
    buf_done(&have);
}

TEST(the_reference_is_what_the_tables_say)
{
    struct buf page;

    buf_init(&page, 1u << 20);
    for (size_t i = 0; kind_at(i); i++) {
        if (!kind_at(i)->spec)
            continue;
        buf_clear(&page);
        reference_page(kind_at(i), &page);
        check_page(kind_at(i)->singular, &page);
    }
    buf_clear(&page);
    reference_index(&page);
    check_page("README", &page);
    buf_done(&page);
}
