#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Opens another process's memory twice, which gives one address, and closes it twice.

usage: ipc_twice.py LEDGER

After each call the ledger is written, {"pid": ..., "phase": ...} is printed, and a line on stdin is
waited for: opened, opened_again, closed_once, closed.
"""
import ctypes
import json
import os
import sys

DIRECTORY = os.environ.get("SIMCUDA_DIR", "")


class Handle(ctypes.Structure):
    _fields_ = [("reserved", ctypes.c_char * 64)]


def load(name):
    return ctypes.CDLL(os.path.join(DIRECTORY, name))


def check(error):
    if error:
        sys.exit(f"ipc_twice.py: CUDA error {error}")


def export_memory(to, until):
    """Holds the memory until its importer has ended."""
    os.close(0)
    os.close(1)
    runtime, ptr, handle = load("libcudart.so.13"), ctypes.c_void_p(), Handle()
    check(runtime.cudaMalloc(ctypes.byref(ptr), ctypes.c_size_t(1 << 20)))
    check(runtime.cudaIpcGetMemHandle(ctypes.byref(handle), ptr))
    os.write(to, bytes(handle))
    os.read(until, 1)
    os._exit(0)


def main():
    (ready, to), (until, alive) = os.pipe(), os.pipe()
    if os.fork() == 0:
        os.close(alive)
        export_memory(to, until)
    handle = Handle.from_buffer_copy(os.read(ready, 64))
    runtime, driver, ptr = load("libcudart.so.13"), load("libcuda.so.1"), ctypes.c_void_p()

    def open_memory():
        return runtime.cudaIpcOpenMemHandle(ctypes.byref(ptr), handle, 1)

    def close_memory():
        return runtime.cudaIpcCloseMemHandle(ptr)

    phases = ("opened", open_memory), ("opened_again", open_memory)
    phases += ("closed_once", close_memory), ("closed", close_memory)
    for phase, call in phases:
        check(call())
        check(driver.simcuda_ledger_write(sys.argv[1].encode()))
        print(json.dumps({"pid": os.getpid(), "phase": phase}), flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main()
