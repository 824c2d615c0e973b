#include "mesh/time_form.h"

#include "test/test.h"

TEST(a_moment_takes_the_form_that_somebody_wrote)
{
    static const struct {
        const char *form, *want;
    } rows[] = {
        {"",                         "2024-01-31T12:05:09.042Z"        },
        {"%Y/%m/%dT%H:%M:%S%z",      "2024/01/31T12:05:09+0000"        },
        {"%s.%3f",                   "1706702709.042"                  },
        {"%1f %2f %6f %9f %f",       "0 04 042000 042000000 042000000" },
        {"%a %b %d %F %T %% t",      "Wed Jan 31 2024-01-31 12:05:09 % t"},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct buf b;

        buf_init(&b, 100);
        CHECK(time_form_check(str_from(rows[i].form)));
        time_form_put(&b, 1706702709042, str_from(rows[i].form));
        CHECK_STR(buf_str(&b), rows[i].want);
        buf_done(&b);
    }
}

TEST(a_form_of_unknown_letters_is_none)
{
    static const char *const forms[] = {"%c", "%", "a%", "%3", "%0f", "%12f", "%3Y"};

    for (size_t i = 0; i < COUNT(forms); i++)
        CHECK(!time_form_check(str_from(forms[i])));
}
