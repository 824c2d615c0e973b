proxy_test.o: test/unit/proxy_test.c test/unit/pki_world.h \
  mesh/base/text.h mesh/base/buf.h mesh/base/base.h mesh/base/str.h \
  pki/ca.h mesh/base/addr.h mesh/base/err.h pki/cert.h mesh/base/hash.h \
  pki/key.h pki/lifetime.h pki/creds.h test/test.h \
  test/unit/proxy_world.h mesh/base/loop.h proxy/balance.h \
  proxy/cluster.h mesh/base/map.h proxy/balance_levels.h proxy/breaker.h \
  proxy/outlier.h proxy/link.h proxy/proxy.h test/unit/snapshot_world.h \
  mesh/base/mem.h mesh/snapshot.h mesh/base/arena.h mesh/match.h \
  mesh/ring.h

test/unit/pki_world.h:

mesh/base/text.h:

mesh/base/buf.h:

mesh/base/base.h:

mesh/base/str.h:

pki/ca.h:

mesh/base/addr.h:

mesh/base/err.h:

pki/cert.h:

mesh/base/hash.h:

pki/key.h:

pki/lifetime.h:

pki/creds.h:

test/test.h:

test/unit/proxy_world.h:

mesh/base/loop.h:

proxy/balance.h:

proxy/cluster.h:

mesh/base/map.h:

proxy/balance_levels.h:

proxy/breaker.h:

proxy/outlier.h:

proxy/link.h:

proxy/proxy.h:

test/unit/snapshot_world.h:

mesh/base/mem.h:

mesh/snapshot.h:

mesh/base/arena.h:

mesh/match.h:

mesh/ring.h:
