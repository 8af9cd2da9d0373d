# SPDX-License-Identifier: Apache-2.0
"""What a fake daemon tells of a host: the same at every question."""
import time

from fake_daemon import reply

MIB = 1 << 20
HOSTILE = "\x1b]0;own\x07\x1b[2J\r\n\u202egnp\u200b日本語 שלום e\u0301 🐍"


def usage(**kinds):
    zero = {"bytes": 0, "count": 0}
    known = {k: zero for k in ("device", "managed", "host", "ipc", "graph")}
    return {**known, "array": None, "vmm": None,
            **{k: {"bytes": b, "count": c} for k, (b, c) in kinds.items()}}  # fmt: skip


def history(*samples, interval=10):
    return {"interval_s": interval, "bytes": list(samples)}


def process(pid, age, title, outstanding, **fields):
    """`age` at the fake's start: in the middle of a minute, so that a test sees no change."""
    return {
        "pid": pid, "comm": title[:15], "title": title, "cmdline": title, "uid": 0, "cgroup": None,
        "container": None, "pod": None, "inner_pid": None, "gpus": None, "group": pid, "python": "3.11.2",
        "started_at": -age, "attached_at": None,
        "outstanding": outstanding, "allocator": None, "host": None, "verdict": None,
        "growth_bytes_per_s": None, "oom_eta_s": None, "lost_events": 0, "partial": [], **fields,
    }  # fmt: skip


GROWING = history(*(1200 * MIB + i * 2 * MIB + (i % 7) * MIB for i in range(60)))
STEPS = history(*([900 * MIB] * 20 + [None] * 4 + [950 * MIB] * 16 + [1500 * MIB] * 20))
CONTAINER = "3f1c7a9be0d2"
HOUR = 3600


def processes():
    rank = {"group": 4200, "container": CONTAINER}
    return [
        process(4200, 3 * HOUR + 750, "sglang::router", usage(host=(4 * MIB, 16)), **rank),
        process(4211, 3 * HOUR + 690, "sglang::scheduler_TP0",
                usage(device=(1474 * MIB, 248), host=(MIB // 4, 1), graph=(0, 36)), **rank,
                inner_pid=97, growth_bytes_per_s=0.2 * MIB, history=GROWING),
        process(4212, 3 * HOUR + 690, "sglang::scheduler_TP1",
                usage(device=(1402 * MIB, 240), host=(MIB // 4, 1)), **rank,
                growth_bytes_per_s=0, history=STEPS, partial=["late_attach"]),
        process(977, 2 * 86400 + 5 * HOUR + 1800, "python3 train.py",
                usage(device=(20 << 30, 70123), managed=(3 << 30, 12)),
                growth_bytes_per_s=-3.5e6, lost_events=17, partial=["lost", "limit"]),
        process(31337, HOUR + 30, "idle", usage(), python=None),
    ]  # fmt: skip


def frame(function, file, line):
    return {"function": function, "file": file, "line": line}


def site(number, kind, size, count, python, **fields):
    native = [{"module": "libcudart.so.12", "symbol": "cudaMalloc", "offset": 0},
              {"module": "libtorch_cuda.so", "symbol": None, "offset": 0x6F7A}]  # fmt: skip
    return {
        "id": f"{number:016x}", "kind": kind, "api": "cudaMalloc", "device": 0, "bytes": size,
        "count": count, "oldest_age_s": 11000.0, "allocs_total": count + 5, "frees_total": 5,
        "verdict": None, "growth_bytes_per_s": None, "caller": native[0], "owner": None,
        "python": python, "native": native, "truncated": False, **fields,
    }  # fmt: skip


APP = "/opt/venv/lib/python3.11/site-packages/sglang/srt"
STACK = [
    frame("RadixCache.insert", f"{APP}/mem_cache/radix_cache.py", 342),
    frame("RadixCache.cache_finished_req", f"{APP}/mem_cache/radix_cache.py", 287),
    frame("Scheduler.process_batch_result", f"{APP}/managers/scheduler.py", 1411),
    frame("Scheduler.event_loop_normal", f"{APP}/managers/scheduler.py", 722),
    frame("run_scheduler_process", f"{APP}/managers/scheduler.py", 2950),
    *(frame(f"wrapper_{i}", f"{APP}/utils/wrap.py", 10 * i) for i in range(12)),
    frame("<module>", "<string>", 1),
]


def sites():
    return [
        site(0x94C4A7CB8F025401, "device", 956 * MIB, 239, STACK, growth_bytes_per_s=0.2 * MIB,
             history=GROWING),
        site(0x45CB68325806458D, "device", 512 * MIB, 8,
             [frame("ModelRunner.load_model", f"{APP}/model_executor/model_runner.py", 186)],
             growth_bytes_per_s=0, history=history(*[512 * MIB] * 60)),
        site(0x1, "host", MIB // 4, 1, [], native=[
            {"module": "libnccl.so.2", "symbol": "ncclCommInitRank", "offset": 4660}]),
    ]  # fmt: skip


STATUS = {
    "version": "9.8.7", "pid": 1, "uptime_s": 7500.2, "kernel": "6.18.0", "attach_mode": "multi",
    "access": {"capabilities": []}, "probes": [],
    "events": {"received": 70964, "lost": {"ring_full": 17}, "recovered": 17},
    "tables": {"processes": 5, "allocations": 70640, "sites": 12, "memory_bytes": 4096},
    "limits": [{"name": "live", "limit": 100, "used": 2, "refused": 3}], "cost": None,
}  # fmt: skip


class Host:
    """The answers of a daemon; a test changes what is in them."""

    def __init__(self):
        self.processes = processes
        self.sites = sites
        self.status = STATUS
        self.before = []  # what is told before an answer
        self.begin = time.time()

    def __call__(self, request):
        answer = {
            "io.srtleak.Ps": self.answer_ps,
            "io.srtleak.Sites": self.answer_sites,
            "io.srtleak.Status": lambda _: reply(self.status),
        }[request["method"]]
        return [*self.before, answer(request.get("parameters", {}))]

    def answer_ps(self, _):
        return reply({"processes": self.running()})

    def running(self):
        return [{**p, "started_at": self.begin + p["started_at"]} for p in self.processes()]

    def answer_sites(self, parameters):
        pid = parameters["pid"]
        process = next((p for p in self.processes() if p["pid"] == pid), None)
        if not process:
            return {"error": "io.srtleak.NoSuchProcess", "parameters": {"pid": pid}}
        total = {k: v for k, v in process["outstanding"].items() if v and v["count"]}
        return reply({"pid": pid, "total": total, "partial": [], "sites": self.sites()})
