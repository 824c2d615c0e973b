#include "mesh/vip.h"

#include "mesh/base/hash.h"

static struct addr vip4_at(uint64_t index)
{
    uint32_t host = (uint32_t)(index % VIP_COUNT) + 1;

    return (struct addr){
        .family = 4, .ip = {240, 240, (uint8_t)(host >> 8), (uint8_t)(host & 0xff)}
    };
}

static struct addr vip6_at(uint64_t index)
{
    struct addr a = {
        .family = 6, .ip = {0x20, 0x01, 0x00, 0x02}
    };

    if (index == 0)
        index = 1; /* the subnet's own address */
    for (int i = 0; i < 8; i++)
        a.ip[15 - i] = (uint8_t)(index >> (8 * i));
    return a;
}

void vip_candidate(struct str key, uint64_t nth, struct addr *v4, struct addr *v6)
{
    uint8_t hash[HASH_BYTES];
    uint64_t start4 = 0, start6 = 0;

    hash_sha256(key, hash);
    for (int i = 0; i < 8; i++) {
        start4 = start4 << 8 | hash[i];
        start6 = start6 << 8 | hash[8 + i];
    }
    *v4 = vip4_at(start4 % VIP_COUNT + nth);
    *v6 = vip6_at(start6 + nth);
}
