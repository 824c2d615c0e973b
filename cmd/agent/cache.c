/* The last good state on disk: what the server sent and what was subscribed to. Written after a
 * commit was put into force. */
#include <stdio.h>
#include <string.h>

#include "cmd/agent/agent.h"
#include "mesh/base/file.h"
#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/log.h"

static void cache_path(const struct agent *a, const char *name, char *out, size_t n)
{
    (void)snprintf(out, n, "%s/%s", a->settings.state_dir, name);
}

static int load_subscriptions(struct agent *a, struct arena *arena, struct err *err)
{
    char path[4096];
    struct buf text;
    struct node *list;
    int rc = -1;

    cache_path(a, "subscriptions.json", path, sizeof(path));
    if (!file_exists(path))
        return 0;
    buf_init(&text, LIMIT_APPLY_BYTES);
    if (file_read(path, &text, err) == 0 &&
        json_read(arena_str(arena, buf_str(&text)), arena, &list, err) == 0) {
        for (const struct node *n = list->first; n; n = n->next)
            map_put(&a->subscriptions, n->text, a);
        rc = 0;
    }
    buf_done(&text);
    return rc;
}

int cache_load(struct agent *a, struct resources *out, struct str *epoch, uint64_t *revision,
               struct arena *arena, struct err *err)
{
    char path[4096];
    struct buf text;
    int rc = -1;

    cache_path(a, "state.json", path, sizeof(path));
    if (!file_exists(path))
        return err_set(err, ERR_MISSING, "no stored state");
    if (load_subscriptions(a, arena, err)) /* they come back with use */
        log_warn("stored subscriptions are not usable, starting without: %s", err->text);
    buf_init(&text, LIMIT_APPLY_BYTES * 4u);
    if (file_read(path, &text, err) == 0)
        rc = resources_read(arena_str(arena, buf_str(&text)), out, epoch, revision, arena, err);
    buf_done(&text);
    return rc ? err_wrap(err, "%s", path) : 0;
}

static int write_state(const struct agent *a, const char *name, const struct buf *text,
                       struct err *err)
{
    char path[4096];

    cache_path(a, name, path, sizeof(path));
    if (text->failed) /* half of it is worse than the former */
        return err_set(err, ERR_LIMIT, "%s would be larger than %zu bytes", path, text->max);
    return file_write(path, buf_str(text), 0600, err);
}

int cache_save(const struct agent *a, struct err *err)
{
    const struct map_entry *e;
    struct buf text;
    size_t n = 0;
    int rc;

    buf_init(&text, LIMIT_APPLY_BYTES * 4u);
    buf_addc(&text, '[');
    for (size_t i = 0; (e = map_each(&a->subscriptions, &i));) {
        if (n++)
            buf_addc(&text, ',');
        buf_json(&text, e->key);
    }
    buf_addc(&text, ']');
    rc = write_state(a, "subscriptions.json", &text, err);
    buf_clear(&text);
    resources_write(&a->held, str_from(a->epoch), a->revision, &text);
    if (rc == 0)
        rc = write_state(a, "state.json", &text, err);
    buf_done(&text);
    return rc;
}
