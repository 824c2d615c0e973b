#include "proxy/outcome.h"

#include "mesh/base/buf.h"
#include "mesh/base/file.h"
#include "test/test.h"

TEST(flags_print_in_envoys_order_and_none_is_a_dash)
{
    char text[RESPONSE_FLAGS_TEXT];

    CHECK_TEXT(response_flags_format(RF_NONE, text), "-");
    CHECK_TEXT(response_flags_format(RF_UF, text), "UF");
    CHECK_TEXT(response_flags_format(RF_URX | RF_UF, text), "UF,URX");
    CHECK_TEXT(response_flags_format(RF_UDO | RF_UH, text), "UH,UDO");
}

TEST(all_flags_together_fit_the_text)
{
    char text[RESPONSE_FLAGS_TEXT];

    response_flags_format(~0u, text);
    CHECK(strlen(text) < RESPONSE_FLAGS_TEXT);
    CHECK(strstr(text, "UDO") != NULL);
}

TEST(every_reason_has_a_sentence_and_every_answer_a_status_of_errors)
{
    for (enum outcome o = OUTCOME_NONE; o < OUTCOMES; o++) {
        unsigned status = outcome_status(o);

        CHECK(strlen(outcome_text(o)) > 5);
        CHECK(strlen(outcome_details(o)) > 0);
        CHECK(status == 0 || (status >= 400 && status <= 599));
        CHECK(status == 0 || outcome_is_error(o));
        CHECK(outcome_body(o)[0] == 0 || status != 0 || o == OUTCOME_FAULT_ABORT); /* its status is the rule's */
    }
}

TEST(the_rows_say_what_istio_says)
{
    CHECK_INT(outcome_status(OUTCOME_NO_ENDPOINT), 503);
    CHECK_INT(outcome_flag(OUTCOME_NO_ENDPOINT), RF_UH);
    CHECK_TEXT(outcome_body(OUTCOME_NO_ENDPOINT), "no healthy upstream");
    CHECK_INT(outcome_status(OUTCOME_REQUEST_TIMEOUT), 504);
    CHECK_INT(outcome_flag(OUTCOME_REQUEST_TIMEOUT), RF_UT);
    CHECK_INT(outcome_status(OUTCOME_NO_ROUTE), 404);
    CHECK_INT(outcome_flag(OUTCOME_NO_ROUTE), RF_NR);
    CHECK_INT(outcome_flag(OUTCOME_CLIENT_GONE), RF_DC);
    CHECK_INT(outcome_status(OUTCOME_CLIENT_GONE), 0);
    CHECK_TEXT(outcome_name(OUTCOME_STRICT_PLAINTEXT), "STRICT_PLAINTEXT");
}

/* One row of docs/outcomes.md. */
static void put_row(enum outcome o, struct buf *out)
{
    char flag[RESPONSE_FLAGS_TEXT];
    const char *body = outcome_body(o);

    buf_printf(out, "| %s | %s | ", outcome_details(o), response_flags_format(outcome_flag(o), flag));
    if (outcome_status(o))
        buf_printf(out, "%u", outcome_status(o));
    buf_printf(out, " | %s | %s |\n", body, outcome_text(o));
}

TEST(the_page_of_outcomes_is_what_the_rows_say)
{
    static const char path[] = "docs/outcomes.md", ruler[] = "|---|---|---|---|---|\n";
    struct buf page, row;
    struct err err;
    const char *at;

    buf_init(&page, 1u << 20);
    buf_init(&row, 4096);
    if (file_read(path, &page, &err))
        fail_msg("%s", err.text);
    buf_addc(&page, '\0');
    at = strstr(page.p, ruler);
    assert_non_null(at);
    at += strlen(ruler);
    for (enum outcome o = OUTCOME_NONE + 1; o < OUTCOMES; o++) {
        buf_clear(&row);
        put_row(o, &row);
        if (strncmp(at, row.p, row.n) != 0)
            fail_msg("here %s should have: %.*s", path, (int)row.n, row.p);
        at += row.n;
    }
    CHECK_INT(*at, '\n'); /* no row more */
    buf_done(&row);
    buf_done(&page);
}
