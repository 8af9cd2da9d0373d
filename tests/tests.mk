# SPDX-License-Identifier: Apache-2.0
# Fixtures (simulated CUDA, workloads), tests, linters.

C_FILES := $(wildcard bpf/*.[ch] daemon/*.[ch] cli/*.[ch] cli/*/*.[ch] include/*.h tests/*/*.[ch] tests/*/*/*.[ch])

# Simulated CUDA. Every export begins with `push`, as NVIDIA's do: the first instruction decides what
# a probe costs.
SIM := $(TOP)/simcuda
SIM_CFLAGS := -std=gnu11 $(WARNINGS) -D_GNU_SOURCE -Iinclude -O1 -g -fPIC -fvisibility=hidden \
	-fno-omit-frame-pointer -fcf-protection=none -fno-shrink-wrap \
	-fno-optimize-sibling-calls -fno-ipa-icf
SIM_HEADERS := $(wildcard tests/simcuda/*.h) include/macro.h
SIM_RUNTIME := $(wildcard tests/simcuda/runtime_*.c) tests/simcuda/errors.c
SIM_DRIVER := $(filter-out $(wildcard tests/simcuda/runtime_*.c),$(wildcard tests/simcuda/*.c))

$(SIM)/libcuda.so.1: $(SIM_DRIVER) $(SIM_HEADERS) | $(SIM)/
	$(call say,SIM,$@)$(CC) $(SIM_CFLAGS) -shared -Wl,-soname,$(@F) -Wl,-z,defs -o $@ $(SIM_DRIVER)

$(SIM)/libcudart.so.%: $(SIM_RUNTIME) $(SIM_HEADERS) | $(SIM)/
	$(call say,SIM,$@)$(CC) $(SIM_CFLAGS) -DSIMCUDA_RUNTIME_VERSION=$*000 -shared \
		-Wl,-soname,$(@F) -Wl,-z,defs -Wl,-rpath,'$$ORIGIN' -o $@ $(SIM_RUNTIME)

# Programs to watch, with frame pointers and symbols, as the frames of their stacks are compared.
WORKLOADS := $(patsubst tests/workloads/%.c,$(TOP)/workloads/%,$(wildcard tests/workloads/*.c)) \
	$(TOP)/workloads/churn
WORKLOAD_CFLAGS := -std=gnu11 $(WARNINGS) -D_GNU_SOURCE -Iinclude -Itests/simcuda -O1 -g \
	-fno-omit-frame-pointer -fno-optimize-sibling-calls -rdynamic

$(TOP)/workloads/%: tests/workloads/%.c tests/simcuda/open.h include/api.h include/macro.h | $(TOP)/workloads/
	$(call say,CC,$<)$(CC) $(WORKLOAD_CFLAGS) $< -o $@ -lpthread -ldl -lm

$(TOP)/workloads/churn: $(wildcard tests/workloads/churn/*.[ch]) tests/simcuda/open.h include/api.h \
		include/macro.h | \
		$(TOP)/workloads/
	$(call say,CC,$@)$(CC) $(WORKLOAD_CFLAGS) $(filter %.c,$^) -o $@ -lpthread -ldl

fixtures: $(SIM)/libcuda.so.1 $(SIM)/libcudart.so.12 $(SIM)/libcudart.so.13 $(WORKLOADS)

# Unit tests: one program a file, against the daemon's own objects.
UNIT := $(patsubst tests/unit/%.c,$(B)/unit/%,$(wildcard tests/unit/*.c))

$(B)/unit/%: tests/unit/%.c $(LIBRARY) | $(B)/unit/
	$(call say,CC,$<)$(CC) $(ALL_CFLAGS) -I. -Itests/simcuda -MMD -MP $< $(LIBRARY) \
		-Wl,--as-needed $(LDFLAGS) $(DAEMON_LIBS) -lcmocka -lm -ldl -lpthread -o $@

# Fuzz targets: the daemon's objects once more, with what libFuzzer needs to see. FUZZ="--seconds N"
FUZZ_SAFETY := -fno-omit-frame-pointer -fsanitize=fuzzer-no-link$(comma)address$(comma)undefined \
	-fno-sanitize-recover=undefined
FUZZ_TARGETS := $(patsubst tests/fuzz/%.c,$(TOP)/fuzz/%,$(wildcard tests/fuzz/*.c))

$(TOP)/fuzz/%: tests/fuzz/%.c tests/fuzz/fuzz.h $(LIBRARY) | $(TOP)/fuzz/
	$(call say,CC,$<)$(CC) $(ALL_CFLAGS) -I. -fsanitize=fuzzer $< $(LIBRARY) $(DAEMON_LIBS) -o $@

fuzz-targets: $(FUZZ_TARGETS)

fuzz-programs:
	$(MAKE) TOP=build/fuzz CC=$(CLANG) WARNINGS="-Wall -Wextra" SAFETY="$(FUZZ_SAFETY)" SANITIZE= fuzz-targets

fuzz: deps
	$(MAKE) fuzz-programs
	tests/fuzz/run.py $(FUZZ)

# Measurements; nothing in them passes or fails. What is called is compiled like simulated CUDA, so
# that it begins with `push` and has frame pointers.
BENCH := $(addprefix $(TOP)/bench/,armed flood pairs pairs.so functions.so)

$(TOP)/bench/armed: tests/bench/armed.c $(TOP)/libdaemon.a | $(TOP)/bench/
	$(call say,CC,$<)$(CC) $(ALL_CFLAGS) -I. -MMD -MP $< $(TOP)/libdaemon.a $(LDFLAGS) $(DAEMON_LIBS) -o $@

$(TOP)/bench/flood.skel.h: tests/bench/flood.bpf.c tests/bench/flood.h $(BPF_HEADERS) | $(TOP)/bench/
	$(call say,BPF,$<)$(CLANG) $(BPF_CFLAGS) -Itests/bench -c $< -o $(TOP)/bench/flood.bpf.o
	$(BPFTOOL) gen skeleton $(TOP)/bench/flood.bpf.o name flood_bpf > $@.tmp && mv $@.tmp $@

$(TOP)/bench/flood: tests/bench/flood.c $(TOP)/bench/flood.skel.h
	$(call say,CC,$<)$(CC) $(ALL_CFLAGS) -I. -I$(TOP)/bench $< $(LDFLAGS) -lbpf -lelf -lz -o $@

$(TOP)/bench/%.so: tests/bench/%.c include/macro.h | $(TOP)/bench/
	$(call say,CC,$<)$(CC) $(SIM_CFLAGS) -fvisibility=default -shared $< -o $@ -lpthread -ldl

$(TOP)/bench/pairs: tests/bench/pairs.c include/macro.h | $(TOP)/bench/
	$(call say,CC,$<)$(CC) $(SIM_CFLAGS) $< -o $@ -lpthread -ldl

bench: deps
	packaging/deps.sh mmdebstrap
	$(MAKE) all fixtures bench-programs large
	tests/bench/peer.sh
	tests/bench/bench.py

bench-programs: $(BENCH)

# A daemon with room for what the usual one refuses.
LARGE_BOUNDS := LIVE_MAX=16777216

large:
	$(MAKE) TOP=build/large BOUNDS="$(addprefix -D,$(LARGE_BOUNDS))" build/large/srtleakd

# Other kernels, emulated.
matrix:
	packaging/deps.sh qemu-system-x86 busybox-static cpio
	$(MAKE) all fixtures
	tests/matrix/run.sh

# The Debian package under systemd, emulated.
system:
	packaging/deps.sh qemu-system-x86 cpio mmdebstrap
	$(MAKE) deb
	$(MAKE) fixtures
	tests/system/run.sh

# Daemons whose limits are soon reached, and one that loses events all the time.
SMALL_BOUNDS := RING_BYTES=16384 HISTORY_INTERVAL_S=1 SILENCE_S=5 BUDGET_WINDOW_S=1 BUDGET_CALM=2
NARROW_BOUNDS := PROCESSES_MAX=64 LIVE_MAX=49152 LIVE_OWN=64 THREADS_MAX=512 HANDLES_MAX=16384 RING_BYTES=65536 \
	LIBRARIES_MAX=64 LIBRARY_ONES_MAX=4 UNUSED_S=2

small:
	$(MAKE) TOP=build/small BOUNDS="$(addprefix -D,$(SMALL_BOUNDS))" \
		build/small$(if $(SANITIZE),/sanitize)/srtleakd
	$(MAKE) TOP=build/narrow BOUNDS="$(addprefix -D,$(NARROW_BOUNDS))" \
		build/narrow$(if $(SANITIZE),/sanitize)/srtleakd

# The same on another kernel.
$(B)/unsafe/srtleakd: $(B)/daemon/main.o tests/integration/unsafe_returns.c $(LIBRARY) | $(B)/unsafe/
	$(call say,LINK,$@)$(CC) $(ALL_CFLAGS) -I. $(LDFLAGS) $^ $(DAEMON_LIBS) -o $@

tests: fixtures $(UNIT) $(if $(SANITIZE),,bench-programs) gpu all small $(B)/unsafe/srtleakd

# For long what the integration tests do for a minute. OPERATIONS=N, SEED=N
soak: deps
	$(MAKE) tests
	SIMCUDA_DIR=$(SIM) SOAK_OPERATIONS=$(OPERATIONS) SOAK_SEED=$(SEED) \
		$(PYTHON) -m pytest -q -s -p no:cacheprovider tests/integration/soak.py

check: deps
	$(MAKE) tests
	$(MAKE) tests SANITIZE=1
	$(MAKE) fuzz-programs
	tests/run.py

lint: lint-format lint-tidy lint-cppcheck

lint-format:
	$(call say,FORMAT,check)clang-format --dry-run -Werror $(C_FILES)

lint-tidy: $(SKELETONS)
	$(call say,TIDY,sources)printf '%s\n' $(wildcard daemon/*.c cli/*.c cli/*/*.c) | \
		xargs -P $(shell nproc) -n 8 sh -c \
		'clang-tidy --quiet "$$@" -- -std=gnu11 $(CPPFLAGS) 2>&1' sh

# It does not know the cleanup attribute (memleak, resourceLeak: LeakSanitizer does the work), nor
# macros of libraries.
lint-cppcheck: $(SKELETONS)
	$(call say,CPPCHECK,sources)cppcheck -j$(shell nproc) --quiet --std=c11 --error-exitcode=1 \
		--enable=warning,performance,portability --suppress=missingIncludeSystem \
		--suppress=memleak --suppress=resourceLeak \
		'-DLIBBPF_OPTS(type,name,...)=struct type name = {}' \
		'-DLIST_HEAD(name,type)=struct {struct type *first;}' \
		'-DLIST_ENTRY(type)=struct {struct type *next;}' \
		-D_GNU_SOURCE -D__x86_64__ -Iinclude -I$(TOP)/gen daemon cli

.PHONY: lint-cppcheck fixtures fuzz fuzz-programs fuzz-targets small large bench bench-programs matrix system tests soak check lint lint-format lint-tidy
