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
    directory = os.environ.get("SIMCUDA_DIR", "")
    runtime = ctypes.CDLL(os.path.join(directory, "libcudart.so.13"))
    # Ready before the fork: the child maps nothing by which it could be found before it calls.
    driver = ctypes.CDLL(os.path.join(directory, "libcuda.so.1"))
    assert driver.cuInit(0) == 0
    say(pid=os.getpid(), phase="loaded")
    os.read(0, 1)
    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=child_main, args=(runtime, os.dup(0)))
    child.start()
    child.join()


if __name__ == "__main__":
    sys.exit(main())
