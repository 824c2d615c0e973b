/* The guard over a reboot: which ports are STRICT is on the disk, so that they can be closed before
 * the network is up and long before an agent serves.
 *
 * Flow:      agent.c stores it with every plan; weft-guard-boot.service runs `weft agent guard`,
 *            which does as an agent that captures nothing but these ports and dies: the guard
 * stays. Errors:    struct err. Threads: the control thread.
 */
#pragma once

#include "cmd/agent/capture.h"

/* Into DIR/guard.json, if it does not say so yet. */
int guard_store(const char *dir, const struct capture_plan *p, struct err *err) MUST_USE;

/* Put up what DIR/guard.json says; nothing with capture off, and without a file. `plan` comes from
 * capture_plan_init, with the agent's ports, and takes the count of the ports that are closed.
 * ERR_CONFLICT: an agent is alive, nothing is touched. */
int guard_restore(const char *dir, enum capture_mode mode, struct capture_plan *plan,
                  struct err *err) MUST_USE;
