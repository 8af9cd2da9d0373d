# SPDX-License-Identifier: Apache-2.0
"""What there is on this host: GPU, CUDA libraries, PyTorch, and means to run BPF programs."""

import glob
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "gpu"
BIN = pathlib.Path(os.environ.get("SRTLEAK_BIN", ROOT / "build"))
TOOLS = ROOT / "build" / "gpu"
PROGRAMS = [BIN / "srtleakd", BIN / "srtleakctl", TOOLS / "calls", TOOLS / "program"]
# What doctor finds fault with, and without which nothing can be probed.
ASK_S = 90
BPF_CHECKS = {"btf", "privileges", "bpf_load", "ring_buffer"}
RUNTIMES = [
    "/usr/local/cuda*/lib64/libcudart.so.*",
    "/usr/local/cuda*/lib/libcudart.so.*",
    "/usr/local/cuda*/targets/*/lib/libcudart.so.*",
]
STUBS = ["/usr/local/cuda*/lib*/stubs/libcuda.so"]

# Run apart, as a broken driver may crash whoever asks it.
ASK_DRIVER = """
import ctypes, json, re
cuda = ctypes.CDLL("libcuda.so.1")
version, count = ctypes.c_int(), ctypes.c_int()
result = cuda.cuInit(0) or cuda.cuDriverGetVersion(ctypes.byref(version))
result = result or cuda.cuDeviceGetCount(ctypes.byref(count))
names = []
for i in range(count.value if not result else 0):
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    cuda.cuDeviceGet(ctypes.byref(device), i) or cuda.cuDeviceGetName(name, 256, device)
    names.append(name.value.decode(errors="replace"))
path = re.search(r"(/\\S*/libcuda\\.so\\S*)", open("/proc/self/maps").read())
facts = {"result": result, "version": version.value, "devices": names}
print(json.dumps({**facts, "path": path and path[1]}))
"""
ASK_TORCH = """
import json, re, torch
available = torch.cuda.is_available()
if available:
    torch.cuda.init()
paths = sorted(set(re.findall(r"(/\\S*/libcuda(?:rt)?[-.]\\S*)", open("/proc/self/maps").read())))
facts = {"version": torch.__version__, "cuda": torch.version.cuda, "available": available}
print(json.dumps({**facts, "libraries": paths}))
"""


