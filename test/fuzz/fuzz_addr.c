/* What is accepted as an address is printed, read again, and must be the same. */
#include <stdlib.h>
#include <string.h>

#include "mesh/base/addr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good)
        abort();
}

static void check(const struct addr *a)
{
    char text[ADDR_TEXT_MAX];
    struct sockaddr_storage ss;
    struct addr again;

    must(addr_parse_ip(str_from(addr_format_ip(a, text)), &again) && addr_same_ip(a, &again));
    if (a->port)
        must(addr_parse(str_from(addr_format(a, text)), &again) && addr_eq(a, &again));
    addr_to_sockaddr(a, &ss);
    must(addr_from_sockaddr((const struct sockaddr *)&ss, &again));
    /* A mapped address comes back as the IPv4 one that it is. */
    must(addr_eq(a, &again) || (a->family == 6 && again.family == 4));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const void *bytes = data;
    struct str s = {bytes, size};
    struct addr a;
    struct cidr c;

    if (addr_parse_ip(s, &a))
        check(&a);
    if (addr_parse(s, &a))
        check(&a);
    if (cidr_parse(s, &c))
        must(cidr_has(&c, &c.base));
    return 0;
}
