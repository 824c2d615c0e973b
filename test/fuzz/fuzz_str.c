/* Numbers, durations and text codings: what is accepted must survive being written and read again.
 */
#include <stdlib.h>
#include <string.h>

#include "mesh/base/buf.h"
#include "mesh/base/str.h"
#include "mesh/base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good)
        abort();
}

static void check_duration(struct str s)
{
    int64_t ns, again;
    struct buf b;

    if (!str_duration(s, &ns))
        return;
    buf_init(&b, 100);
    buf_duration(&b, ns);
    must(str_duration(buf_str(&b), &again) && again == ns);
    buf_done(&b);
}

static void check_base64(struct str s)
{
    struct buf plain, coded;

    buf_init(&plain, s.n + 1);
    buf_init(&coded, s.n + 1);
    if (text_unbase64(s, &plain)) {
        text_base64(&coded, buf_str(&plain));
        must(str_eq(buf_str(&coded), s)); /* one text for one value */
    }
    buf_done(&plain);
    buf_done(&coded);
}

static void check_time(struct str s)
{
    int64_t ms, again;
    struct buf b;

    if (!text_untime(s, &ms))
        return;
    buf_init(&b, 100);
    text_time(&b, ms, true);
    /* A zone may move the year out of the four digits that can be read. */
    must(!text_untime(buf_str(&b), &again) || again == ms);
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct str s = {text, size}, item;
    uint64_t u;
    int64_t i;
    double d;

    if (!text)
        return 0;
    if (size)
        memcpy(text, data, size);
    check_duration(s);
    check_base64(s);
    check_time(s);
    if (str_uint(s, 1, 65535, &u))
        must(u >= 1 && u <= 65535);
    if (str_int(s, -5, 5, &i))
        must(i >= -5 && i <= 5);
    if (str_hex(s, 255, &u))
        must(u <= 255);
    if (str_double(s, &d))
        must(str_is_number(s));
    while (str_next(&s, ',', &item))
        must(str_distance(item, STR("mirrorPercentage"), 3) <= 4);
    free(text);
    return 0;
}
