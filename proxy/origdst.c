#include "proxy/origdst.h"

#include <netinet/in.h>
#include <string.h>

/* Behind netinet/in.h: the kernel's header gives way to the C library's only in this order. */
#include <linux/netfilter_ipv4.h>

/* From linux/netfilter_ipv6/ip6_tables.h, which brings far more along. */
#define ORIGINAL_DST6 80

static bool local_address(int fd, struct sockaddr_storage *raw, struct addr *out)
{
    socklen_t size = sizeof(*raw);

    memset(raw, 0, sizeof(*raw));
    return getsockname(fd, (struct sockaddr *)raw, &size) == 0 &&
           addr_from_sockaddr((struct sockaddr *)raw, out);
}

bool origdst_get(int fd, struct addr *out)
{
    struct sockaddr_storage raw;
    struct addr local, original;
    socklen_t size = sizeof(raw);
    bool is_v4;
    int rc;

    *out = (struct addr){0};
    if (!local_address(fd, &raw, &local))
        return false;
    *out = local;

    /* An IPv4 peer of a dual-stack socket is conntrack's IPv4 business: ask by the folded family.
     */
    is_v4 = local.family == 4;
    memset(&raw, 0, sizeof(raw));
    rc = is_v4 ? getsockopt(fd, IPPROTO_IP, SO_ORIGINAL_DST, &raw, &size)
               : getsockopt(fd, IPPROTO_IPV6, ORIGINAL_DST6, &raw, &size);
    if (rc != 0 || !addr_from_sockaddr((struct sockaddr *)&raw, &original))
        return false;

    /* Conntrack answers for every connection that it follows; only a redirected one differs. */
    *out = original;
    return !addr_eq(&original, &local);
}
