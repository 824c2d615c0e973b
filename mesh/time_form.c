#include "mesh/time_form.h"

#include <inttypes.h>
#include <time.h>

#define FRACTION_DIGITS 9

static bool is_digits(char c)
{
    return c >= '1' && c <= '9';
}

bool time_form_check(struct str form)
{
    static const struct str known = STR_INIT("YmdHMSsFTzbaf%");

    for (size_t i = 0; i < form.n; i++) {
        if (form.p[i] != '%')
            continue;
        i++;
        if (i + 1 < form.n && is_digits(form.p[i]) && form.p[i + 1] == 'f')
            i++;
        else if (i == form.n || !str_has(known, form.p[i]))
            return false;
    }
    return true;
}

/* The clock knows milliseconds; the digits behind them are 0. */
static void put_fraction(struct buf *b, int64_t wall_ms, int digits)
{
    int scale = 100;

    for (int i = 0; i < digits; i++, scale /= 10)
        buf_printf(b, "%d", scale > 0 ? (int)(wall_ms / scale % 10) : 0);
}

static bool put_number(struct buf *b, char letter, const struct tm *tm)
{
    const struct {
        char letter;
        int value;
    } rows[] = {
        {'Y', tm->tm_year + 1900},
        {'m', tm->tm_mon + 1    },
        {'d', tm->tm_mday       },
        {'H', tm->tm_hour       },
        {'M', tm->tm_min        },
        {'S', tm->tm_sec        },
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        if (rows[i].letter != letter)
            continue;
        buf_printf(b, "%02d", rows[i].value);
        return true;
    }
    return false;
}

static void put_conversion(struct buf *b, char letter, int64_t wall_ms, const struct tm *tm)
{
    char text[40] = "";

    if (put_number(b, letter, tm))
        return;
    if (letter == 's')
        buf_printf(b, "%" PRId64, wall_ms / 1000);
    else if (letter == 'F')
        strftime(text, sizeof(text), "%Y-%m-%d", tm);
    else if (letter == 'T')
        strftime(text, sizeof(text), "%H:%M:%S", tm);
    else if (letter == 'b')
        strftime(text, sizeof(text), "%b", tm);
    else if (letter == 'a')
        strftime(text, sizeof(text), "%a", tm);
    else if (letter == 'z')
        buf_adds(b, "+0000");
    else
        buf_addc(b, letter);
    buf_adds(b, text);
}

void time_form_put(struct buf *b, int64_t wall_ms, struct str form)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;

    if (form.n == 0)
        form = STR("%FT%T.%3fZ");
    gmtime_r(&seconds, &tm);
    for (size_t i = 0; i < form.n; i++) {
        if (form.p[i] != '%' || i + 1 == form.n) {
            buf_addc(b, form.p[i]);
            continue;
        }
        i++;
        if (form.p[i] == 'f')
            put_fraction(b, wall_ms, FRACTION_DIGITS);
        else if (is_digits(form.p[i]))
            put_fraction(b, wall_ms, form.p[i++] - '0');
        else
            put_conversion(b, form.p[i], wall_ms, &tm);
    }
}
