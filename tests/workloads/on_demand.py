#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does on each line of stdin what that says, then prints {"pid": PID, "did": WORD}.

  alloc COUNT SIZE      takes COUNT blocks of SIZE bytes
  free SIZE             gives back all blocks of that size
  ledger PATH           writes what is outstanding
  exec PROGRAM ARG...   becomes another program, and prints nothing
"""
import ctypes
import json
import os
import sys

DIRECTORY = os.environ.get("SIMCUDA_DIR", "")
blocks = {}


def say(did):
    print(json.dumps({"pid": os.getpid(), "did": did}), flush=True)


def alloc(runtime, count, size):
    for _ in range(int(count)):
        ptr = ctypes.c_void_p()
        assert runtime.cudaMalloc(ctypes.byref(ptr), ctypes.c_size_t(int(size))) == 0
        blocks.setdefault(int(size), []).append(ptr)


def free(runtime, size):
    for ptr in blocks.pop(int(size)):
        assert runtime.cudaFree(ptr) == 0


def main():
    runtime = ctypes.CDLL(os.path.join(DIRECTORY, "libcudart.so.13"))
    driver = ctypes.CDLL(os.path.join(DIRECTORY, "libcuda.so.1"))
    say("load")
    for line in sys.stdin:
        word, *arguments = line.split()
        if word == "exec":
            os.execv(arguments[0], arguments)
        elif word == "ledger":
            assert driver.simcuda_ledger_write(arguments[0].encode()) == 0
        else:
            {"alloc": alloc, "free": free}[word](runtime, *arguments)
        say(word)


if __name__ == "__main__":
    main()
