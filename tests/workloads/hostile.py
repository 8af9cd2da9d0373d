#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Allocates under names that nobody should trust: of the thread, of a function and of its file.

usage: hostile.py NAME [ANYTHING...]

NAME becomes the process's comm, and the name of a function and a file. It prints
{"phase": "loaded"}, waits for a line on stdin, allocates, prints {"phase": "allocated"} and stays
until the end of stdin.
"""

import ctypes
import json
import os
import sys

PR_SET_NAME = 15


def main():
    name = sys.argv[1]
    ctypes.CDLL(None).prctl(PR_SET_NAME, os.fsencode(name), 0, 0, 0)
    library = ctypes.CDLL(os.path.join(os.environ["SIMCUDA_DIR"], "libcudart.so.13"))
    library.cudaMalloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    pointer = ctypes.c_void_p()

    def allocate():
        assert library.cudaMalloc(ctypes.byref(pointer), 4096) == 0

    code = allocate.__code__.replace(co_qualname=name, co_filename="/tmp/" + name)
    allocate.__code__ = code
    print(json.dumps({"phase": "loaded"}), flush=True)
    sys.stdin.readline()
    allocate()
    print(json.dumps({"phase": "allocated"}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
