/* Between the endpoint table (api.c), documents (api_model.c) and watches (api_watch.c). */
#pragma once

#include "cmd/server/server.h"

struct api_call {
    struct server *server;
    struct serve_request *r;
    struct arena arena;   /* for the time of the call */
    struct str params[4]; /* segments of the path */
    size_t param_count;
    struct str host_id; /* ROLE_AGENT */
    bool waited;        /* a list request that was parked is answered now */
};

void api_list_begin(const struct api_call *c,
                    struct buf *out);                   /* {"kind":"List","revision":N,"items":[ */
void api_list_end(struct api_call *c, struct buf *out); /* closes and answers */
void api_body_limit(const struct serve_request *r, size_t *max);

/* api_model.c */
void api_apply(struct api_call *c);
void api_get(struct api_call *c);
void api_put(struct api_call *c);
void api_delete(struct api_call *c);
void api_list(struct api_call *c);
extern const char *const api_apply_query[], *const api_put_query[], *const api_list_query[];

/* api_watch.c: server-sent events, and long polls of lists. */
void api_watch(struct api_call *c);
extern const char *const api_watch_query[];
struct revision_change;
enum revision_result;
/* A commit happened: tell the watchers, answer the parked. */
void api_watch_committed(struct server *s, int64_t revision, const struct revision_change *changes,
                         const enum revision_result *results, size_t count);
struct watches *api_watches_new(struct server *s);
void api_watches_free(struct watches *w);
/* Park a list request until that kind changes after revision `after`, or `wait_ms` passed (304).
 * False: it changed already, answer now. True also when it was refused. */
bool api_park(struct api_call *c, int kind, int64_t after, int64_t wait_ms);
