fetch_test.o: test/unit/fetch_test.c test/test.h mesh/base/str.h \
  mesh/base/base.h test/wire.h mesh/base/limits.h mesh/base/loop.h \
  mesh/base/err.h mesh/base/mem.h proxy/wire/http1.h proxy/wire/io.h \
  mesh/base/addr.h mesh/base/buf.h proxy/wire/bytes.h \
  proxy/wire/stream.h proxy/wire/http.h mesh/base/arena.h \
  proxy/wire/fetch.h proxy/wire/serve.h proxy/wire/tls.h \
  test/unit/pki_world.h mesh/base/text.h pki/ca.h pki/cert.h \
  mesh/base/hash.h pki/key.h pki/lifetime.h pki/creds.h

test/test.h:

mesh/base/str.h:

mesh/base/base.h:

test/wire.h:

mesh/base/limits.h:

mesh/base/loop.h:

mesh/base/err.h:

mesh/base/mem.h:

proxy/wire/http1.h:

proxy/wire/io.h:

mesh/base/addr.h:

mesh/base/buf.h:

proxy/wire/bytes.h:

proxy/wire/stream.h:

proxy/wire/http.h:

mesh/base/arena.h:

proxy/wire/fetch.h:

proxy/wire/serve.h:

proxy/wire/tls.h:

test/unit/pki_world.h:

mesh/base/text.h:

pki/ca.h:

pki/cert.h:

mesh/base/hash.h:

pki/key.h:

pki/lifetime.h:

pki/creds.h:
