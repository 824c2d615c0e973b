#include "mesh/dns.h"

#include <string.h>

#include "mesh/base/map.h"
#include "mesh/base/mem.h"

#define FLAG_RESPONSE  0x8000u
#define FLAG_OPCODE    0x7800u
#define FLAG_AUTHORITY 0x0400u
#define FLAG_CUT       0x0200u
#define FLAG_RECURSE   0x0100u /* asked for */
#define FLAG_RECURSES  0x0080u /* offered */
#define FLAG_UNCHECKED 0x0010u

#define LABEL_MAX   63u
#define POINTER     0xc0u
#define OPT_BYTES   11u
#define OPT_UDP_MAX 1232u /* what we take by UDP, said in our OPT record */

struct dns_table {
    struct map names; /* -> struct dns_entry */
    bool has_wildcards;
};

/* ---- reading ---- */

/* A cursor over a message; `ok` goes false at the first byte that is not there. */
struct cursor {
    struct str s;
    size_t at;
    bool ok;
};

static uint8_t get8(struct cursor *c)
{
    if (!c->ok || c->at >= c->s.n) {
        c->ok = false;
        return 0;
    }
    return (uint8_t)c->s.p[c->at++];
}

static uint16_t get16(struct cursor *c)
{
    unsigned high = get8(c);

    return (uint16_t)(high << 8 | get8(c));
}

static uint32_t get32(struct cursor *c)
{
    uint32_t high = get16(c);

    return high << 16 | get16(c);
}

static void skip(struct cursor *c, size_t n)
{
    if (!c->ok || n > c->s.n - c->at)
        c->ok = false;
    else
        c->at += n;
}

static void skip_name(struct cursor *c)
{
    for (;;) {
        uint8_t n = get8(c);

        if (!c->ok || n == 0)
            return;
        if ((n & POINTER) == POINTER) {
            skip(c, 1);
            return;
        }
        if (n > LABEL_MAX)
            c->ok = false;
        skip(c, n);
    }
}

static char lower(char ch)
{
    return ch >= 'A' && ch <= 'Z' ? (char)(ch - 'A' + 'a') : ch;
}

static bool is_name_char(char ch)
{
    return ch > ' ' && ch < 0x7f && ch != '.' && ch != '\\';
}

/* The question's name. It is the first of the message, so nothing it could point to exists. */
static void get_name(struct cursor *c, struct dns_query *q)
{
    size_t wire = 1;

    q->is_plain = true;
    q->name_bytes = 0;
    for (;;) {
        size_t n = get8(c);

        if (!c->ok || n == 0)
            break;
        wire += n + 1;
        if (n > LABEL_MAX || wire > DNS_NAME_MAX) {
            c->ok = false;
            break;
        }
        if (q->name_bytes > 0)
            q->name[q->name_bytes++] = '.';
        for (size_t i = 0; i < n; i++) {
            char ch = (char)get8(c);

            q->is_plain &= is_name_char(ch);
            q->name[q->name_bytes++] = lower(ch);
        }
    }
    q->name[q->name_bytes] = '\0';
}

/* Look through the records behind the question for EDNS. */
static void get_edns(struct cursor *c, unsigned count, struct dns_query *q)
{
    for (unsigned i = 0; i < count && c->ok; i++) {
        uint16_t type, class;
        uint32_t ttl;

        skip_name(c);
        type = get16(c);
        class = get16(c);
        ttl = get32(c);
        skip(c, get16(c));
        if (!c->ok || type != DNS_OPT)
            continue;
        if (q->has_edns)
            c->ok = false; /* two of them: RFC 6891 6.1.1 */
        q->has_edns = true;
        q->edns_version = (uint8_t)(ttl >> 16);
        q->udp_bytes = MAX(class, DNS_UDP_MAX);
    }
}

bool dns_parse_query(struct str message, struct dns_query *out)
{
    struct cursor c = {.s = message, .ok = true};
    struct dns_query q = {.udp_bytes = DNS_UDP_MAX};
    unsigned questions, answers, authorities, additional;

    q.id = get16(&c);
    q.flags = get16(&c);
    questions = get16(&c);
    answers = get16(&c);
    authorities = get16(&c);
    additional = get16(&c);
    if (!c.ok || (q.flags & (FLAG_RESPONSE | FLAG_OPCODE)) || questions != 1 || answers != 0 ||
        authorities != 0)
        return false;
    get_name(&c, &q);
    q.type = get16(&c);
    q.class = get16(&c);
    q.question_end = c.at;
    get_edns(&c, additional, &q);
    if (!c.ok)
        return false;
    *out = q;
    return true;
}

bool dns_is_answer(struct str query, struct str answer)
{
    struct dns_query q;
    struct cursor c = {.s = answer, .ok = true};
    unsigned flags, questions;

    if (query.n < 2 || answer.n < DNS_HEADER || memcmp(query.p, answer.p, 2) != 0)
        return false;
    skip(&c, 2);
    flags = get16(&c);
    questions = get16(&c);
    if (!(flags & FLAG_RESPONSE))
        return false;
    if (!dns_parse_query(query, &q))
        return true; /* whatever it was: id and socket fit */
    if (questions == 0)
        return (flags & 0xfu) != DNS_NOERROR; /* some refuse without repeating the question */
    return questions == 1 && answer.n >= q.question_end &&
           str_eq_nocase(str_sub(query, DNS_HEADER, q.question_end - DNS_HEADER),
                         str_sub(answer, DNS_HEADER, q.question_end - DNS_HEADER));
}

/* ---- writing; the caller has made sure that it fits ---- */

static void put16(uint8_t **p, unsigned v)
{
    *(*p)++ = (uint8_t)(v >> 8);
    *(*p)++ = (uint8_t)v;
}

static void put32(uint8_t **p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p, v & 0xffff);
}

static size_t put_addresses(uint8_t **p, size_t room, uint16_t type, const struct addr *addrs,
                            size_t count, uint32_t ttl_s, bool *cut)
{
    uint8_t family = type == DNS_A ? 4 : type == DNS_AAAA ? 6 : 0;
    size_t bytes = family == 4 ? 4 : 16, written = 0;

    for (size_t i = 0; i < count; i++) {
        if (family == 0 || addrs[i].family != family)
            continue;
        if (12 + bytes > room) {
            *cut = true;
            break;
        }
        put16(p, POINTER << 8 | DNS_HEADER); /* the question's name */
        put16(p, type);
        put16(p, DNS_IN);
        put32(p, ttl_s);
        put16(p, (unsigned)bytes);
        memcpy(*p, addrs[i].ip, bytes);
        *p += bytes;
        room -= 12 + bytes;
        written++;
    }
    return written;
}

static void put_opt(uint8_t **p, enum dns_rcode rcode)
{
    *(*p)++ = 0; /* the root */
    put16(p, DNS_OPT);
    put16(p, OPT_UDP_MAX);
    put32(p, (uint32_t)rcode >> 4 << 24); /* high bits of the rcode, version 0, no flags */
    put16(p, 0);
}

size_t dns_format_answer(struct str message, const struct dns_query *q, enum dns_rcode rcode,
                         const struct addr *addrs, size_t count, uint32_t ttl_s, uint8_t *out,
                         size_t max)
{
    size_t opt = q->has_edns ? OPT_BYTES : 0, written;
    unsigned flags = FLAG_RESPONSE | FLAG_RECURSES | (q->flags & (FLAG_RECURSE | FLAG_UNCHECKED)) |
                     ((unsigned)rcode & 0xf);
    bool cut = false;
    uint8_t *p;

    if (q->question_end > message.n || q->question_end + opt > max)
        return 0;
    memcpy(out, message.p, q->question_end);
    p = out + q->question_end;
    written = put_addresses(&p, max - q->question_end - opt, q->type, addrs, count, ttl_s, &cut);
    if (opt > 0)
        put_opt(&p, rcode);

    if (rcode == DNS_NOERROR || rcode == DNS_NXDOMAIN)
        flags |= FLAG_AUTHORITY;
    if (cut)
        flags |= FLAG_CUT;
    max = (size_t)(p - out);
    p = out + 2;
    put16(&p, flags);
    put16(&p, 1);
    put16(&p, (unsigned)written);
    put16(&p, 0);
    put16(&p, opt > 0);
    return max;
}

size_t dns_format_failure(struct str message, uint8_t *out, size_t max)
{
    struct dns_query q;
    struct cursor c = {.s = message, .ok = true};
    unsigned flags;
    uint8_t *p = out + 2;

    if (dns_parse_query(message, &q))
        return dns_format_answer(message, &q, DNS_SERVFAIL, NULL, 0, 0, out, max);
    skip(&c, 2);
    flags = get16(&c);
    if (message.n < DNS_HEADER || max < DNS_HEADER || (flags & FLAG_RESPONSE))
        return 0;
    memset(out, 0, DNS_HEADER);
    memcpy(out, message.p, 2);
    put16(&p, FLAG_RESPONSE | (flags & (FLAG_OPCODE | FLAG_RECURSE)) | DNS_SERVFAIL);
    return DNS_HEADER;
}

/* ---- the table ---- */

struct dns_table *dns_table_new(void)
{
    struct dns_table *t = MEM_NEW(struct dns_table);

    map_init(&t->names);
    return t;
}

void dns_table_free(struct dns_table *t)
{
    struct map_entry *e;

    if (!t)
        return;
    for (size_t i = 0; (e = map_each(&t->names, &i));)
        mem_free(e->value);
    map_done(&t->names);
    mem_free(t);
}

/* Lower case, without the final dot, into `text` of DNS_NAME_MAX bytes; false if it is no name. */
static bool fold_name(struct str name, char *text, size_t *n)
{
    size_t label = 0;

    if (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    if (name.n == 0 ||
        name.n > DNS_NAME_MAX - 2) /* on the wire it has a length and the root more */
        return false;
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '.' ? label == 0 : !is_name_char(name.p[i]) || label == LABEL_MAX)
            return false;
        label = name.p[i] == '.' ? 0 : label + 1;
        text[i] = lower(name.p[i]);
    }
    *n = name.n;
    return label > 0;
}

static struct dns_entry *new_entry(struct str name, struct str key, const struct addr *addrs,
                                   size_t count)
{
    struct dns_entry *e;
    struct addr *list;
    char *text;

    count = MIN(count, DNS_ADDRS_MAX);
    e = mem_zalloc(sizeof(*e) + count * sizeof(*addrs) + name.n + key.n);
    list = (struct addr *)(void *)(e + 1);
    text = (char *)(list + count);
    if (count > 0)
        memcpy(list, addrs, count * sizeof(*addrs));
    memcpy(text, name.p, name.n);
    if (key.n > 0)
        memcpy(text + name.n, key.p, key.n);
    e->name = (struct str){text, name.n};
    e->key = (struct str){text + name.n, key.n};
    e->addrs = list;
    e->count = count;
    return e;
}

bool dns_table_add(struct dns_table *t, struct str name, struct str key, const struct addr *addrs,
                   size_t count)
{
    char text[DNS_NAME_MAX];
    struct str folded = {text, 0};

    if (!fold_name(name, text, &folded.n) || t->names.count >= DNS_TABLE_MAX ||
        map_get(&t->names, folded))
        return false;
    if (str_starts(folded, STR("*.")))
        t->has_wildcards = true;
    else if (str_has(folded, '*'))
        return false;
    (void)map_put(&t->names, folded, new_entry(folded, key, addrs, count)); /* was not there */
    return true;
}

const struct dns_entry *dns_table_find(const struct dns_table *t, struct str name)
{
    char text[DNS_NAME_MAX];
    const struct dns_entry *e;
    size_t n;

    /* A name with a star in it is asked for literally by nobody. */
    if (!fold_name(name, text, &n) || str_has((struct str){text, n}, '*'))
        return NULL;
    e = map_get(&t->names, (struct str){text, n});
    if (e || !t->has_wildcards)
        return e;
    for (size_t i = 0; i < n && !e; i++) {
        if (text[i] != '.')
            continue;
        text[i - 1] = '*'; /* what is left of it has been tried */
        e = map_get(&t->names, (struct str){text + i - 1, n - i + 1});
    }
    return e;
}

size_t dns_table_count(const struct dns_table *t)
{
    return t->names.count;
}

/* ---- resolv.conf ---- */

static bool has_server(const struct addr *servers, size_t count, const struct addr *a)
{
    for (size_t i = 0; i < count; i++) {
        if (addr_same_ip(&servers[i], a))
            return true;
    }
    return false;
}

/* The address text of a nameserver line. */
static bool server_line(struct str line, struct str *address)
{
    static const struct str word = STR_INIT("nameserver");
    size_t n = 0;

    if (!str_starts(line, word) || line.n == word.n ||
        (line.p[word.n] != ' ' && line.p[word.n] != '\t'))
        return false;
    line = str_trim(str_sub(line, word.n, line.n));
    while (n < line.n && line.p[n] != ' ' && line.p[n] != '\t')
        n++;
    *address = str_sub(line, 0, n);
    return true;
}

size_t dns_resolv_conf(struct str text, struct addr *servers, size_t max)
{
    struct str line, address;
    size_t count = 0;
    bool any = false;

    while (str_next(&text, '\n', &line)) {
        struct addr a;

        if (!server_line(line, &address))
            continue;
        any = true;
        if (count < max && addr_parse_ip(address, &a) && !addr_is_any(&a) &&
            !has_server(servers, count, &a)) {
            a.port = 53;
            servers[count++] = a;
        }
    }
    if (!any && max > 0)
        servers[count++] = (struct addr){
            .family = 4, .port = 53, .ip = {127, 0, 0, 1}
        };
    return count;
}
