# make            build build/release/weft
# make check      all tests: unit, the same under ASan and UBSan, fuzz corpora, end to end (CI runs this)
# make unit       unit tests and replayed fuzz corpora only      (make MODE=asan unit)
# make asan|tsan  unit tests under AddressSanitizer and UBSan | ThreadSanitizer
# make e2e        the real binary in network namespaces (root)
# make fuzz       build fuzzers with clang and run each for FUZZ_SECONDS (default 20)
# make demo       a real mesh of several hosts on this machine, shown working (root); KEEP=1 leaves it running
# make bench      weft beside HAProxy and nginx on the same work (root the first time); BENCH_ONLY="rps idle" chooses
# make deps       install what building and testing needs (Debian packages, mbedTLS 3.6); idempotent
# make fresh      demo and check in newly made Debian 12 and 13 roots (root, debootstrap); FRESH="trixie" chooses
# make install    binary, units, man pages, completions, documents; honours DESTDIR and PREFIX; make uninstall removes them
# make stories    streams told under chaos and seeds (test/world/world.h, docs/testing.md)
# make soak       threads under load and change for SOAK_SECONDS (30), by ThreadSanitizer (SOAK_MODE=asan by the other two)
# make reference  write docs/reference from the tables that documents are read by
# make layers     print which directory includes which; fails on an upward include, or if docs/behaviours.md names no test
# Add a file by creating it: sources are found by wildcard, headers by the compiler.

NAME   := weft
MODE   ?= release
PREFIX ?= /usr/local
# mbedTLS 3.6 is built from Debian's source package into $(DEPS), with AES-GCM and P-256 by pki/accel.c. ACCEL=0: with its
# own; SYSTEM_MBEDTLS=1: the system's library, as it is.
ACCEL  ?= 1
STOCK  := $(if $(SYSTEM_MBEDTLS)$(filter 0,$(ACCEL)),1)
DEPS   ?= build/deps
B      := build/$(MODE)$(if $(STOCK),-stock)
V      ?= 0
Q      := $(if $(filter 0,$(V)),@,)

VERSION := 0.1.0
RELEASED := 2026-11-26
DIRS    := mesh/base mesh/kinds mesh store pki proxy/wire proxy/filter proxy cmd/server cmd/agent cmd/ctl cmd
SRC     := $(wildcard $(addsuffix /*.c,$(DIRS)))
SRC     := $(if $(STOCK),$(filter-out pki/accel.c,$(SRC)),$(SRC))
OBJ     := $(SRC:%.c=$(B)/%.o)
LIBOBJ  := $(filter-out $(B)/cmd/main.o,$(OBJ))
TESTS   := $(patsubst test/%.c,$(B)/test/%,$(wildcard test/unit/*_test.c))
STORIES := $(patsubst test/%.c,$(B)/test/%,$(wildcard test/world/*_test.c))
SOAKS   := $(patsubst test/%.c,$(B)/test/%,$(wildcard test/soak/*_test.c))
FUZZ    := $(patsubst test/%.c,$(B)/test/%,$(wildcard test/fuzz/fuzz_*.c))

comma    := ,
MBEDTLS  := $(if $(SYSTEM_MBEDTLS),,$(DEPS)/mbedtls$(if $(STOCK),,-accel))
DEPSFLAG := $(if $(SYSTEM_MBEDTLS),--system-mbedtls,$(if $(STOCK),--stock-mbedtls))
MBEDINC  := $(if $(MBEDTLS),-isystem $(MBEDTLS)/include)
MBEDLIBS := $(if $(MBEDTLS),$(addprefix $(MBEDTLS)/lib/lib,mbedtls.a mbedx509.a mbedcrypto.a),-lmbedtls -lmbedx509 -lmbedcrypto)

WARN   := -Wall -Wextra -Wformat=2 -Wshadow -Wconversion -Wcast-qual -Wwrite-strings \
          -Wpointer-arith -Wundef -Wvla -Wstrict-prototypes -Wmissing-prototypes \
          -Wold-style-definition -Wnull-dereference -Wimplicit-fallthrough $(if $(CI),-Werror)
HARDEN := -fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=3 -fPIE
LINK   := -pie -Wl,-z,relro,-z,now,-z,noexecstack
LDLIBS += $(MBEDLIBS) -levent_core -lsqlite3 -lyaml -lnghttp2 -linih -lpcre2-8 -lnftables -lmnl $(if $(STOCK),,-Wl$(comma)-Bstatic -lhogweed -lnettle -Wl$(comma)-Bdynamic -lgmp) -lpthread -lm

FLAGS_release := -O2 -g $(HARDEN)
FLAGS_asan    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
FLAGS_tsan    := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
FLAGS_fuzz    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -DFUZZING
CFLAGS_ALL     = -std=gnu17 -D_GNU_SOURCE -DWEFT_VERSION='"$(VERSION)"' -DWEFT_RELEASED='"$(RELEASED)"' -I. $(MBEDINC) -MMD -MP $(WARN) $(FLAGS_$(MODE)) $(CFLAGS)

all: $(B)/$(NAME)

$(B)/$(NAME): $(OBJ)
	@echo "  LINK  $@"; mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(LINK) $(LDFLAGS) -o $@ $(OBJ) $(LDLIBS)

$(B)/%.o: %.c $(if $(MBEDTLS),$(MBEDTLS)/stamp)
	@echo "  CC    $<"; mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -c -o $@ $<

# A NULL ends the test that meets it, so this warning says nothing there.
$(B)/test/%.o: CFLAGS += -Wno-null-dereference

$(TESTS) $(SOAKS): %: %.o $(LIBOBJ)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(LINK) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

# Stories turn the loops themselves and stand between the proxy and the kernel: test/world/chaos.h.
WRAP  := readv recv __recv_chk sendmsg connect accept4 clock_gettime io_read crypto_has_threads crypto_submit worker_start
comma := ,
$(B)/test/world/%_test: $(B)/test/world/%_test.o $(B)/test/world/chaos.o $(LIBOBJ)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(LINK) $(LDFLAGS) $(WRAP:%=-Wl$(comma)--wrap=%) -o $@ $^ $(LDLIBS) -lcmocka

# Outside MODE=fuzz a fuzzer is linked with replay.c, so that any compiler can run its corpus.
REPLAY := $(if $(filter fuzz,$(MODE)),,$(B)/test/fuzz/replay.o)
$(B)/test/fuzz/fuzz_%: $(B)/test/fuzz/fuzz_%.o $(LIBOBJ) $(REPLAY)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS) $(if $(filter fuzz,$(MODE)),-fsanitize=fuzzer,$(LINK)) \
	    -o $@ $(filter %.o,$^) $(LDLIBS)

unit: $(TESTS) $(FUZZ)
	@set -e; for t in $(TESTS); do $$t; done; \
	for f in $(FUZZ); do n=$${f##*/fuzz_}; $$f test/corpus/$$n/*; done

unit-programs: $(TESTS) $(FUZZ)

stories: $(STORIES)
	@set -e; for t in $(STORIES); do $$t; done

SOAK_MODE ?= tsan
soak: ; $(Q)$(MAKE) --no-print-directory MODE=$(SOAK_MODE) soaks
soaks: $(SOAKS)
	@set -e; for t in $(SOAKS); do $$t; done

asan:  ; $(Q)$(MAKE) --no-print-directory MODE=asan unit
tsan:  ; $(Q)$(MAKE) --no-print-directory MODE=tsan unit
FUZZ_SECONDS ?= 20
fuzz:    ; $(Q)$(MAKE) --no-print-directory MODE=fuzz CC=clang fuzzers
fuzzers: $(FUZZ)
	@set -e; for f in $(FUZZ); do n=$${f##*/fuzz_}; mkdir -p build/fuzz/found/$$n; \
	  echo "fuzz $$n"; $$f -max_total_time=$(FUZZ_SECONDS) -verbosity=0 -artifact_prefix=build/fuzz/ \
	  build/fuzz/found/$$n test/corpus/$$n; done

deps:
	$(Q)test/deps.sh $(DEPSFLAG) $(DEPS)

$(MBEDTLS)/stamp:
	$(Q)test/deps.sh $(DEPSFLAG) $(DEPS)

check: deps
	$(Q)$(MAKE) --no-print-directory check-all

check-all: all
	$(Q)test/check.sh

e2e: all
	$(Q)/usr/bin/python3 -m pytest -q -p no:cacheprovider test/e2e

demo: deps
	$(Q)$(MAKE) --no-print-directory all
	$(Q)KEEP=$(KEEP) test/demo/demo.sh

fresh:
	$(Q)test/fresh.sh

# What an installation consists of, once: a tree under $(STAGE), which install copies and uninstall takes away by its names.
# Units are installed disabled: `systemctl enable --now weft-server` after init, weft-agent after join.
STAGE := $(B)/stage
stage: all
	$(Q)rm -rf $(STAGE); mkdir -p $(addprefix $(STAGE)/,bin lib/systemd/system lib/sysusers.d lib/tmpfiles.d \
	    share/bash-completion/completions share/zsh/site-functions share/fish/vendor_completions.d \
	    share/man/man1 share/man/man5 share/doc/weft)
	$(Q)cp $(B)/$(NAME) $(STAGE)/bin/
	$(Q)for u in systemd/weft-*; do sed 's,@BIN@,$(PREFIX)/bin,' $$u >$(STAGE)/lib/systemd/system/$${u##*/}; done
	$(Q)cp systemd/sysusers.conf $(STAGE)/lib/sysusers.d/weft.conf
	$(Q)cp systemd/tmpfiles.conf $(STAGE)/lib/tmpfiles.d/weft.conf
	$(Q)$(B)/$(NAME) completion bash >$(STAGE)/share/bash-completion/completions/weft
	$(Q)$(B)/$(NAME) completion zsh >$(STAGE)/share/zsh/site-functions/_weft
	$(Q)$(B)/$(NAME) completion fish >$(STAGE)/share/fish/vendor_completions.d/weft.fish
	$(Q)for p in $$($(B)/$(NAME) man); do $(B)/$(NAME) man $$p >$(STAGE)/share/man/man$${p##*.}/$$p; done
	$(Q)cp -r LICENSE README.md docs $(STAGE)/share/doc/weft/

install: stage
	$(Q)cd $(STAGE) && find . -type f | while read -r f; do \
	    m=644; [ "$${f#./bin/}" = "$$f" ] || m=755; install -D -m $$m "$$f" "$(DESTDIR)$(PREFIX)/$$f"; done

# Folders that are not ours alone go only from a DESTDIR, and only empty ones.
uninstall: stage
	$(Q)cd $(STAGE) && find . -type f | while read -r f; do rm -f "$(DESTDIR)$(PREFIX)/$$f"; done
	$(Q)[ ! -d "$(DESTDIR)$(PREFIX)/share/doc/weft" ] || find "$(DESTDIR)$(PREFIX)/share/doc/weft" -type d -empty -delete
	$(Q)[ -z "$(DESTDIR)" ] || find "$(DESTDIR)" -mindepth 1 -type d -empty -delete

bench: all
	$(Q)$(MAKE) --no-print-directory -s -C test/bench
	$(Q)test/bench/bench.sh

reference: all
	$(Q)$(B)/$(NAME) reference docs/reference

layers:
	$(Q)test/layers.sh $(DIRS)
	$(Q)test/behaviours.sh

format:
	clang-format -i $(wildcard $(addsuffix /*.[ch],$(DIRS))) $(wildcard test/*.h test/unit/*.c test/fuzz/*.c)

clean: ; rm -rf build/release build/asan build/tsan build/fuzz

.PHONY: reference all bench unit unit-programs stories soak soaks check check-all asan tsan fuzz fuzzers deps e2e demo fresh stage install uninstall layers format clean
.SECONDARY:
-include $(OBJ:.o=.d) $(TESTS:=.d) $(STORIES:=.d) $(SOAKS:=.d) $(FUZZ:=.d)
