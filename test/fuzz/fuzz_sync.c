/* What a server may send: frames cut as an agent cuts them, each body read as a file of resources
 * and these as a catalog. What is taken must be written and read again with the same digest. */
#include <stdlib.h>
#include <string.h>

#include "cmd/frame.h"
#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/sync.h"
#include "proxy/wire/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good)
        abort();
}

static void digest(const struct resources *r, struct buf *out)
{
    buf_init(out, 100);
    resources_digest(r, out);
    must(out->n == 64 && !out->failed);
}

static void check_round_trip(const struct resources *r, struct str epoch, uint64_t revision,
                             struct arena *a)
{
    struct resources again;
    struct buf text, x, y;
    struct str epoch_again;
    uint64_t revision_again;
    struct err err;

    resources_init(&again);
    buf_init(&text, 16u << 20);
    resources_write(r, epoch, revision, &text);
    must(resources_read(buf_str(&text), &again, &epoch_again, &revision_again, a, &err) == 0);
    must(str_eq(epoch, epoch_again) && revision == revision_again);
    digest(r, &x);
    digest(&again, &y);
    must(str_eq(buf_str(&x), buf_str(&y)));
    buf_done(&text);
    buf_done(&x);
    buf_done(&y);
    resources_done(&again);
}

static void check_catalog(const struct resources *r, struct arena *a)
{
    struct catalog c;
    struct findings f;
    int rc;

    findings_init(&f, a);
    catalog_init(&c);
    rc = catalog_read(r, &c, &f);
    must((rc != 0) == (f.errors != 0));
    for (size_t i = 0; rc == 0 && i < c.service_count; i++) {
        struct buf b;

        buf_init(&b, 16u << 20);
        catalog_write_service(c.services[i], &b);
        buf_done(&b);
    }
    catalog_done(&c);
}

static void check_body(struct str body)
{
    struct resources r;
    struct arena a;
    struct node *root;
    struct str epoch;
    uint64_t revision;
    struct local_service s;
    struct err err;

    arena_init(&a);
    resources_init(&r);
    if (resources_read(body, &r, &epoch, &revision, &a, &err) == 0) {
        check_round_trip(&r, epoch, revision, &a);
        check_catalog(&r, &a);
    }
    if (json_read(body, &a, &root, &err) == 0 && sync_read_registration(root, &a, &s, &err) == 0)
        must(s.ns.n && s.name.n && s.account.n && (s.is_gateway || (s.port && s.service_port)));
    resources_done(&r);
    arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in;
    struct buf body;

    bytes_init(&in);
    buf_init(&body, LIMIT_SYNC_FRAME_BYTES);
    bytes_append(&in, (struct str){(const char *)data, size});
    for (size_t before = in.n; frame_next(&in, &body) == 1; before = in.n) {
        must(!body.failed && in.n + body.n + SYNC_HEAD_BYTES == before);
        check_body(buf_str(&body));
    }
    bytes_done(&in);
    buf_done(&body);
    check_body((struct str){(const char *)data, size});
    return 0;
}
