#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Allocates from many shapes of Python stacks and tells the interpreter's own account of each.

usage: stacks.py random SEED COUNT | deep DEPTH... | reuse | replace COUNT

It prints {"phase": "loaded"} when the CUDA runtime is mapped and waits for a line on stdin; then it
allocates and prints {"records": [[ptr, [[qualname, file, line], ...]], ...]}, innermost frame first,
and stays until the end of stdin. `reuse` does so once and again for each further line, each time from
a function that is made for this one call and deleted after that line; `replace` makes, calls and
deletes COUNT such functions at once.
"""

import asyncio
import ctypes
import functools
import gc
import json
import os
import random
import sys
import threading

SIZE = 4096
records = []
kept = []  # code objects: whoever reads a name later finds nothing where they are gone
malloc = None


def account(frame):
    frames = []
    while frame is not None:
        code = frame.f_code
        frames.append([code.co_qualname, code.co_filename, frame.f_lineno])
        frame = frame.f_back
    return frames


def take():
    pointer = ctypes.c_void_p()
    # In one line, as the line of the call is part of the account.
    status, frames = malloc(ctypes.byref(pointer), SIZE), account(sys._getframe())
    assert status == 0
    records.append([hex(pointer.value), frames])


def go_on(shapes):
    """Calls through the shapes in order, and allocates at the end."""
    if shapes:
        shapes[0](shapes[1:])
    else:
        take()


def run_source(source, file, rest):
    code = compile(source, file, "exec")
    kept.append(code)
    exec(code, {"go_on": go_on, "rest": rest})


# Ways to be on the stack. Each takes what is to be called below it.


def plain(rest):
    go_on(rest)


def many_lines(rest):
    return [
        len(rest),
        go_on(
            rest,
        ),
        len(rest),
    ]


class Server:
    def __init__(self, rest):
        self.rest = rest

    def method(self):
        go_on(self.rest)

    @classmethod
    def class_method(cls, rest):
        go_on(rest)

    @staticmethod
    def static_method(rest):
        go_on(rest)

    @property
    def attribute(self):
        go_on(self.rest)
        return 0

    def __call__(self):
        go_on(self.rest)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        go_on(self.rest)

    def __getattr__(self, name):
        go_on(self.rest)
        return name

    def __lt__(self, other):
        go_on(self.rest)
        return False

    class Inner:
        def method(self, rest):
            go_on(rest)


def in_method(rest):
    Server(rest).method()


def in_class_method(rest):
    Server.class_method(rest)


def in_static_method(rest):
    Server.static_method(rest)


def in_property(rest):
    return Server(rest).attribute


def in_call(rest):
    Server(rest)()


def in_exit(rest):
    with Server(rest):
        pass


def in_getattr(rest):
    return Server(rest).absent


def in_comparison(rest):
    return sorted([Server(rest), Server(rest)])


def in_inner_class(rest):
    Server.Inner().method(rest)


def in_class_body(rest):
    class Made:
        go_on(rest)

    return Made


def in_lambda(rest):
    (lambda: go_on(rest))()


def in_generator(rest):
    def produce():
        yield 1
        go_on(rest)
        yield 2

    return list(produce())


def in_yield_from(rest):
    def inner():
        yield 1
        go_on(rest)

    def outer():
        yield from inner()

    return sum(outer(), start=0)


def in_comprehension(rest):
    return [go_on(rest) for _ in range(1)]


def in_generator_expression(rest):
    return any(go_on(rest) for _ in range(1))


def in_dict_comprehension(rest):
    return {i: go_on(rest) for i in range(1)}


def simple_decorator(function):
    def wrapper(*args):
        return function(*args)

    return wrapper


@simple_decorator
@simple_decorator
def decorated(rest):
    go_on(rest)


def in_closure(rest):
    depth = 3

    def inner():
        nonlocal depth
        depth -= 1
        go_on(rest) if depth == 0 else inner()

    inner()


def in_except(rest):
    try:
        raise ValueError("first")
    except ValueError:
        try:
            {}["absent"]
        except KeyError:
            go_on(rest)


def in_finally(rest):
    try:
        try:
            raise ValueError("passing through")
        finally:
            go_on(rest)
    except ValueError:
        pass


def in_thread(rest):
    thread = threading.Thread(target=go_on, args=(rest,))
    thread.start()
    thread.join()


def in_eval(rest):
    code = compile("go_on(rest)", "<string>", "eval")
    kept.append(code)
    eval(code, {"go_on": go_on, "rest": rest})


def in_exec(rest):
    run_source("\n\n\ndef made():\n    go_on(rest)\n\nmade()\n", "<string>", rest)


def in_exec_lambda(rest):
    run_source("(lambda x:\n go_on(x))(rest)", "<string>", rest)


def größe_läuft(rest):
    go_on(rest)


def 数を数える(rest):
    go_on(rest)


def in_named_file(rest):
    run_source("\n\ngo_on(rest)\n", "/tmp/größe 数/\U0001f600\n.py", rest)


def in_undecodable_file(rest):
    run_source("go_on(rest)", "/tmp/bad\udc80.py", rest)


def in_renamed(rest):
    def inner():
        go_on(rest)

    inner.__code__ = inner.__code__.replace(co_qualname="\U0001f600")
    kept.append(inner.__code__)
    inner()


def in_callback(rest):
    """From C back into Python."""
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    compare = kind(lambda a, b: go_on(rest) or 0)
    numbers = (ctypes.c_int * 2)(1, 2)
    ctypes.CDLL(None).qsort(numbers, 2, ctypes.sizeof(ctypes.c_int), compare)


def in_map(rest):
    return list(map(go_on, [rest]))


def in_partial(rest):
    functools.partial(go_on, rest)()


def in_finalizer(rest):
    class Dying:
        def __del__(self):
            go_on(rest)

    dying = Dying()
    del dying


def in_operator(rest):
    class Number:
        def __add__(self, other):
            go_on(rest)
            return other

    return Number() + 1


def in_coroutine(rest):
    async def leaf():
        await asyncio.sleep(0)
        go_on(rest)

    async def branch():
        await leaf()

    async def root():
        await asyncio.gather(branch())

    def run():
        asyncio.run(root())

    # A loop cannot run inside of a loop; a thread of its own makes that no matter.
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def in_async_generator(rest):
    async def produce():
        yield 1
        go_on(rest)

    async def consume():
        return [i async for i in produce()]

    coroutine = consume()
    try:
        coroutine.send(None)
    except StopIteration:
        pass


def recursive(depth):
    def recurse(rest, left=depth):
        if left > 1:
            recurse(rest, left - 1)
        else:
            go_on(rest)

    return recurse


SHAPES = [
    plain, many_lines, in_method, in_class_method, in_static_method, in_property, in_call, in_exit,
    in_getattr, in_comparison, in_inner_class, in_class_body, in_lambda, in_generator,
    in_yield_from, in_comprehension, in_generator_expression, in_dict_comprehension, decorated,
    in_closure, in_except, in_finally, in_thread, in_eval, in_exec, in_exec_lambda, größe_läuft,
    数を数える, in_named_file, in_undecodable_file, in_renamed, in_callback, in_map, in_partial,
    in_finalizer, in_operator, in_coroutine, in_async_generator,
]  # fmt: skip


def allocate_at_random(seed, count):
    chance = random.Random(seed)
    for shape in SHAPES:  # each one alone, so that none is left to chance
        go_on([shape])
    for _ in range(count):
        shapes = [chance.choice(SHAPES) for _ in range(chance.randint(0, 8))]
        if chance.random() < 0.3:
            shapes.append(recursive(chance.randint(1, 100)))
        chance.shuffle(shapes)
        go_on(shapes)


def allocate_deep(depths):
    sys.setrecursionlimit(10000)
    for depth in depths:
        go_on([recursive(depth)])


def make_function(number):
    """All of them are of one size, so that the next one gets the address of the last."""
    name = f"made_{number:06}"
    namespace = {"take": take}
    exec(compile(f"def {name}():\n    take()\n", f"/made/{number:06}.py", "exec"), namespace)
    return namespace[name]


def report(**more):
    print(json.dumps({"records": records, **more}), flush=True)
    records.clear()


def allocate_reusing():
    number = 0
    while True:
        function = make_function(number)
        function()
        report(code=id(function.__code__))
        if not sys.stdin.readline():
            return
        del function
        gc.collect()  # it and its globals hold each other
        number += 1


def allocate_replacing(count):
    for number in range(count):
        make_function(number)()


def main():
    global malloc
    library = ctypes.CDLL(os.path.join(os.environ["SIMCUDA_DIR"], "libcudart.so.13"))
    malloc = library.cudaMalloc
    malloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    what, *numbers = sys.argv[1:]
    numbers = list(map(int, numbers))
    print(json.dumps({"phase": "loaded"}), flush=True)
    sys.stdin.readline()
    if what == "reuse":
        allocate_reusing()
        return
    if what == "random":
        allocate_at_random(*numbers)
    elif what == "deep":
        allocate_deep(numbers)
    else:
        allocate_replacing(*numbers)
    report()
    sys.stdin.read()


if __name__ == "__main__":
    main()
