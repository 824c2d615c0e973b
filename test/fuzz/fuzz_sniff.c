/* The first bytes of a connection. What must hold: more bytes never change a verdict once one is
 * given, and no verdict asks for more when no more can come.
 */
#include <stdint.h>
#include <stdlib.h>

#include "mesh/base/limits.h"
#include "proxy/wire/sniff.h"

static void must(bool fact)
{
    if (!fact)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sniff_result r, part;
    enum sniff_verdict whole = sniff(data, size, true, &r), final, early;

    must(r.sni_bytes <= SNIFF_NAME_MAX && r.alpn_count <= SNIFF_ALPN_MAX);
    for (size_t i = 0; i < r.alpn_count; i++)
        must(sniff_alpn(&r, i).n > 0 && sniff_alpn(&r, i).n <= SNIFF_ALPN_BYTES_MAX);
    for (size_t i = 0; i < r.sni_bytes; i++)
        must(r.sni[i] > ' ' && (r.sni[i] < 'A' || r.sni[i] > 'Z'));
    must(whole == SNIFF_TLS || (r.sni_bytes == 0 && r.alpn_count == 0));
    final = sniff(data, size, false, &part);
    must(final != SNIFF_MORE);
    must(whole == SNIFF_MORE || whole == final);
    if (size > LIMIT_SNIFF_BYTES)
        return 0;
    early = sniff(data, size / 2, true, &part);
    must(early == SNIFF_MORE || early == whole);
    return 0;
}
