/* Chaos between the proxy and the kernel, and a clock that only the story moves.
 *
 * Flow:      programs of test/world are linked with --wrap for the few system calls through which traffic passes
 *            (readv, recv, sendmsg, connect, accept4), the in-memory read between two services of one host (io_read),
 *            the clock, the start of a worker's thread and the helpers for handshakes. The product has no hook, no pointer
 *            and no branch for it.
 * Replay:    everything is drawn from one seed and happens on one thread, so a seed tells the same story again.
 * Threads:   all of it on the test's thread, but for the clock, which any thread may read.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum chaos_mode {
    CHAOS_NONE,
    CHAOS_DRIPPED,   /* one byte per read and per write, every other write finds no room */
    CHAOS_COALESCED, /* a read waits until nothing more comes, then takes everything */
    CHAOS_SEEDED,    /* random pieces, and readiness that turns out to be stale */
    CHAOS_TORN,      /* the same, and now and then a connection dies, ends or cannot be made */
    CHAOS_MODES
};

void chaos_begin(enum chaos_mode mode, uint64_t seed); /* the clock starts at the real time */
void chaos_end(void);
uint64_t chaos_random(void);
/* Grows whenever the proxy moved a byte or was kept from it: as long as it does, nobody is idle. */
uint64_t chaos_moves(void);
void chaos_advance(int64_t ms);
void chaos_stall_connects(bool on); /* connections to endpoints stay under way for ever */
/* Handshakes go to a helper that does nothing until it is told to. */
void chaos_hold_handshakes(bool on);
size_t chaos_held_handshakes(void);
void chaos_release_handshakes(void);
