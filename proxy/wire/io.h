/* Bytes to and from one peer: a non-blocking socket, plain or TLS, or one end of an in-memory pair.
 *
 * Flow:      readiness is noted to the owner's task; the owner's step then calls io_read /
 * io_write. Output is queued and written once per turn (the loop's flush list), many frames in one
 * writev. Ownership: embedded in the owner; io_close releases everything and detaches events. The
 * owner is freed through loop_reap only. Pressure:  io_pending is what waits to be written; the
 * owner checks its mark before io_write, which always takes all. IO_NOTE_ROOM is noted when pending
 * falls below LIMIT_STREAM_LOW after having been above HIGH. Threads:   the owner's loop. A full
 * TLS handshake runs on a crypto helper (crypto.h) and comes back as a note. Accounting:
 * io->bytes_in / bytes_out count wire bytes.
 */
#pragma once

#include "mesh/base/addr.h"
#include "mesh/base/loop.h"
#include "proxy/wire/bytes.h"

struct tls;
struct crypto_job;
struct io_flush;

enum io_step { IO_OK, IO_AGAIN, IO_EOF, IO_FAILED };

/* Notes to the owner's task, shifted left by io->note_shift. */
enum { IO_NOTE_READ = 1, IO_NOTE_WRITE = 2, IO_NOTE_ROOM = 4, IO_NOTE_BITS = 3 };

struct io {
    struct watch watch;
    struct task *task; /* the owner */
    unsigned note_shift;
    struct task pump;       /* private: takes readiness, writes, and notes the owner */
    struct io_flush *flush; /* private: its place in the loop's flush list, or NULL */
    struct tls *tls;        /* owned; NULL for plain */
    struct io *peer;        /* other end of an in-memory pair, or NULL */
    struct crypto_job *job; /* handshake under way on a helper */
    struct bytes cipher_in; /* partial records only; a pair: what its closed peer left */
    struct bytes plain_out; /* TLS: becomes records at the end of the turn */
    struct bytes out;       /* to the socket, or for the peer of a pair */
    uint64_t bytes_in, bytes_out;
    bool connecting, eof_in, eof_sent, shutdown_wanted, failed, above_high, want_read;
    bool paired;      /* one end of a pair, also after the peer has closed */
    bool more;        /* the last io_read stopped at `max`: ask again without waiting for a note */
    bool job_done;    /* a helper's result waits for io_handshake */
    uint8_t job_step; /* that result, enum tls_step */
    int error;        /* errno of the failure, 0 for TLS */
    int write_error;  /* output is dead; what the peer sent before may still be read, then the io
                         fails with this */
};

/* Takes the descriptor (non-blocking, CLOEXEC). Reading is not armed until io_want_read. */
void io_init(struct io *io, struct task *task, unsigned note_shift, int fd);
/* Two ends in memory on one loop; no descriptor. Each owner has its own task. */
void io_pair(struct io *a, struct task *a_task, unsigned a_shift, struct io *b, struct task *b_task,
             unsigned b_shift);
/* Give the io to another owner (a sniffed connection becomes an HTTP codec or a tunnel). The struct
 * is moved: `from` is left closed. Buffered bytes and TLS go along. Not while a handshake is at a
 * helper. */
void io_move(struct io *to, struct io *from, struct task *task, unsigned note_shift);

/* Start connecting; IO_NOTE_WRITE tells when to ask io_connected. `mark` is SO_MARK (0: none,
 * failures to set it are failures to connect). IO_FAILED at once sets io->error. */
enum io_step io_connect(struct io *io, struct task *task, unsigned note_shift,
                        const struct addr *to, uint32_t mark);
/* Have the system probe a silent connection: after so many seconds, every so many, this often; 0 leaves a value to the
 * system. Harmless on an in-memory pair. */
void io_probe(struct io *io, int after_s, int every_s, int count);
enum io_step io_connected(struct io *io); /* IO_AGAIN, IO_OK, IO_FAILED (io->error) */

/* Take `tls` and speak through it from now on. `first` is ciphertext already read (a sniffed
 * ClientHello), moved from; may be NULL. Then call io_handshake on every IO_NOTE_READ until it is
 * not IO_AGAIN. */
void io_start_tls(struct io *io, struct tls *tls, struct bytes *first);
enum io_step io_handshake(struct io *io);

/* Append at most `max` bytes to `into`. IO_AGAIN when nothing is there now (reading is armed for
 * you). */
enum io_step io_read(struct io *io, struct bytes *into, size_t max, size_t *n);
/* Take all of `from`; written at the end of the turn. IO_FAILED if the io is dead (bytes are
 * dropped). */
enum io_step io_write(struct io *io, struct bytes *from);
enum io_step io_write_str(struct io *io, struct str s);
size_t io_pending(const struct io *io);
void io_want_read(struct io *io, bool want); /* back-pressure: false stops reading the socket */
void io_shutdown(
    struct io *io); /* after the pending bytes: close_notify and SHUT_WR; reading goes on */
bool io_is_shut(const struct io *io); /* shutdown has reached the socket */
void io_close(struct io *io);         /* now; unsent bytes are lost */
/* Close with RST (SO_LINGER 0), for refusals and cuts that must be seen as such; the other end of a pair fails with
 * ECONNRESET. */
void io_reset(struct io *io);
void io_keepalive(struct io *io, int idle_s, int interval_s, int probes);

struct str io_failure(const struct io *io); /* a sentence: errno or TLS reason */
bool io_local_addr(const struct io *io, struct addr *out);
bool io_peer_addr(const struct io *io, struct addr *out);
