/* URLs as Go reads them. */
#include "mesh/url.h"
#include "test/test.h"

static bool reads(const char *text, bool is_request, const char *parts)
{
    struct url u = {STR_NONE, STR_NONE, STR_NONE};
    char got[128];
    struct err err;
    int rc = is_request ? url_parse_request(str_from(text), &u, &err) : url_parse(str_from(text), &u, &err);

    snprintf(got, sizeof(got), "%.*s|%.*s|%.*s", STR_ARG(u.scheme), STR_ARG(u.host), STR_ARG(u.port));
    if ((rc == 0) == (parts != NULL) && (rc || strcmp(got, parts) == 0))
        return true;
    print_error("%s: %s\n", text, rc ? err.text : got);
    return false;
}

TEST(a_url_falls_into_its_parts)
{
    static const struct {
        const char *text, *parts, *request; /* as a reference, as a request; NULL: it is none */
    } rows[] = {
        {"https://a.b:80/c?d#e", "https|a.b|80",     "https|a.b|80"},
        {"http://u:p@a.b",       "http|a.b|",        "http|a.b|"   },
        {"http://[::1]:80/a",    "http|[::1]|80",    "http|[::1]|80"},
        {"http://a.b:/c",        "http|a.b|",        "http|a.b|"   },
        {"http://a.b?c=%zz",     "http|a.b|",        "http|a.b|"   },
        {"oci:a/b",              "oci||",            "oci||"       },
        {"localhost:5000/a",     "localhost||",      "localhost||" },
        {"/a b",                 "||",               "||"          },
        {"a/b",                  "||",               NULL          },
        {"//a.b/c",              "|a.b|",            "||"          },
        {"a/b:c",                "||",               NULL          },
        {"1a:b/c",               NULL,               NULL          },
        {":a",                   NULL,               NULL          },
        {"http://a b",           NULL,               NULL          },
        {"http://a|b",           NULL,               NULL          },
        {"http://a:b",           NULL,               NULL          },
        {"http://[::1",          NULL,               NULL          },
        {"http://a%41/",         NULL,               NULL          },
        {"http://%C3%BC/",       "http|%C3%BC|",     "http|%C3%BC|"},
        {"http://u|@a/",         NULL,               NULL          },
        {"/%4",                  NULL,               NULL          },
        {"/a#%zz",               NULL,               NULL          },
        {"/a\tb",                NULL,               NULL          },
        {"",                     "||",               NULL          },
        {"*",                    "||",               "||"          },
    };
    size_t wrong = 0;

    for (size_t i = 0; i < COUNT(rows); i++) {
        wrong += !reads(rows[i].text, false, rows[i].parts);
        wrong += !reads(rows[i].text, true, rows[i].request);
    }
    CHECK_INT(wrong, 0);
}
