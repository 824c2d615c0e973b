#include "cmd/agent/guard.h"

#include <stdio.h>
#include <string.h>

#include "mesh/base/file.h"
#include "mesh/base/json.h"
#include "mesh/base/mem.h"

#define FILE_BYTES (64u << 10)
#define SETTLE_MS  60000

static void guard_path(const char *dir, char *out, size_t n)
{
    (void)snprintf(out, n, "%s/guard.json", dir);
}

/* ---- storing ---- */

int guard_store(const char *dir, const struct capture_plan *p, struct err *err)
{
    struct buf text, had;
    struct err none;
    char path[4096];
    int rc = 0;
    size_t n = 0;

    guard_path(dir, path, sizeof(path));
    buf_init(&text, FILE_BYTES);
    buf_init(&had, FILE_BYTES);
    buf_adds(&text, "{\"strict\":[");
    for (size_t i = 0; i < p->inbound_count; i++) {
        if (p->inbound[i].is_strict)
            buf_printf(&text, "%s%u", n++ ? "," : "", p->inbound[i].port);
    }
    buf_adds(&text, "]}\n");
    if (file_read(path, &had, &none) || !str_eq(buf_str(&had), buf_str(&text)))
        rc = file_write(path, buf_str(&text), 0600, err);
    buf_done(&text);
    buf_done(&had);
    return rc;
}

/* ---- at boot ---- */

static int read_ports(const struct node *root, struct capture_inbound *out, size_t *count,
                      struct err *err)
{
    const struct node *list = node_get(root, STR("strict"));
    uint64_t port;

    if (!list || list->kind != NODE_LIST)
        return err_set(err, ERR_INVALID, "strict is not a list of ports");
    for (const struct node *n = list->first; n; n = n->next) {
        if (*count == CAPTURE_INBOUND_MAX || !str_uint(n->text, 1, UINT16_MAX, &port))
            return err_set(err, ERR_INVALID, "strict holds more than ports, or too many");
        out[(*count)++] = (struct capture_inbound){(uint16_t)port, true};
    }
    return 0;
}

/* As an agent that captures these ports and is gone at once. */
static int put_up(enum capture_mode mode, const struct capture_plan *p, struct err *err)
{
    struct capture *c = capture_open(mode, err);
    enum capture_state state;
    int rc;

    if (!c)
        return -1;
    rc = capture_apply(c, p, err);
    if (rc == 0) {
        state = capture_settle(c, SETTLE_MS, err);
        if (state == CAPTURE_UNDER_WAY)
            (void)err_set(err, ERR_IO, "the rules are not there after a minute");
        rc = state == CAPTURE_IN_FORCE ? 0 : -1;
    }
    capture_close(c, false);
    return rc;
}

int guard_restore(const char *dir, enum capture_mode mode, struct capture_plan *plan,
                  struct err *err)
{
    struct capture_inbound *inbound = mem_alloc(CAPTURE_INBOUND_MAX * sizeof(*inbound));
    struct node *root;
    char path[4096];
    struct arena a;
    struct buf text;
    int rc = 0;

    plan->mark = CAPTURE_MARK;
    plan->inbound = inbound;
    guard_path(dir, path, sizeof(path));
    arena_init(&a);
    buf_init(&text, FILE_BYTES);
    if (mode == CAPTURE_OFF || !file_exists(path))
        goto out;
    if (file_read(path, &text, err) || json_read(buf_str(&text), &a, &root, err) ||
        read_ports(root, inbound, &plan->inbound_count, err))
        rc = err_wrap(err, "%s (the agent writes it anew when it runs)", path);
    else if (plan->inbound_count)
        rc = put_up(mode, plan, err);
out:
    plan->inbound = NULL;
    buf_done(&text);
    arena_done(&a);
    mem_free(inbound);
    return rc;
}
