/* What a capture backend does: the table behind capture.h. capture.c alone calls it, after it has
 * checked the plan and added the routes.
 *
 * Errors and threads as capture.h says. The formats are pure, and open to tests.
 */
#pragma once

#include "cmd/agent/capture.h"
#include "mesh/base/buf.h"

#define CAPTURE_SSH_PORT  22u
#define CAPTURE_METADATA4 "169.254.169.254"
#define CAPTURE_METADATA6 "fd00:ec2::254"

struct capture_ops {
    const char *name;
    /* Can this host do it? Changes nothing. *why gets a sentence for the log. */
    void *(*open)(struct buf *why, struct err *err);
    /* *state becomes IN_FORCE or UNDER_WAY; -1: the former plan stays. */
    int (*apply)(void *b, const struct capture_plan *p, enum capture_state *state, struct err *err);
    int (*fd)(const void *b); /* NULL, like settle: apply never leaves a plan under way */
    enum capture_state (*settle)(void *b, int wait_ms, struct err *err);
    bool (*is_whole)(void *b);
    void (*close)(void *b, bool had_applied, bool remove_guard);
    /* Does a living agent redirect by this backend? */
    bool (*is_held)(void);
    /* *removed becomes true if there was something; else it stays. */
    int (*release)(bool with_guard, bool *removed, struct err *err);
};

extern const struct capture_ops capture_nft, capture_iptables;

/* The service addresses of one family, sorted and without repetition; the caller frees them. */
struct addr *capture_services(const struct capture_plan *p, uint8_t family, size_t *count);

/* The rules of a plan as nft reads them. */
void capture_nft_format(const struct capture_plan *p, struct buf *out);
