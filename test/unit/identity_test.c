/* Names of workloads: which are valid (the SPIFFE corpus), what they mean, how they are written. */
#include "test/test.h"

#include "mesh/base/file.h"
#include "mesh/base/json.h"
#include "mesh/identity.h"

static struct identity parsed(const char *uri)
{
    struct identity id = {0};
    struct err err;

    CHECK_INT(identity_parse(str_from(uri), &id, &err), 0);
    return id;
}

static bool is_refused(const char *uri, const char *why)
{
    struct identity id = {.kind = IDENTITY_SERVER};
    struct err err = {0};

    if (identity_parse(str_from(uri), &id, &err) == 0 || id.kind != IDENTITY_SERVER)
        return false;
    if (!strstr(err.text, why))
        print_error("\"%s\" does not say \"%s\"\n", err.text, why);
    return strstr(err.text, why) != NULL;
}

TEST(a_service_has_a_namespace_and_an_account)
{
    struct identity id = parsed("spiffe://cluster.local/ns/shop/sa/reviews");

    CHECK_INT(id.kind, IDENTITY_SERVICE);
    CHECK_STR(id.trust_domain, "cluster.local");
    CHECK_STR(id.path, "/ns/shop/sa/reviews");
    CHECK_STR(id.ns, "shop");
    CHECK_STR(id.account, "reviews");
}

TEST(a_host_and_the_server_have_their_own_paths)
{
    struct identity id = parsed("spiffe://td/weft/host/01ARZ3NDEKTSV4RRFFQ69G5FAV");

    CHECK_INT(id.kind, IDENTITY_HOST);
    CHECK_STR(id.host, "01ARZ3NDEKTSV4RRFFQ69G5FAV");
    CHECK_INT(parsed("spiffe://td/weft/server").kind, IDENTITY_SERVER);
}

TEST(other_paths_are_valid_names_that_mean_nothing_here)
{
    const char *uris[] = {"spiffe://td",
                          "spiffe://td/a",
                          "spiffe://td/ns/x",
                          "spiffe://td/ns/x/sa",
                          "spiffe://td/ns/x/sa/y/z",
                          "spiffe://td/ns/x/user/y",
                          "spiffe://td/weft",
                          "spiffe://td/weft/host/a/b",
                          "spiffe://td/weft/server/x"};

    for (size_t i = 0; i < COUNT(uris); i++)
        CHECK_INT(parsed(uris[i]).kind, IDENTITY_OTHER);
}

TEST(a_refusal_says_what_is_wrong)
{
    CHECK(is_refused("", "empty"));
    CHECK(is_refused("https://td/a", "spiffe://"));
    CHECK(is_refused("SPIFFE://td/a", "spiffe://"));
    CHECK(is_refused("spiffe:///a", "trust domain"));
    CHECK(is_refused("spiffe://TD/a", "lower-case"));
    CHECK(is_refused("spiffe://td:80/a", "without a port"));
    CHECK(is_refused("spiffe://user@td/a", "without a port or user"));
    CHECK(is_refused("spiffe://td/a/", "empty path segment"));
    CHECK(is_refused("spiffe://td/", "empty path segment"));
    CHECK(is_refused("spiffe://td/../a", "\"..\""));
    CHECK(is_refused("spiffe://td/%41", "letters, digits"));
    CHECK(is_refused("spiffe://td/a?b", "letters, digits"));
}

TEST(a_name_has_at_most_2048_bytes_and_a_trust_domain_255)
{
    char uri[2100];
    struct identity id;
    struct err err;

    memset(uri, 'a', sizeof(uri));
    memcpy(uri, "spiffe://td/", 12);
    CHECK_INT(identity_parse((struct str){uri, 2048}, &id, &err), 0);
    CHECK_INT(identity_parse((struct str){uri, 2049}, &id, &err), -1);
    CHECK(identity_trust_domain_ok((struct str){uri + 12, 255}));
    CHECK(!identity_trust_domain_ok((struct str){uri + 12, 256}));
}

TEST(what_is_written_can_be_parsed)
{
    struct buf b;
    struct identity id;
    struct err err;

    buf_init(&b, 4096);
    identity_service(&b, STR("td"), STR("shop"), STR("web"));
    CHECK_STR(buf_str(&b), "spiffe://td/ns/shop/sa/web");
    CHECK_INT(identity_parse(buf_str(&b), &id, &err), 0);
    CHECK_STR(id.account, "web");
    buf_clear(&b);
    identity_host(&b, STR("td"), STR("01X"));
    CHECK_STR(buf_str(&b), "spiffe://td/weft/host/01X");
    buf_clear(&b);
    identity_server(&b, STR("td"));
    CHECK_STR(buf_str(&b), "spiffe://td/weft/server");
    buf_done(&b);
}

TEST(labels_are_those_of_dns_in_lower_case)
{
    CHECK(identity_label_ok(STR("web-1")));
    CHECK(identity_label_ok(STR("1")));
    CHECK(!identity_label_ok(STR("")));
    CHECK(!identity_label_ok(STR("-web")));
    CHECK(!identity_label_ok(STR("web-")));
    CHECK(!identity_label_ok(STR("Web")));
    CHECK(!identity_label_ok(STR("a.b")));
    CHECK(
        identity_label_ok(STR("a23456789012345678901234567890123456789012345678901234567890123")));
    CHECK(!identity_label_ok(
        STR("a234567890123456789012345678901234567890123456789012345678901234")));
}

static void check_case(struct str line)
{
    struct arena a;
    struct node *n;
    struct err err;
    struct identity id;
    bool want;

    arena_init(&a);
    CHECK_INT(json_read(line, &a, &n, &err), 0);
    want = node_is_true(n, "valid");
    if ((identity_parse(node_text(n, "id"), &id, &err) == 0) != want)
        fail_msg("%.*s", STR_ARG(line));
    arena_done(&a);
}

TEST(every_case_of_the_spiffe_corpus_is_judged_right)
{
    const char *corpus = getenv("WEFT_CORPUS");
    char path[512];
    struct buf text;
    struct str rest, line;
    struct err err;
    size_t cases = 0;

    snprintf(path, sizeof(path), "%s/spiffe/ids.jsonl", corpus ? corpus : "../shared/corpus");
    buf_init(&text, 1 << 20);
    if (!file_exists(path)) {
        const char *ci = getenv("CI");

        CHECK(!ci || strcmp(ci, "true") != 0); /* in CI the corpus has to be there */
        print_message("skipped: %s is not there\n", path);
        skip();
    }
    CHECK_INT(file_read(path, &text, &err), 0);
    for (rest = buf_str(&text); str_next(&rest, '\n', &line);) {
        if (line.n == 0)
            continue;
        check_case(line);
        cases++;
    }
    CHECK_INT(cases, 547);
    buf_done(&text);
}
