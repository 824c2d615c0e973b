#include "proxy/outcome.h"

#include <string.h>

static const struct {
    const char *name;
    unsigned flag, status;
    const char *details;
    bool is_error;
    const char *body, *text;
} rows[OUTCOMES] = {
#define OUTCOME(name, flag, status, details, is_error, body, text)                                 \
    [OUTCOME_##name] = {#name, RF_##flag, status, details, is_error, body, text},
#include "proxy/outcome.def"
#undef OUTCOME
};

static const char *const flag_names[] = {"UH", "UT",  "LR", "UR", "UF",  "UC",  "UO", "NR",
                                         "DC", "URX", "SI", "IH", "DPE", "UPE", "NC", "UDO",
                                         "DI", "FI",  "DT", "RL"};

const char *outcome_name(enum outcome o)
{
    return rows[o].name;
}

unsigned outcome_flag(enum outcome o)
{
    return rows[o].flag;
}

unsigned outcome_status(enum outcome o)
{
    return rows[o].status;
}

const char *outcome_details(enum outcome o)
{
    return rows[o].details;
}

bool outcome_is_error(enum outcome o)
{
    return rows[o].is_error;
}

const char *outcome_body(enum outcome o)
{
    return rows[o].body;
}

const char *outcome_text(enum outcome o)
{
    return rows[o].text;
}

const char *response_flags_format(unsigned flags, char *text)
{
    size_t n = 0;

    for (size_t i = 0; i < COUNT(flag_names); i++) {
        size_t length = strlen(flag_names[i]);

        if (!(flags & BIT(i)) || n + length + 2 > RESPONSE_FLAGS_TEXT)
            continue;
        if (n > 0)
            text[n++] = ',';
        memcpy(text + n, flag_names[i], length);
        n += length;
    }
    if (n == 0)
        text[n++] = '-';
    text[n] = 0;
    return text;
}
