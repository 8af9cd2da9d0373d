# SPDX-License-Identifier: Apache-2.0
# What tests/gpu/run.py runs.
#
# make gpu          a program that uses CUDA, and a tracer of the functions that a process calls
# make gpu-bundle   the same and the daemon, with the libraries that they need, to be carried to a
#                   host that can install nothing

GPU := $(TOP)/gpu
GPU_TRACER := tests/gpu/calls.c daemon/link.c
GPU_PROGRAM := $(filter-out $(GPU_TRACER) tests/gpu/calls.bpf.c,$(wildcard tests/gpu/*.c))
GPU_HEADERS := $(wildcard tests/gpu/*.h tests/simcuda/*.h) include/macro.h
GPU_CFLAGS := -std=gnu11 $(WARNINGS) -D_GNU_SOURCE -Iinclude -Itests/simcuda -O1 -g \
	-fno-omit-frame-pointer
CUDART_STATIC := $(firstword $(wildcard /usr/local/cuda*/lib64/libcudart_static.a \
	/usr/local/cuda*/lib/libcudart_static.a /usr/local/cuda*/targets/*/lib/libcudart_static.a))

$(GPU)/calls.bpf.o: tests/gpu/calls.bpf.c tests/gpu/calls.h | $(GPU)/
	$(call say,BPF,$<)$(CLANG) -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror \
		-D__TARGET_ARCH_$(ARCH) -idirafter /usr/include/$(shell uname -m)-linux-gnu -c $< -o $@

$(GPU)/calls.skel.h: $(GPU)/calls.bpf.o
	$(call say,SKEL,$@)$(BPFTOOL) gen skeleton $< name calls_bpf > $@

$(GPU)/calls: $(GPU_TRACER) $(GPU)/calls.skel.h daemon/link.h include/uapi.h
	$(call say,CC,$@)$(CC) -std=gnu11 $(WARNINGS) -D_GNU_SOURCE -I. -Iinclude -I$(GPU) -O2 -g \
		$(GPU_TRACER) -lbpf -lelf -lz -o $@

$(GPU)/program: $(GPU_PROGRAM) $(GPU_HEADERS) | $(GPU)/
	$(call say,CC,$@)$(CC) $(GPU_CFLAGS) $(GPU_PROGRAM) -ldl -o $@

# With the runtime linked in, as nvcc does unless told otherwise.
$(GPU)/program-static: $(GPU_PROGRAM) $(GPU_HEADERS) $(CUDART_STATIC) | $(GPU)/
	$(call say,CC,$@)$(CC) $(GPU_CFLAGS) -DSTATIC_CUDART $(GPU_PROGRAM) $(CUDART_STATIC) \
		-ldl -lrt -lpthread -o $@

gpu: $(GPU)/calls $(GPU)/program $(if $(CUDART_STATIC),$(GPU)/program-static)

gpu-bundle: all gpu
	rm -rf $(GPU)/lib && mkdir $(GPU)/lib
	ldd $(TOP)/srtleakd $(TOP)/srtleakctl $(GPU)/calls | awk '$$2 == "=>" { print $$3 }' | sort -u | \
		grep -vE '/(libc|libm|libdl|libpthread|librt)\.so' | xargs cp -Lt $(GPU)/lib

.PHONY: gpu gpu-bundle
