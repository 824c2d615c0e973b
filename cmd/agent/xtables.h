/* iptables-save and iptables-restore as child processes: no shell, a deadline, a clear error.
 *
 * Flow:      the keeper reads what is there (xtables_save), has xtables_text.h make the input, and
 *            hands it over (xtables_restore), one COMMIT for each table.
 * Which:     the host's own iptables, be it the nf_tables or the legacy flavour: what other
 *            programs use too, so that the order of rules means something.
 * Errors:    what the program said, in one line.
 * Threads:   any; calls block until the program has ended, XTABLES_RUN_MS at most, of which
 *            XTABLES_LOCK_S for the xtables lock of the legacy flavour.
 */
#pragma once

#include "cmd/agent/xtables_text.h"

#define XTABLES_RUN_MS   30000 /* then the program is killed, the change has failed */
#define XTABLES_LOCK_S   10
#define XTABLES_TEXT_MAX (64u << 20) /* bytes of a plan, and of what iptables-save prints */

enum xtables_family { XTABLES_V4, XTABLES_V6, XTABLES_FAMILIES };

struct xtables {
    char save[XTABLES_FAMILIES][128], restore[XTABLES_FAMILIES][128]; /* paths */
    char version[64];                                                 /* "v1.8.9 (nf_tables)" */
    unsigned families;                                                /* 1 on a host without IPv6 */
};

/* Find the programs, in $PATH and where Debian has them. ERR_MISSING names the package. */
int xtables_find(struct xtables *x, struct err *err) MUST_USE;

/* What of ours is there; the caller ends *out with xtables_state_done. */
int xtables_save(const struct xtables *x, enum xtables_family f, struct xtables_state *out,
                 struct err *err) MUST_USE;

/* Feed iptables-restore --noflush. `only_test`: parse, change nothing. */
int xtables_restore(const struct xtables *x, enum xtables_family f, struct str text, bool only_test,
                    struct err *err) MUST_USE;

/* A file without a name that holds `text`, read from its start; -1 with err. */
int xtables_file(struct str text, struct err *err) MUST_USE;
