/* Secrets are not shown, and what was shown without them is not taken back. */
#include "test/unit/doc_world.h"

#define PEM(what) "-----BEGIN " what "-----\\nAAAA\\n-----END " what "-----\\n"
#define CREDENTIAL(key)                                                                            \
    DOC("weft/v1", "Credential",                                                                   \
        "  certificate: \"" PEM("CERTIFICATE") "\"\n  privateKey: \"" key "\"\n")

static void write_redacted(const char *text, bool want, struct buf *out)
{
    struct docs d;
    struct node *root;

    docs_parse_all(&d, str_from(text), SYNTAX_YAML);
    CHECK_INT(findings_errors_besides(&d.findings, FIND_NOT_YET), 0);
    CHECK(d.objects.count == 1);
    root = encode_object(d.objects.items[0], &d.arena);
    CHECK_INT(encode_redact_document(root), want);
    json_write(root, 0, out);
    docs_done(&d);
}

TEST(a_key_is_replaced_by_a_mark_and_the_rest_stays)
{
    struct buf b;
    size_t at;

    buf_init(&b, 1u << 20);
    write_redacted(CREDENTIAL(PEM("PRIVATE KEY")), true, &b);
    CHECK(str_find(buf_str(&b), STR("\"privateKey\":\"(redacted)\""), &at));
    CHECK(str_find(buf_str(&b), STR("BEGIN CERTIFICATE"), &at));
    CHECK(!str_find(buf_str(&b), STR("BEGIN PRIVATE KEY"), &at));
    buf_done(&b);
}

TEST(a_document_without_secrets_is_as_it_was)
{
    struct buf b;
    size_t at;

    buf_init(&b, 1u << 20);
    write_redacted(PA("  mtls: {mode: STRICT}\n"), false, &b);
    CHECK(str_find(buf_str(&b), STR("\"mode\":\"STRICT\""), &at));
    buf_done(&b);
}

TEST(a_document_of_a_kind_of_another_version_loses_its_spec)
{
    struct arena a;
    struct node *root;
    struct err err;
    struct buf b;

    arena_init(&a);
    buf_init(&b, 4096);
    CHECK_INT(json_read(STR("{\"kind\":\"Later\",\"spec\":{\"key\":\"abc\"}}"), &a, &root, &err), 0);
    CHECK(encode_redact_document(root));
    json_write(root, 0, &b);
    CHECK_STR(buf_str(&b), "{\"kind\":\"Later\",\"spec\":{}}");
    buf_done(&b);
    arena_done(&a);
}

TEST(a_document_that_was_read_back_is_refused)
{
    struct docs d;
    const struct finding *x;

    docs_parse(&d, STR(CREDENTIAL("(redacted)")), SYNTAX_YAML);
    x = docs_find(&d, FIND_VALUE);
    CHECK_INT(findings_errors_besides(&d.findings, FIND_NOT_YET), 1);
    CHECK_INT(x->line, 8);
    CHECK_STR(x->detail, "privateKey is \"(redacted)\": a secret is not shown again, so what was read back has "
                         "none");
    CHECK_STR(x->hint, "put the secret itself there, or apply the file that it came from");
    docs_done(&d);
}

TEST(a_finding_about_a_key_does_not_repeat_it)
{
    struct docs d;
    struct buf b;
    size_t at;

    docs_parse(&d, STR(CREDENTIAL("s3cret-not-pem")), SYNTAX_YAML);
    CHECK(findings_errors_besides(&d.findings, FIND_NOT_YET) > 0);
    buf_init(&b, 1u << 20);
    for (const struct finding *x = d.findings.first; x; x = x->next)
        finding_print(x, &b);
    findings_json(&d.findings, SEVERITY_ERROR, &b);
    CHECK(!str_find(buf_str(&b), STR("s3cret"), &at));
    buf_done(&b);
    docs_done(&d);
}
