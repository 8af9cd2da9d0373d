# SPDX-License-Identifier: Apache-2.0
"""Which exports the calls of programs reach."""

import bisect
import collections
import os

import exports
from part_exports import looks_allocating, rows
from report import LeftOut, code, table
from worker import Tracer, program, torch_program

INNER_SHOWN = 14
RETURNED = "R"
KNOWN = set(rows())

# Of an outer function: the one that it is believed to reach (gpu_apis: "who calls what").
BELIEVED = [
    ("cudaMalloc", "cuMemAlloc_v2"),
    ("cudaFree", "cuMemFree_v2"),
    ("cudaMallocPitch", "cuMemAllocPitch_v2"),
    ("cudaMalloc3D", "cuMemAllocPitch_v2"),
    ("cudaMallocManaged", "cuMemAllocManaged"),
    ("cudaMallocHost", "cuMemAllocHost_v2"),
    ("cudaHostAlloc", "cuMemHostAlloc"),
    ("cudaFreeHost", "cuMemFreeHost"),
    ("cudaHostRegister", "cuMemHostRegister_v2"),
    ("cudaHostUnregister", "cuMemHostUnregister"),
    ("cudaMallocArray", "cuArray3DCreate_v2"),
    ("cudaMalloc3DArray", "cuArray3DCreate_v2"),
    ("cudaMallocMipmappedArray", "cuMipmappedArrayCreate"),
    ("cudaFreeArray", "cuArrayDestroy"),
    ("cudaFreeMipmappedArray", "cuMipmappedArrayDestroy"),
    ("cudaMallocAsync", "cuMemAllocAsync"),
    ("cudaMallocFromPoolAsync", "cuMemAllocFromPoolAsync"),
    ("cudaFreeAsync", "cuMemFreeAsync"),
    ("cudaMemPoolCreate", "cuMemPoolCreate"),
    ("cudaMemPoolDestroy", "cuMemPoolDestroy"),
    ("cudaMemPoolTrimTo", "cuMemPoolTrimTo"),
    ("cudaIpcOpenMemHandle", "cuIpcOpenMemHandle_v2"),
    ("cudaIpcCloseMemHandle", "cuIpcCloseMemHandle"),
    ("cudaGraphInstantiateWithFlags", "cuGraphInstantiateWithFlags"),
    ("cudaGraphExecDestroy", "cuGraphExecDestroy"),
    ("cudaGraphAddMemAllocNode", "cuGraphAddMemAllocNode"),
    ("cudaSetDevice", "cuDevicePrimaryCtxRetain"),
    ("cudaSetDevice", "cuCtxSetCurrent"),
    ("cudaDeviceReset", "cuDevicePrimaryCtxReset_v2"),
    ("cuMemAllocPitch_v2", "cuMemAlloc_v2"),
    ("cuMemAllocHost_v2", "cuMemHostAlloc"),
    ("cuArrayCreate_v2", "cuArray3DCreate_v2"),
    ("cuCtxDestroy_v2", "cuMemFree_v2"),
    ("cuDevicePrimaryCtxReset_v2", "cuMemFree_v2"),
]


class Call:
    """One call that the probes saw, and the calls inside of it."""

    def __init__(self, name, time, stack_pointer):
        self.name, self.time, self.sp, self.inner = name, time, stack_pointer, []

    def names(self):
        """Of all calls inside, in order."""
        return [n for call in self.inner for n in (call.name, *call.names())]

    def all(self):
        return [self, *(c for call in self.inner for c in call.all())]

    def text(self):
        inside = summary(self.inner)
        return f"{self.name} ({inside})" if inside else self.name


def summary(calls):
    """Calls in order, like ones together."""
    words, previous = [], None
    for text in [c.text() for c in calls]:
        if text == previous:
            words[-1][1] += 1
        else:
            words.append([text, 1])
        previous = text
    shown = [f"{t} ×{n}" if n > 1 else t for t, n in words[:INNER_SHOWN]]
    more = [f"… {len(words) - INNER_SHOWN} more"] if len(words) > INNER_SHOWN else []
    return ", ".join(shown + more)


def functions(paths):
    """(name, offset in the file, path) of every function of CUDA, each address once."""
    found = []
    for path in paths:
        library = exports.Library(path)
        offsets = {e.address: e.offset + exports.skipped(e.code) for e in library.exports}
        for address, names in library.by_address().items():
            name = min(names, key=lambda n: (n not in KNOWN, len(n), n))
            found.append((name, offsets[address], path))
    return found


def outermost(lines, names):
    """The calls that no other call of the same thread is around, and how many were lost."""
    outer, stacks, lost = [], collections.defaultdict(list), 0
    for line in lines:
        what, *fields = line.split()
        if what == "lost":
            lost = int(fields[0])
            continue
        time, thread, sp, number = int(fields[0]), fields[1], int(fields[2], 16), int(fields[3])
        stack = stacks[thread]
        if what == RETURNED:
            at = next(
                (i for i, c in enumerate(stack) if (c.sp, c.name) == (sp, names[number])), None
            )
            if at is not None:
                del stack[at:]
            continue
        # Deeper frames are below; a tail call has the stack pointer of its caller.
        while stack and stack[-1].sp < sp:
            stack.pop()
        call = Call(names[number], time, sp)
        (stack[-1].inner if stack else outer).append(call)
        stack.append(call)
    return sorted(outer, key=lambda c: c.time), lost


