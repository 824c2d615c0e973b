capture_test.o: test/unit/capture_test.c test/test.h mesh/base/str.h \
  mesh/base/base.h cmd/agent/capture.h mesh/base/addr.h mesh/base/buf.h \
  mesh/base/err.h cmd/agent/capture_keeper.h cmd/agent/xtables.h \
  cmd/agent/xtables_text.h mesh/base/arena.h mesh/base/map.h \
  cmd/agent/dns.h mesh/base/loop.h mesh/dns.h proxy/origdst.h

test/test.h:

mesh/base/str.h:

mesh/base/base.h:

cmd/agent/capture.h:

mesh/base/addr.h:

mesh/base/buf.h:

mesh/base/err.h:

cmd/agent/capture_keeper.h:

cmd/agent/xtables.h:

cmd/agent/xtables_text.h:

mesh/base/arena.h:

mesh/base/map.h:

cmd/agent/dns.h:

mesh/base/loop.h:

mesh/dns.h:

proxy/origdst.h:
