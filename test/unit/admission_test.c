#include "proxy/admission.h"
#include "test/test.h"

static struct addr at(const char *text)
{
    struct addr a;

    CHECK(addr_parse_ip(str_from(text), &a));
    return a;
}

TEST(an_address_has_as_many_as_it_may_and_a_port_is_no_other_address)
{
    struct admission a;
    struct addr one = at("192.0.2.1"), two = at("192.0.2.2");

    admission_init(&a, 2, 3);
    for (uint16_t i = 0; i < 3; i++) {
        one.port = i;
        CHECK(admission_enter(&a, &one));
    }
    one.port = 99;
    CHECK(!admission_enter(&a, &one));
    CHECK(admission_enter(&a, &two));
    admission_leave(&a, &one);
    CHECK(admission_enter(&a, &one));
    CHECK(!admission_enter(&a, &one));
    for (int i = 0; i < 3; i++)
        admission_leave(&a, &one);
    admission_leave(&a, &two);
    CHECK_INT(a.sources.count, 0);
    admission_done(&a);
}

TEST(of_ipv6_a_client_has_a_64)
{
    struct admission a;
    struct addr one = at("2001:db8:1:2::1"), same = at("2001:db8:1:2:ffff::9"), other = at("2001:db8:1:3::1"),
                v4 = at("32.1.13.184");

    admission_init(&a, 1, 1);
    CHECK(admission_enter(&a, &one));
    CHECK(!admission_enter(&a, &same));
    CHECK(admission_enter(&a, &other));
    CHECK(admission_enter(&a, &v4));
    admission_done(&a);
}

TEST(without_a_figure_half_of_the_room_is_left_for_others)
{
    struct admission a;

    admission_init(&a, 2, 0);
    CHECK(a.per_worker >= 64);
    CHECK_INT(a.per_source, a.per_worker);
    admission_done(&a);
}