class Trace:
    """What a worker told of its steps, and what the probes saw of them."""

    def __init__(self, host, worker, paths, commands):
        found = functions(paths)
        if not host.multi:  # thousands of links of their own take minutes to remove
            found = [f for f in found if f[0] in KNOWN or looks_allocating(f[0])]
        places = [(offset, path) for _, offset, path in found]
        with Tracer(worker.pid, places, host.multi) as tracer:
            self.said = [line for command in commands for line in worker.do(command)]
            lines = tracer.lines()
        self.outer, self.lost = outermost(lines, [name for name, _, _ in found])
        self.steps = [line for line in self.said if "call" in line]
        self.seen = sum(len(call.all()) for call in self.outer)

    def of(self, step):
        times = [call.time for call in self.outer]
        first = bisect.bisect_left(times, step["from"])
        return self.outer[first : bisect.bisect_right(times, step["to"])]

    def all(self):
        return [c for call in self.outer for c in call.all()]


def of_interest(call):
    """Whether memory or a context is taken or given back somewhere in it."""
    return any(c.name in KNOWN or looks_allocating(c.name) for c in call.all())


def counts(trace):
    """How often each export was reached, commonest first."""
    reached = collections.Counter(c.name for c in trace.all())
    return ", ".join(f"`{name}` {n}" for name, n in reached.most_common())


def steps_table(trace, wanted=lambda call: True):
    """One line for each different thing that a step did."""
    lines = collections.Counter()
    for step in trace.steps:
        calls = [call for call in trace.of(step) if wanted(call)]
        # The step's own function is what it is called; the rest is of interest.
        if len(calls) == 1 and calls[0].name == step["call"]:
            calls = calls[0].inner
        lines[step["call"], step["result"], summary(calls) or "–"] += 1
    found = [(f"`{c}`", n, r or "ok", inner) for (c, r, inner), n in lines.items()]
    return table(["call", "times", "result", "exports reached inside, in order"], found)


def blind_spots(trace):
    """Outermost calls that may allocate or free, and neither are probed nor reach what is."""
    return sorted(
        {
            call.name
            for call in trace.outer
            if looks_allocating(call.name) and not KNOWN & {c.name for c in call.all()}
        }
    )


def unprobed(trace):
    """Functions reached that look as if they allocated, and have no row."""
    return sorted({c.name for c in trace.all() if looks_allocating(c.name)} - KNOWN)


def beliefs(trace):
    calls = collections.defaultdict(list)
    for call in trace.all():
        calls[call.name].append(call)
    lines = []
    for outer, inner in BELIEVED:
        made = calls.get(outer, [])
        hits = sum(inner in call.names() for call in made)
        instead = sorted({n for call in made for n in call.names() if looks_allocating(n)})
        answer = "not called" if not made else "yes" if hits == len(made) else "**no**"
        if 0 < hits < len(made):
            answer = f"{hits} of {len(made)} times"
        others = [n for n in instead if n != inner]
        lines.append((f"`{outer}`", f"`{inner}`", answer, code(others) if others else ""))
    return table(["call", "reaches", "seen", "others that take or give memory"], lines)


def described(trace):
    lost = f"; **{trace.lost} were lost**" if trace.lost else ""
    return [
        f"{len(trace.steps)} calls told by the program,"
        f" {trace.seen} entries of exports seen{lost}.",
        "",
        f"- calls that look as if they took or gave back memory, and reached no probed function:"
        f" {code(blind_spots(trace))}",
        f"- functions reached that look so and have no row: {code(unprobed(trace))}",
        "",
    ]


def by_program(host):
    with program(host) as worker:
        trace = Trace(host, worker, [host.libraries()[0], host.runtime()], ["context", "calls"])
    if not trace.seen:
        raise RuntimeError("the tracer saw no call")
    return [*described(trace), *beliefs(trace), *steps_table(trace)]


def by_static_program(host):
    with program(host, static=True) as worker:
        try:
            trace = Trace(host, worker, host.libraries()[:1], ["context", "calls"])
        except RuntimeError as error:
            if host.simulated:
                raise LeftOut(f"NVIDIA's runtime refuses the simulated driver ({error})") from error
            raise
    return [*described(trace), *steps_table(trace)]


def by_torch(host, backend):
    with torch_program(host, backend) as worker:
        paths = [p for p in host.libraries() if p in torch_libraries(host)]
        trace = Trace(host, worker, paths, ["load", "calls"])
    # Initialisation makes hundreds of calls that are of no interest here.
    trace.steps = [step for step in trace.steps if step["call"] != "torch.cuda.init"]
    return [
        *described(trace),
        "Of the calls inside those that take or give back memory or contexts:",
        "",
        *steps_table(trace, of_interest),
        f"All exports reached: {counts(trace)}",
        "",
    ]


def torch_libraries(host):
    return {os.path.realpath(path) for path in host.torch["libraries"]}
