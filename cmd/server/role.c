/* Who is calling, and what they may do: peer credentials on the Unix socket, the proven SPIFFE URI
 * on the TLS port. There is no "loopback is admin". */
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include "cmd/server/server.h"
#include "mesh/identity.h"
#include "store/ledger.h"

#define GROUPS_MAX 256

/* Is the user (by its primary or further groups) in the group of that name? */
static bool in_group(int64_t uid, int64_t gid, const char *name)
{
    const struct group *g = getgrnam(name);
    const struct passwd *user;
    gid_t groups[GROUPS_MAX], want;
    int count = GROUPS_MAX;

    if (!g)
        return false;
    want = g->gr_gid;
    if ((gid_t)gid == want)
        return true;
    user = getpwuid((uid_t)uid);
    if (!user || getgrouplist(user->pw_name, (gid_t)gid, groups, &count) < 0)
        return false;
    for (int i = 0; i < count; i++) {
        if (groups[i] == want)
            return true;
    }
    return false;
}

enum role role_of(const struct serve_request *r, struct str trust_domain, struct str *host_id)
{
    struct identity id;
    struct err err;

    if (r->uid >= 0) {
        if (r->uid == 0 || r->uid == (int64_t)geteuid() || in_group(r->uid, r->gid, "weft-admin"))
            return ROLE_ADMIN;
        return in_group(r->uid, r->gid, "weft-view") ? ROLE_VIEW : ROLE_NONE;
    }
    if (r->peer_uri.n == 0 || identity_parse(r->peer_uri, &id, &err) || id.kind != IDENTITY_HOST ||
        !str_eq(id.trust_domain, trust_domain))
        return ROLE_NONE;
    *host_id = id.host;
    return ROLE_AGENT;
}

void role_audit(const struct server *s, const struct serve_request *r, const char *action,
                struct arena *a, struct ledger_audit *out)
{
    char text[ADDR_TEXT_MAX];

    *out = (struct ledger_audit){.now_ms = loop_wall_ms(s->loop), .action = str_from(action)};
    if (r->uid >= 0) {
        const struct passwd *user = getpwuid((uid_t)r->uid);

        out->actor = arena_printf(a, "uid %lld (%s) pid %lld", (long long)r->uid,
                                  user ? user->pw_name : "?", (long long)r->pid);
        out->source = STR("local");
    } else {
        out->actor = r->peer_uri.n ? arena_str(a, r->peer_uri) : STR("anonymous");
        out->source = arena_str(a, str_from(addr_format_ip(&r->peer, text)));
    }
}
