/* What every kind of row of the ledger needs: read one, commit with an audit row. */
#include "store/ledger_parts.h"

#include "mesh/base/text.h"

#define TEXT_BYTES 4096u /* of one field of a row; longer is cut */

bool ledger_is_hash(struct str s)
{
    uint8_t hash[HASH_BYTES];

    return text_unhex(s, hash, sizeof(hash));
}

int ledger_get_row(struct store *s, struct str key, const char *what, struct arena *a,
                   struct node **out, int64_t *mod_seq, struct err *err)
{
    struct store_kv kv;

    if (store_get(s, key, a, &kv, err))
        return -1;
    *mod_seq = kv.mod_seq;
    *out = NULL;
    return kv.mod_seq ? row_parse(kv.value, what, a, out, err) : 0;
}

void ledger_put_text(struct buf *b, const char *name, struct str text)
{
    row_opt(b, name, str_sub(text, 0, TEXT_BYTES));
}

int ledger_get_host(struct store *s, struct str id, struct arena *a, struct registry_host *out,
                    int64_t *seq, struct err *err)
{
    struct store_kv kv;

    if (store_get(s, registry_host_path(a, id), a, &kv, err))
        return -1;
    *seq = kv.mod_seq;
    return kv.mod_seq ? registry_decode_host(kv.value, a, out, err) : 0;
}

int ledger_write_txn(struct store *s, struct store_txn *t, const struct ledger_audit *audit,
                     struct err *err)
{
    if (audit && ledger_audit_add(s, t, audit, err))
        return -1;
    return row_commit(s, t, "somebody else changed it meanwhile: try again", err);
}
