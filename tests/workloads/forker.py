#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loads the CUDA runtime, and has a forked child (no exec) make the first call.

A line on stdin starts the child, which prints {"child": PID} and waits for a line of its own before
it allocates, prints {"child": PID, "phase": "allocated"} and stays until stdin ends.
"""
import ctypes
import json
import multiprocessing
import os
import sys


def say(**what):
    print(json.dumps(what), flush=True)


def first_allocation(runtime):
    ptr = ctypes.c_void_p()
    assert runtime.cudaMalloc(ctypes.byref(ptr), ctypes.c_size_t(1 << 20)) == 0


def child_main(runtime, stdin):
    say(child=os.getpid())
    os.read(stdin, 1)
    first_allocation(runtime)
    say(child=os.getpid(), phase="allocated")
    os.read(stdin, 1)


def main():
    runtime = ctypes.CDLL(os.path.join(os.environ.get("SIMCUDA_DIR", ""), "libcudart.so.13"))
    say(pid=os.getpid(), phase="loaded")
    os.read(0, 1)
    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=child_main, args=(runtime, os.dup(0)))
    child.start()
    child.join()


if __name__ == "__main__":
    sys.exit(main())
