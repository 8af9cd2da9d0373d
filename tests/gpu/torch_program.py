# SPDX-License-Identifier: Apache-2.0
"""Uses PyTorch's allocators, on command.

usage: torch_program.py native|expandable|async
       torch_program.py --owner       own a tensor that another process opens

Reads commands from stdin, one a line; tells what it does on stdout in JSON lines:
  {"call":WHAT,"from":NS,"to":NS,"result":0 or TEXT}      a step
  {"kept":{"kind","api","ptr","size"}}                    what it holds
  {"done":COMMAND,"result":0 or TEXT}                     at last
"""

import base64
import json
import pickle
import random
import subprocess
import sys
import time

MIB = 1 << 20
SPEED_S = 1.0


def say(**what):
    print(json.dumps(what), flush=True)


def step(name, function, *arguments, **options):
    """Tells what it does; returns None where that fails, so that others go on."""
    begin, result, value = time.monotonic_ns(), 0, None
    try:
        value = function(*arguments, **options)
    except Exception as error:  # pylint: disable=broad-except
        result = f"{type(error).__name__}: {error}"[:200].splitlines()[0]
    say(call=name, **{"from": begin}, to=time.monotonic_ns(), result=result)
    return value


def block(size, **options):
    import torch

    options.setdefault("device", "cuda")
    return torch.empty(size, dtype=torch.uint8, **options)


def captured():
    """A graph that allocates when it is captured."""
    import torch

    graph = torch.cuda.CUDAGraph()
    source = torch.ones(MIB, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        target = source + source
    return graph, source, target


def owner():
    import torch
    import torch.multiprocessing.reductions as reductions

    tensor = block(40 * MIB)
    torch.cuda.synchronize()
    handle = pickle.dumps(reductions.reduce_tensor(tensor))
    print(base64.b64encode(handle).decode(), flush=True)
    sys.stdin.read()


class Program:
    def __init__(self, backend):
        self.backend = backend
        self.held = []
        self.owners = []

    def load(self):
        import torch

        step("torch.cuda.init", torch.cuda.init)
        step("torch.empty(1 B)", block, 1)
        say(version=torch.__version__, backend=torch.cuda.get_allocator_backend())

    def open_other(self):
        """A tensor of another process."""
        child = subprocess.Popen(
            [sys.executable, __file__, "--owner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.owners.append(child)
        line = child.stdout.readline()
        if not line:
            raise RuntimeError("the other process cannot share its tensor")
        function, arguments = pickle.loads(base64.b64decode(line))
        return function(*arguments)

    def use(self):
        """Takes memory in every way; on return it is unused, and still in the caches."""
        import torch

        held = [
            step("torch.empty(1 KiB)", block, 1024),
            step("torch.empty(4 MiB)", block, 4 * MIB),
            step("torch.empty(40 MiB)", block, 40 * MIB),
            step("torch.empty(40 MiB) once more", block, 40 * MIB),
            step("torch.empty(1 MiB), pinned", block, MIB, device="cpu", pin_memory=True),
        ]
        square = step("torch.ones(512, 512)", torch.ones, (512, 512), device="cuda")
        held.append(step("matrix product (cuBLAS)", lambda: square @ square))
        graph = step("capture a graph", captured)
        if graph:
            step("replay a graph", graph[0].replay)
        held.append(step("open a tensor of another process", self.open_other))
        step("synchronize", torch.cuda.synchronize)
        if graph:
            step("drop a graph", graph[0].reset)

    def calls(self):
        import torch

        self.use()
        step("torch.cuda.empty_cache", torch.cuda.empty_cache)

    def segments(self):
        """What the allocator holds of the driver."""
        import torch

        if self.backend == "async":  # has no segments: each tensor is an allocation
            tensors = [t for t in self.held if hasattr(t, "is_cuda") and t.is_cuda]
            return [("device", "cudaMallocAsync", t.data_ptr(), t.numel(), False) for t in tensors]
        found = []
        for segment in torch.cuda.memory_snapshot():
            expandable = segment.get("is_expandable", False)
            kind, api = ("vmm", "cuMemCreate") if expandable else ("device", "cudaMalloc")
            found.append((kind, api, segment["address"], segment["total_size"], expandable))
        return found

    def tell_kept(self):
        for kind, api, address, size, is_range in self.segments():
            entry = {"kind": kind, "api": api, "ptr": hex(address), "size": size}
            say(kept={**entry, "range": True} if is_range else entry)
        for entry in self.held:
            if isinstance(entry, dict):
                say(kept=entry)

    def keep(self):
        import torch

        step("torch.cuda.empty_cache", torch.cuda.empty_cache)
        sizes = [512, MIB, 3 * MIB, 24 * MIB, 100 * MIB]
        self.held = [step(f"torch.empty({s})", block, s) for s in sizes]
        self.held = [tensor for tensor in self.held if tensor is not None]
        pinned = step("torch.empty, pinned", block, MIB, device="cpu", pin_memory=True)
        if pinned is not None:
            entry = {"kind": "host", "api": "cudaHostAlloc", "ptr": hex(pinned.data_ptr())}
            self.held += [pinned, {**entry, "size": MIB}]
        if self.backend == "native":
            other = step("open a tensor of another process", self.open_other)
            if other is not None:
                entry = {"kind": "ipc", "api": "cudaIpcOpenMemHandle", "ptr": hex(other.data_ptr())}
                self.held += [[other], {**entry, "size": None}]
            graph = step("capture a graph", captured)
            if graph:
                entry = {"kind": "graph", "api": "cudaGraphInstantiate", "ptr": None, "size": None}
                self.held += [graph, entry]
        torch.cuda.synchronize()
        self.tell_kept()

    def churn(self, seconds):
        """Allocates and frees segments; some stay at the end."""
        import torch

        tensors, rounds, until = [], 0, time.monotonic() + float(seconds)
        chance = random.Random(1)
        while time.monotonic() < until:
            tensors = [t for t in tensors if chance.random() < 0.5]
            tensors += [block(chance.randrange(1, 48) * MIB) for _ in range(8)]
            torch.cuda.empty_cache()
            rounds += 1
        torch.cuda.synchronize()
        self.held.append(tensors)
        say(rounds=rounds)
        self.tell_kept()

    def speed(self):
        import torch

        def fresh():
            tensors = [block(40 * MIB) for _ in range(8)]
            del tensors
            torch.cuda.empty_cache()

        def cached():
            for _ in range(100):
                block(4096)

        for name, loop in (
            ("8 segments taken and given back", fresh),
            ("100 blocks out of the cache", cached),
        ):
            loop()
            rounds, begin = 0, time.monotonic()
            while time.monotonic() < begin + SPEED_S:
                loop()
                rounds += 1
            say(loop=name, per_s=rounds / (time.monotonic() - begin))

    def end(self):
        for child in self.owners:
            child.stdin.close()
            child.wait(timeout=30)


def main():
    if sys.argv[1] == "--owner":
        owner()
        return
    program = Program(sys.argv[1])
    commands = {
        name: getattr(program, name) for name in ("load", "calls", "keep", "churn", "speed")
    }
    for line in sys.stdin:
        name, *arguments = line.split()
        try:
            commands[name](*arguments)
            result = 0
        except Exception as error:  # pylint: disable=broad-except
            result = f"{type(error).__name__}: {error}"[:300].splitlines()[0]
        say(done=name, result=result)
    program.end()


main()
