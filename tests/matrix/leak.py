# SPDX-License-Identifier: Apache-2.0
"""Takes COUNT blocks in a chain of two named functions, says so, and keeps them until SIGTERM.

usage: leak.py LIBCUDART COUNT

Imports ctypes only: its files are all of Python's library that a guest has.
"""

import ctypes
import sys

cuda = ctypes.CDLL(sys.argv[1])


def fill_cache(count):
    for _ in range(count):
        pointer = ctypes.c_void_p()
        assert cuda.cudaMalloc(ctypes.byref(pointer), ctypes.c_size_t(4096)) == 0


def serve(count):
    fill_cache(count)
    print("allocated", flush=True)
    sys.stdin.read()


serve(int(sys.argv[2]))
