#include "proxy/outcome.h"

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
        CHECK(outcome_body(o)[0] == 0 || status != 0);
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
