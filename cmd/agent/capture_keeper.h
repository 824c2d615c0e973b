/* The keeper: the process that changes iptables for an agent, and cleans up after it.
 *
 * Why a process: iptables rules outlive the agent, so somebody must outlive it too. And changes
 *            by anybody else could land after the clean-up. So one process makes them all in
 *            order, and the end of its socket, however the agent ends, is its last order: remove
 *            the redirects, leave the guard. It takes a save and a restore of each family, some
 *            20 ms in all. Who kills it together with the agent has the unit's ExecStopPost
 *            (weft agent release) as the second net, and the next agent as the third: it finds
 *            what is left and takes it over.
 * Flow:      capture_iptables.c starts /proc/self/exe under the name KEEPER_NAME with the socket
 *            as standard input; main.c calls capture_keeper_run. Requests and answers are packets.
 *            Of waiting KEEPER_APPLY requests only the newest is carried out.
 * Lock:      an abstract Unix socket, hence one for each network namespace, held from the first
 *            apply until the clean-up is done: two agents never mix, and a new one waits for the
 *            clean-up of the dead. Any local user can take the name; a holder that has not got
 *            CAP_NET_ADMIN is no keeper, and is passed over.
 */
#pragma once

#include "cmd/agent/xtables.h"

#define KEEPER_NAME "weft-keeper" /* argv[0] */

enum keeper_order {
    KEEPER_APPLY,   /* with the plan's text as a file for each family */
    KEEPER_LOOK,    /* put back what others removed; answered only when that fails */
    KEEPER_RELEASE, /* remove the redirects and end */
    KEEPER_REMOVE,  /* the same with the guard */
};

struct keeper_request {
    uint64_t number; /* rises; of KEEPER_LOOK: that of the last plan */
    enum keeper_order order;
};

struct keeper_answer {
    uint64_t number;
    enum err_code code; /* ERR_NONE: done */
    char text[ERR_TEXT_MAX];
};

/* Serve the agent at descriptor 0 until it is gone. Returns the exit code. */
int capture_keeper_run(void);

/* Does a keeper hold the lock? Waits for one whose agent is dead, KEEPER_LOCK_MS at most. */
bool keeper_is_held(void);

/* Remove what is left of a dead agent whose keeper is dead too; *removed as in capture_backend.h.
 * Holds the lock meanwhile: an agent that starts at this moment puts its rules in afterwards. */
int keeper_release(const struct xtables *x, bool with_guard, bool *removed,
                   struct err *err) MUST_USE;
