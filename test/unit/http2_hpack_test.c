/* The header blocks of nine encoders (corpus hpack), decoded by the library that we use. WEFT_CORPUS says where they are. */
#include "mesh/base/json.h"
#include "mesh/base/node.h"
#include "proxy/wire/http2_parts.h"
#include "test/corpus.h"
#include "test/test.h"

#include <dirent.h>

static char *unpacked(const char *path)
{
    char command[1100], *text = mem_alloc(8u << 20);
    size_t n;
    FILE *f;

    snprintf(command, sizeof(command), "gzip -dc '%s'", path);
    f = popen(command, "r");
    assert_non_null(f);
    n = fread(text, 1, (8u << 20) - 1, f);
    text[n] = '\0';
    assert_int_equal(pclose(f), 0);
    return text;
}

static size_t unhex(struct str s, uint8_t *out)
{
    for (size_t i = 0; i + 1 < s.n; i += 2) {
        char digits[3] = {s.p[i], s.p[i + 1], 0};

        out[i / 2] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return s.n / 2;
}

/* The next field of the block; false at its end. */
static bool next_field(nghttp2_hd_inflater *in, const uint8_t **p, size_t *n, nghttp2_nv *nv)
{
    for (;;) {
        int flags = 0;
        ssize_t used = nghttp2_hd_inflate_hd2(in, nv, &flags, *p, *n, 1);

        assert_true(used >= 0);
        *p += used;
        *n -= (size_t)used;
        if (flags & NGHTTP2_HD_INFLATE_EMIT)
            return true;
        if (flags & NGHTTP2_HD_INFLATE_FINAL) {
            nghttp2_hd_inflate_end_headers(in);
            return false;
        }
    }
}

static void check_block(nghttp2_hd_inflater *in, const struct node *one)
{
    struct str wire = node_text(one, "wire");
    const struct node *headers = node_get(one, STR("headers")), *pair;
    uint8_t *block = mem_alloc(wire.n / 2 + 1);
    const uint8_t *p = block;
    size_t n = unhex(wire, block), i = 0;
    nghttp2_nv nv;

    for (; next_field(in, &p, &n, &nv); i++) {
        pair = node_at(headers, i);
        assert_non_null(pair);
        pair = pair->first;
        assert_true(str_eq(pair->key, (struct str){(const char *)nv.name, nv.namelen}));
        assert_true(str_eq(pair->text, (struct str){(const char *)nv.value, nv.valuelen}));
    }
    assert_null(node_at(headers, i));
    mem_free(block);
}

static unsigned check_file(const char *path)
{
    char *text = unpacked(path);
    nghttp2_hd_inflater *in;
    struct node *story;
    struct arena a;
    struct err err;
    unsigned count = 0;

    arena_init(&a);
    assert_int_equal(json_read(str_from(text), &a, &story, &err), 0);
    assert_int_equal(nghttp2_hd_inflate_new(&in), 0);
    for (size_t i = 0;; i++) {
        const struct node *one = node_at(node_get(story, STR("cases")), i);
        uint64_t size;

        if (!one)
            break;
        if (!node_get(one, STR("wire")))
            continue; /* raw-data has the fields only */
        if (str_uint(node_text(one, "header_table_size"), 0, UINT32_MAX, &size))
            assert_int_equal(nghttp2_hd_inflate_change_table_size(in, size), 0);
        check_block(in, one);
        count++;
    }
    nghttp2_hd_inflate_del(in);
    arena_done(&a);
    mem_free(text);
    return count;
}

TEST(blocks_of_nine_encoders_are_decoded)
{
    static const char *const names[] = {"go-hpack",      "haskell-http2-linear-huffman", "nghttp2",
                                        "nghttp2-16384-4096", "nghttp2-change-table-size", "node-http2-hpack",
                                        "python-hpack",  "swift-nio-hpack-huffman"};
    unsigned blocks = 0;

    for (size_t i = 0; i < COUNT(names); i++) {
        char name[64], dir[512], path[1024];
        struct dirent *e;
        DIR *d;

        snprintf(name, sizeof(name), "hpack/%s", names[i]);
        d = corpus_dir(name, dir, sizeof(dir));
        while (d && (e = readdir(d))) {
            snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
            if (strstr(e->d_name, ".gz"))
                blocks += check_file(path);
        }
        closedir(d);
    }
    print_message("%u blocks\n", blocks);
    assert_true(blocks > 10000);
}
