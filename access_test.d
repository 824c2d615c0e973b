access_test.o: test/unit/access_test.c proxy/access.h mesh/base/addr.h \
  mesh/base/base.h mesh/base/buf.h mesh/base/str.h mesh/base/err.h \
  proxy/outcome.h proxy/outcome.def test/test.h

proxy/access.h:

mesh/base/addr.h:

mesh/base/base.h:

mesh/base/buf.h:

mesh/base/str.h:

mesh/base/err.h:

proxy/outcome.h:

proxy/outcome.def:

test/test.h:
