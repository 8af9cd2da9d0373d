#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Calls the simulated CUDA libraries as it is told, one call a line of JSON on stdin.

  {"thread": NAME, "function": F, "arguments": [...]}
      calls F on the thread of that name (null: the main one), which is made where it is new, and
      prints {"result": N, "out": [HEX...]}. An argument is a number, {"pointer": HEX}: the address
      of these bytes, which are given back as they are after the call, or {"value": HEX}: a
      structure, passed by value.
      With "later": true it prints {} at once; {"thread": NAME, "end": true} prints the result.
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
    function = getattr(libraries["cudart" if name.startswith("cuda") else "cuda"], name)
    arguments = [argument(given, outs) for given in request["arguments"]]
    return {"result": function(*arguments), "out": [bytes(out).hex() for out in outs]}


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
    threads = {}
    say({"pid": os.getpid()})
    while line := sys.stdin.readline():
        request = json.loads(line)
        if "mappings" in request:
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
