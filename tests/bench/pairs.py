# SPDX-License-Identifier: Apache-2.0
"""Allocates and frees N times at a Python stack of DEPTH frames; see pair_cost.c.

usage: pairs.py CUDART DEPTH N
"""
import ctypes
import sys

cudart = ctypes.CDLL(sys.argv[1])
depth, pairs = int(sys.argv[2]), int(sys.argv[3])
ptr = ctypes.c_void_p()
malloc, free, place = cudart.cudaMalloc, cudart.cudaFree, ctypes.byref(ptr)


def at_depth(frames):
    if frames > 1:
        return at_depth(frames - 1)
    for _ in range(pairs):
        malloc(place, 4096)
        free(ptr)
    return None


def wait():
    print("here", flush=True)
    sys.stdin.readline()


cudart.cudaFree(None)  # initialises the driver
wait()
at_depth(depth - 1)  # the module is a frame too
wait()
