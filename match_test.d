match_test.o: test/unit/match_test.c test/test.h mesh/base/str.h \
  mesh/base/base.h mesh/base/buf.h mesh/base/limits.h mesh/match.h \
  mesh/base/arena.h mesh/base/err.h

test/test.h:

mesh/base/str.h:

mesh/base/base.h:

mesh/base/buf.h:

mesh/base/limits.h:

mesh/match.h:

mesh/base/arena.h:

mesh/base/err.h:
