#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Calls the simulated CUDA libraries as it is told, one call a line of JSON on stdin.

  {"thread": NAME, "function": F, "arguments": [...]}
      calls F on the thread of that name (null: the main one), which is made where it is new, and
      prints {"result": N, "out": [HEX...]}. An argument is a number, {"pointer": HEX}: the address
      of these bytes, which are given back as they are after the call, or {"value": HEX}: a
      structure, passed by value.
      With "later": true it prints {} at once; {"thread": NAME, "end": true} prints the result.
  {"patch": F, "bytes": N, "result": R}
      writes a jump of N bytes (5 or 12) over F's beginning, to code that returns R, as hooking
      tools do, and prints {}; {"unpatch": F} writes back what was there
  {"filter": true}          gets a seccomp filter that ends it at a system call of the probes'
                            (uretprobe, uprobe), as lists of allowed ones do, and prints {}
  {"environment_from": FILE}  maps the file where its environment is, and prints {}
  {"mappings": true}        a thread maps and unmaps memory from now on, and prints {}
  {"exec": true}            becomes the same program anew
  {"fork": [FIFO, FIFO]}    a child does the same, with these for stdin and stdout

Once it is ready (or a child, or anew) it prints {"pid": PID}; the end of stdin ends it.
"""
import ctypes
import json
import mmap
import os
import queue
import struct
import sys
import threading

DIRECTORY = os.environ.get("SIMCUDA_DIR", "")
DRIVER = os.environ.get("SIMCUDA_DRIVER", "libcuda.so.1")


class Thread:
    """Does one thing after another."""

    def __init__(self):
        self.todo, self.done = queue.Queue(), queue.Queue()
        threading.Thread(target=self.main, daemon=True).start()

    def main(self):
        while True:
            self.done.put(call(self.todo.get()))

    def call(self, request):
        self.todo.put(request)
        return self.done.get()


def argument(given, outs):
    if isinstance(given, int):
        return ctypes.c_uint64(given)
    ((how, text),) = given.items()
    data = bytes.fromhex(text)
    if how == "pointer":
        outs.append(ctypes.create_string_buffer(data, len(data)))
        return outs[-1]
    fields = [("bytes", ctypes.c_char * len(data))]
    return type("Value", (ctypes.Structure,), {"_fields_": fields}).from_buffer_copy(data)


def call(request):
    name, outs = request["function"], []
    function = function_of(name)
    arguments = [argument(given, outs) for given in request["arguments"]]
    return {"result": function(*arguments), "out": [bytes(out).hex() for out in outs]}


def function_of(name):
    return getattr(libraries["cudart" if name.startswith("cuda") else "cuda"], name)


libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
ALL = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
MAP_FIXED, MAP_FIXED_NOREPLACE = 0x10, 0x100000


class Patch:
    """A jump over the beginning of a function."""

    def __init__(self, name, length, result):
        self.address = ctypes.cast(function_of(name), ctypes.c_void_p).value
        hook = self.place(bytes([0xB8]) + struct.pack("<i", result) + bytes([0xC3]))
        if length == 5:
            jump = bytes([0xE9]) + struct.pack("<i", hook - self.address - length)
        else:  # movabs $hook, %rax; jmp *%rax
            jump = bytes([0x48, 0xB8]) + struct.pack("<Q", hook) + bytes([0xFF, 0xE0])
        self.saved = ctypes.string_at(self.address, length)
        self.write(jump)

    def place(self, code):
        """Near enough for a relative jump."""
        near, failed = self.address & -mmap.PAGESIZE, ctypes.c_void_p(-1).value
        flags, page = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, failed
        while page == failed:
            near -= 1 << 20
            page = libc.mmap(ctypes.c_void_p(near), mmap.PAGESIZE, ALL, flags, -1, 0)
        ctypes.memmove(page, code, len(code))
        return page

    def write(self, code):
        page = ctypes.c_void_p(self.address & -mmap.PAGESIZE)
        assert libc.mprotect(page, 2 * mmap.PAGESIZE, ALL) == 0
        ctypes.memmove(self.address, code, len(code))
        assert libc.mprotect(page, 2 * mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC) == 0


FORBIDDEN = 335, 336, 500  # x86-64: uretprobe, uprobe, and one that there is not
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # of classic BPF


def set_filter():
    code = b"".join(
        struct.pack("<HBBI", *instruction)
        for instruction in (
            (LOAD, 0, 0, 0),  # the number of the call
            (EQUAL, 3, 0, FORBIDDEN[0]),
            (EQUAL, 2, 0, FORBIDDEN[1]),
            (EQUAL, 1, 0, FORBIDDEN[2]),
            (RETURN, 0, 0, ALLOW),
            (RETURN, 0, 0, KILL_PROCESS),
        )
    )
    kept = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("<H6xQ", len(code) // 8, ctypes.addressof(kept))
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) == 0


def map_environment(path):
    """But for the page that it begins in, as the stack ends there. Nobody here looks at it again."""
    with open("/proc/self/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    start, end = (int(fields[47]) | mmap.PAGESIZE - 1) + 1, int(fields[48]) & -mmap.PAGESIZE
    with open(path, "rb") as f:
        flags = mmap.MAP_PRIVATE | MAP_FIXED
        place = ctypes.c_void_p(start)
        assert libc.mmap(place, end - start, mmap.PROT_READ, flags, f.fileno(), 0) == start


def load():
    names = {"cudart": "libcudart.so.13", "cuda": DRIVER}
    return {key: ctypes.CDLL(os.path.join(DIRECTORY, name)) for key, name in names.items()}


def say(what):
    print(json.dumps(what), flush=True)


def map_and_unmap():
    while True:
        mmap.mmap(-1, 1 << 20).close()


def become_child(ways):
    for descriptor, (path, flags) in enumerate(zip(ways, (os.O_RDONLY, os.O_WRONLY))):
        opened = os.open(path, flags)
        os.dup2(opened, descriptor)
        os.close(opened)
    say({"pid": os.getpid()})


def main():
    threads, patches = {}, {}
    say({"pid": os.getpid()})
    while line := sys.stdin.readline():
        request = json.loads(line)
        if "patch" in request:
            name = request["patch"]
            patches[name] = Patch(name, request["bytes"], request["result"])
            say({})
        elif "unpatch" in request:
            patch = patches.pop(request["unpatch"])
            patch.write(patch.saved)
            say({})
        elif "filter" in request:
            set_filter()
            say({})
        elif "environment_from" in request:
            map_environment(request["environment_from"])
            say({})
        elif "mappings" in request:
            threading.Thread(target=map_and_unmap, daemon=True).start()
            say({})
        elif "exec" in request:
            os.execv(sys.executable, [sys.executable, *sys.argv])
        elif "fork" in request:
            if os.fork() == 0:
                become_child(request["fork"])
        elif request["thread"] is None:
            say(call(request))
        else:
            name = request["thread"]
            if name not in threads:
                threads[name] = Thread()
            if "end" in request:
                say(threads[name].done.get())
            elif "later" in request:
                threads[name].todo.put(request)
                say({})
            else:
                say(threads[name].call(request))


if __name__ == "__main__":
    libraries = load()
    main()