def output_of(*command, timeout=60, **how):
    """What a command prints, or None where it cannot be run or fails."""
    try:
        run = subprocess.run(
            [str(c) for c in command], capture_output=True, text=True, timeout=timeout, **how
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def own_environment():
    """For the programs of this tree: a bundle's libraries, where some of theirs are missing."""
    bundled = TOOLS / "lib"
    if not bundled.is_dir() or output_of(BIN / "srtleakd", "--version"):
        return dict(os.environ)
    path = os.environ.get("LD_LIBRARY_PATH", "")
    return {**os.environ, "LD_LIBRARY_PATH": f"{bundled}:{path}"}


def build():
    """Builds what is missing; returns why that was not possible, or None."""
    if all(program.exists() for program in PROGRAMS):
        return None
    print("gpu: building", file=sys.stderr)
    # What deps.sh cannot install may be there under another name: make has the last word.
    for command in (["packaging/deps.sh"], ["make", "all", "gpu"]):
        try:
            run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        except (OSError, subprocess.TimeoutExpired) as error:
            fault = str(error)
            continue
        words = [line for line in run.stderr.splitlines() if line.strip()]
        fault = None if run.returncode == 0 else f"{' '.join(command)}: {' '.join(words[-1:])}"
    return fault


class Host:
    def __init__(self, simulated=None):
        self.simulated = simulated and str(pathlib.Path(simulated).resolve())
        self.environment = dict(os.environ)
        if self.simulated:
            self.environment["LD_LIBRARY_PATH"] = self.simulated
            self.environment["PYTHONPATH"] = str(HERE / "simtorch")
        self.multi = True  # one link can probe many functions
        self.driver, self.driver_error = self._ask_driver()
        self.torch, self.python, self.torch_error = self._ask_torch()
        self.runtimes = self._find_runtimes()

    def _ask(self, python, script):
        """(what the script prints, None), or (None, why not)."""
        try:
            run = subprocess.run(
                [python, "-c", script],
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=ASK_S,
            )
        except subprocess.TimeoutExpired:
            return None, f"no answer in {ASK_S} s"
        if run.returncode != 0:
            return None, (run.stderr.strip().splitlines() or [f"status {run.returncode}"])[-1]
        return json.loads(run.stdout.splitlines()[-1]), None

    def _ask_driver(self):
        driver, why = self._ask(sys.executable, ASK_DRIVER)
        if driver and (driver["result"] or not driver["devices"]):
            return None, f"the driver finds no device (error {driver['result']})"
        return driver, why

    def _ask_torch(self):
        """(facts, interpreter, None) of the first interpreter that has one, else the reason."""
        reasons = []
        for python in dict.fromkeys(["python3", "/usr/bin/python3", sys.executable]):
            if not shutil.which(python):
                continue
            facts, why = self._ask(python, ASK_TORCH)
            if facts and facts["available"]:
                return facts, shutil.which(python), None
            reasons.append(f"PyTorch {facts['version']} sees no GPU" if facts else why)
        return None, None, reasons[0]

    def _find_runtimes(self):
        """Paths of libcudart, each file once; those that will be used come first."""
        patterns = [f"{self.simulated}/libcudart.so.*"] if self.simulated else RUNTIMES
        paths = [p for pattern in patterns for p in sorted(glob.glob(pattern), reverse=True)]
        if self.torch and not self.simulated:
            paths += [p for p in self.torch["libraries"] if "libcudart" in p]
        cache = output_of("ldconfig", "-p") or output_of("/sbin/ldconfig", "-p") or ""
        if not self.simulated:
            paths += re.findall(r"=> (/\S*/libcudart\.so\S*)", cache)
        return list(dict.fromkeys(os.path.realpath(p) for p in paths))

    def libraries(self):
        """Every file that the programs here call, libcuda first."""
        return [os.path.realpath(self.driver["path"]), *self.runtimes]

    def further_libraries(self):
        """Real ones beside the simulated; they are only looked at."""
        if not self.simulated:
            return []
        patterns = [*RUNTIMES, *STUBS]
        return list(dict.fromkeys(os.path.realpath(p) for g in patterns for p in glob.glob(g)))

    def runtime(self):
        return self.runtimes[0] if self.runtimes else None

    def title(self):
        if self.simulated:
            return "simulated CUDA libraries (no GPU)"
        return f"{self.driver['devices'][0]}, driver {driver_version() or '?'}"

    def versions(self):
        """[(what, value)]"""
        cuda = self.driver["version"]
        nvcc = output_of("nvcc", "--version") or output_of("/usr/local/cuda/bin/nvcc", "--version")
        facts = [
            ("GPU", ", ".join(self.driver["devices"])),
            ("driver", driver_version() or "not told (no /proc/driver/nvidia/version)"),
            ("CUDA of the driver", f"{cuda // 1000}.{cuda % 1000 // 10}"),
            ("libcuda", self.driver["path"]),
            ("libcudart", ", ".join(self.runtimes) or "none found"),
            ("nvcc", nvcc.splitlines()[-1] if nvcc else "none"),
            ("kernel", f"{platform.release()}, {os.cpu_count()} CPUs"),
            ("distribution", distribution()),
        ]
        if self.torch:
            text = f"{self.torch['version']} (CUDA {self.torch['cuda']}), {self.python}"
            facts.append(("PyTorch", text))
        else:
            facts.append(("PyTorch", f"none: {self.torch_error}"))
        return facts


def driver_version():
    try:
        text = pathlib.Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
        return re.search(r"\b(\d+\.\d+(\.\d+)?)\b", text)[1]
    except (OSError, TypeError):
        return output_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")


def distribution():
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return "unknown"


def doctor():
    """What `srtleakctl doctor` says of this host: [check]."""
    run = subprocess.run(
        [str(BIN / "srtleakctl"), "--json", "doctor"],
        env=own_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    try:
        return json.loads(run.stdout)["checks"]
    except (ValueError, KeyError):
        last = (run.stderr.strip() or run.stdout.strip() or "no output").splitlines()[-1]
        return [{"name": "bpf_load", "result": "fail", "detail": last, "hint": None}]


def bpf_fault(checks):
    """Why nothing can be probed here, or None."""
    failed = {c["name"]: c["detail"] for c in checks if c["result"] == "fail"}
    if {"uprobe_multi", "uprobe_perf"} <= set(failed):
        return f"uprobes: {failed['uprobe_perf']}"
    return next((f"{name}: {why}" for name, why in failed.items() if name in BPF_CHECKS), None)
