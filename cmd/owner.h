/* Root prepares what an unprivileged service then uses: whose the files are that a command makes.
 *
 * Flow:      `server init` and `join` make the state folder by owner_open and act as its owner
 *            while they work in it. So every file has the right owner from birth, and root never
 *            follows a link that the service's account could have laid there.
 * Errors:    struct err.
 * Threads:   start-up only; the ids of all threads change.
 */
#pragma once

#include <sys/types.h>

#include "cmd/command.h"

#define OWNER_ACCOUNT "weft"
#define OWNER_FLAG                                                                                 \
    {                                                                                              \
        "user", 'u', FLAG_TEXT, "NAME",                                                            \
            "For root: the service's account, which then owns the files (default: weft, if it "     \
            "exists, in the default folder)."                                                      \
    }

struct owner {
    bool is_other; /* false: whoever runs the command */
    uid_t uid;
    gid_t gid;
};

/* Make the state folder `dir` (0700, parents 0755). Its owner: --user NAME or number; else that of
 * a folder that exists; else, when root works in the default folder, the account "weft" if there is
 * one. `is_default`: neither flag nor variable named another folder. */
int owner_open(const struct args *a, const char *dir, bool is_default, struct owner *out,
               struct err *err) MUST_USE;

int owner_become(const struct owner *o, struct err *err) MUST_USE;
int owner_return(const struct owner *o, struct err *err) MUST_USE; /* to be root again */
