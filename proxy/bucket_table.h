/* Token buckets by key, a bounded number of them: whoever was not seen for longest makes room.
 *
 * Flow:      rate_limit.c has one for each limit that tells clients apart.
 * Ownership: the caller's. Keys are kept as their hash (64 bits, keyed once per process): a long one costs no room, and of
 *            a million clients two share a bucket once in 37 million tables.
 * Threads:   any; shards with a mutex each, held for one look.
 * Limits:    `keys_max` of the limit. A table for more than BUCKET_SHARD_KEYS is cut into shards which make room each for
 *            itself, so it may do so when it is almost full. 40 to 80 bytes a key.
 */
#pragma once

#include "mesh/base/str.h"
#include "proxy/gcra.h"

#define BUCKET_SHARD_KEYS 1024u

struct bucket_table;

struct bucket_table *bucket_table_new(uint32_t keys_max);
void bucket_table_free(struct bucket_table *t); /* NULL is fine */

/* A key that is not there gets a full bucket. */
struct gcra_verdict bucket_table_take(struct bucket_table *t, struct str key, const struct gcra_rule *r, int64_t now_ms);
void bucket_table_give_back(struct bucket_table *t, struct str key, const struct gcra_rule *r);

uint64_t bucket_table_count(struct bucket_table *t);
/* How many made room before their bucket was full again: as many clients may have got more than was meant. */
uint64_t bucket_table_evicted(struct bucket_table *t);
