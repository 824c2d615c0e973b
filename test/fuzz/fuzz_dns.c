/* A DNS message from anybody: reading it and answering it must hold the bounds, and what we
 * write we must be able to read as an answer to it. The same bytes are a resolv.conf and a name. */
#include <stdint.h>
#include <stdlib.h>

#include "mesh/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool ok)
{
    if (!ok)
        abort();
}

static void answer(struct str message, const struct dns_query *q, size_t max)
{
    static const struct addr addrs[] = {
        {.family = 4,      .ip = {240, 240, 0, 1}},
        {.family = 6,                .ip = {0x20, 1}},
        {.family = 4}
    };
    uint8_t *out = malloc(max + 1);
    size_t n = dns_format_answer(message, q, DNS_NOERROR, addrs, COUNT(addrs), 5, out, max);

    expect(n <= max);
    expect(n == 0 || dns_is_answer(message, (struct str){(const char *)out, n}));
    n = dns_format_failure(message, out, max);
    expect(n <= max);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t room[] = {0, 11, 12, 40, 64, 512, 4096};
    struct str message = {(const char *)data, size};
    struct addr servers[DNS_SERVERS_MAX];
    struct dns_query q;
    struct dns_table *t = dns_table_new();

    if (dns_parse_query(message, &q)) {
        struct str name = {q.name, q.name_bytes};

        expect(q.question_end <= size && q.name_bytes <= DNS_NAME_MAX);
        for (size_t i = 0; i < COUNT(room); i++)
            answer(message, &q, room[i]);
        if (q.is_plain && dns_table_add(t, name, STR("k"), NULL, 0))
            expect((dns_table_find(t, name) != NULL) != str_has(name, '*'));
    } else {
        uint8_t out[DNS_UDP_MAX];

        expect(dns_format_failure(message, out, sizeof(out)) <= DNS_HEADER);
    }
    (void)dns_table_add(t, message, STR("k"), NULL, 0); /* any outcome but a crash */
    (void)dns_table_find(t, message);
    (void)dns_is_answer(message, message);
    expect(dns_resolv_conf(message, servers, COUNT(servers)) <= COUNT(servers));
    dns_table_free(t);
    return 0;
}
