edit_test.o: test/unit/edit_test.c test/unit/proxy_world.h \
  mesh/base/loop.h mesh/base/base.h mesh/base/err.h proxy/balance.h \
  proxy/cluster.h mesh/base/addr.h mesh/base/buf.h mesh/base/str.h \
  mesh/base/map.h proxy/balance_levels.h proxy/breaker.h proxy/outlier.h \
  proxy/link.h proxy/proxy.h test/unit/snapshot_world.h mesh/base/mem.h \
  mesh/base/text.h mesh/snapshot.h mesh/base/arena.h mesh/match.h \
  mesh/ring.h test/test.h

test/unit/proxy_world.h:

mesh/base/loop.h:

mesh/base/base.h:

mesh/base/err.h:

proxy/balance.h:

proxy/cluster.h:

mesh/base/addr.h:

mesh/base/buf.h:

mesh/base/str.h:

mesh/base/map.h:

proxy/balance_levels.h:

proxy/breaker.h:

proxy/outlier.h:

proxy/link.h:

proxy/proxy.h:

test/unit/snapshot_world.h:

mesh/base/mem.h:

mesh/base/text.h:

mesh/snapshot.h:

mesh/base/arena.h:

mesh/match.h:

mesh/ring.h:

test/test.h:
