# SPDX-License-Identifier: Apache-2.0
# make            build srtleakd and srtleakctl into build/
# make deps       install what building and testing needs (Debian 12, root)
# make demo       the whole path once, on real processes
# make check      all tests
# make install    into $(DESTDIR)$(PREFIX); uninstall; deb: a Debian package
# BOUNDS=-D…      other limits (include/bounds.h), with TOP=build/… to keep the build apart; for tests
# SANITIZE=1      AddressSanitizer and UndefinedBehaviorSanitizer, in build/sanitize
# V=1             show the commands

MAKEFLAGS += --no-builtin-rules --no-print-directory $(if $(V),,--silent)
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc)
endif
.DELETE_ON_ERROR:
.SECONDARY:

CC := gcc
CLANG := clang
BPFTOOL := $(shell command -v bpftool || echo /usr/sbin/bpftool)
PYTHON := /usr/bin/python3

comma := ,
TOP := build
B := $(TOP)$(if $(SANITIZE),/sanitize)
say = $(if $(V),,printf '  %-8s %s\n' $(1) $(2);)

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wformat=2 -Wundef -Werror
override CPPFLAGS += -D_GNU_SOURCE -Iinclude -I$(TOP)/gen $(BOUNDS)
CFLAGS ?= -O2 -g
SAFETY := -fstack-protector-strong -fno-omit-frame-pointer \
	$(if $(SANITIZE),-fsanitize=address$(comma)undefined -fno-sanitize-recover=undefined,\
	-D_FORTIFY_SOURCE=2)
ALL_CFLAGS = -std=gnu11 $(WARNINGS) $(CPPFLAGS) $(SAFETY) $(CFLAGS)
LDFLAGS += $(if $(SANITIZE),-fsanitize=address$(comma)undefined,-Wl$(comma)-z$(comma)relro$(comma)-z$(comma)now)

DAEMON_LIBS := -lbpf -lelf -lz -lsystemd -ljansson -lmicrohttpd -linih -liberty -lseccomp
CLI_LIBS := -lbpf -lelf -ljansson -lncursesw -ltinfo

DAEMON_OBJECTS := $(patsubst %.c,$(B)/%.o,$(wildcard daemon/*.c))
CLI_OBJECTS := $(patsubst %.c,$(B)/%.o,$(wildcard cli/*.c cli/*/*.c))
# What the client shares with the daemon: doctor looks for libraries and probes as it does.
CLI_SHARED := $(addprefix $(B)/daemon/,libsearch.o survey.o elf_file.o names.o)
LIBRARY := $(B)/libdaemon.a

all: $(B)/srtleakd $(B)/srtleakctl

deps:
	packaging/deps.sh

# BPF

ARCH := $(shell uname -m | sed 's/x86_64/x86/; s/aarch64/arm64/')
BPF_HEADERS := $(wildcard bpf/*.h) include/api.h include/event.h include/bounds.h \
	include/share.h include/python_layout.h include/mapped_file.h

BPF_CFLAGS = -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter \
	-D__TARGET_ARCH_$(ARCH) $(BOUNDS) -Iinclude -Ibpf \
	-idirafter /usr/include/$(shell uname -m)-linux-gnu

SKELETONS := $(patsubst bpf/%.bpf.c,$(TOP)/gen/%.skel.h,$(wildcard bpf/*.bpf.c))

$(TOP)/gen/%.bpf.o: bpf/%.bpf.c $(BPF_HEADERS) | $(TOP)/gen/
	$(call say,BPF,$<)$(CLANG) $(BPF_CFLAGS) -c $< -o $@.tmp
	$(BPFTOOL) gen object $@ $@.tmp && rm $@.tmp

$(TOP)/gen/%.skel.h: $(TOP)/gen/%.bpf.o
	$(call say,SKEL,$@)$(BPFTOOL) gen skeleton $< name $*_bpf > $@

# User space

# What was compiled with other flags is compiled again.
$(B)/flags: FORCE | $(B)/
	printf '%s\n' '$(CC) $(ALL_CFLAGS)' | cmp -s - $@ || printf '%s\n' '$(CC) $(ALL_CFLAGS)' > $@

$(B)/%.o: %.c $(B)/flags | $(SKELETONS)
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(LIBRARY): $(filter-out %/main.o,$(DAEMON_OBJECTS))
	rm -f $@ && ar rcs $@ $^

$(B)/srtleakd: $(B)/daemon/main.o $(LIBRARY)
	$(call say,LINK,$@)$(CC) $(LDFLAGS) $^ $(DAEMON_LIBS) -o $@

$(B)/srtleakctl: $(CLI_OBJECTS) $(CLI_SHARED)
	$(call say,LINK,$@)$(CC) $(LDFLAGS) $^ $(CLI_LIBS) -o $@

%/:
	mkdir -p $@

-include $(wildcard $(B)/*/*.d $(B)/*/*/*.d)

include tests/tests.mk
include tests/gpu/gpu.mk
include packaging/packaging.mk

demo: deps
	$(MAKE) all fixtures
	tests/demo.sh

clean:
	rm -rf $(TOP)

format:
	clang-format -i $(C_FILES)

.PHONY: all deps demo clean format FORCE
