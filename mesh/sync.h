/* Messages between agent and server after `Upgrade: weft-sync/1` on the mTLS port: JSON objects,
 * each behind its length in four bytes, big endian, at most LIMIT_SYNC_FRAME_BYTES.
 *
 * Agent to server:
 *   {"type":"hello","version":"0.1.0","features":["..."],"host":ULID,"epoch":E,"revision":N,"digest":HEX,
 *    "subscriptions":["ns/fqdn",...],"services":[REGISTRATION...]}
 *   {"type":"register","services":[REGISTRATION...]}   the whole set of this host, replacing the
 * former
 *   {"type":"subscribe","services":["ns/fqdn",...]}     adds
 *   {"type":"ack","seq":N,"revision":R} |
 * {"type":"nack","seq":N,"revision":R,"errors":[FINDING...]}
 *   {"type":"ping"}
 * Server to agent:
 *   {"type":"welcome","epoch":E,"server":NAME,"reset":BOOL}   reset: forget what you hold,
 * everything follows
 *   {"type":"refused","namespace":NS,"service":NAME,"detail":TEXT}   for each of a registration,
 * then
 *   {"type":"registered"}                                     the others stand
 *   {"type":"changes","items":[{"key":RESOURCE KEY,"value":{...} or null}...]}   null deletes; not
 * yet in force
 *   {"type":"commit","seq":N,"revision":R,"digest":HEX}       now in force, if it can be built
 *   {"type":"ejected","detail":TEXT}
 *   {"type":"pong"}
 * Resources: key "mesh" {trustDomain, domain, rootNamespace}; "service/NS/FQDN";
 * "endpoints/NS/FQDN" {workloads:[...]} (its presence means: subscribed and complete);
 * "object/KIND/NS/NAME" the canonical document. Digest: hex; resources sorted by key, d = SHA-256(d
 * + SHA-256(key '\n' json '\n')) from 32 zero bytes. An agent that says the digest the server last
 * sent it gets only differences; any other gets "reset" and everything.
 *
 * Ownership: framing borrows; decode copies into the arena given.
 */
#pragma once

#include "mesh/base/buf.h"
#include "mesh/base/err.h"
#include "mesh/base/map.h"
#include "mesh/model.h"

/* Framing; cmd/frame.h cuts frames off a connection. sync_frame_size: bytes of the body behind these four. */
#define SYNC_HEAD_BYTES 4
size_t sync_frame_size(const char head[SYNC_HEAD_BYTES]);
void sync_frame(struct buf *out, struct str body);

/* The set of resources that one agent holds (or that the server means it to hold): key -> canonical
 * JSON text. */
struct resources {
    struct map by_key; /* key -> struct resource *, owned */
};
struct resource {
    char *json; /* owned, NUL-ended */
    size_t n;
};
void resources_init(struct resources *r);
void resources_done(struct resources *r);
void resources_put(struct resources *r, struct str key, struct str json); /* copies */
void resources_del(struct resources *r, struct str key);
void resources_copy(struct resources *to, const struct resources *from);
void resources_digest(const struct resources *r, struct buf *hex);
/* {"epoch":..,"revision":..,"items":{key: value}}: the file an agent keeps, and back. */
void resources_write(const struct resources *r, struct str epoch, uint64_t revision,
                     struct buf *out);
int resources_read(struct str json, struct resources *out, struct str *epoch, uint64_t *revision,
                   struct arena *a, struct err *err) MUST_USE;

/* Resources <-> catalog. Reading validates everything; findings name the resource. */
int catalog_read(const struct resources *r, struct catalog *out, struct findings *f) MUST_USE;
void catalog_init(struct catalog *c);
void catalog_done(struct catalog *c);
void catalog_write_service(const struct service *s, struct buf *json);
void catalog_write_endpoints(struct workload *const *workloads, size_t count, struct buf *json);

/* Registrations, as sent in hello and register. */
void sync_write_registration(const struct local_service *s, struct buf *json);
int sync_read_registration(const struct node *n, struct arena *a, struct local_service *out,
                           struct err *err) MUST_USE;
