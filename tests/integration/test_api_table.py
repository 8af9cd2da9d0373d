# SPDX-License-Identifier: Apache-2.0
"""The table of probed functions against CUDA's own headers and libraries, where they are."""
import functools
import glob
import os
import pathlib
import re
import subprocess

import pytest
from churn import OF_CUDA_12
from conftest import ROOT

INTEROP = ("GL", "VDPAU", "EGL")
HEADERS = (
    *("cuda.h", "cuda_runtime_api.h"),
    *(f"cuda{name}.h" for name in INTEROP),
    *(f"cuda_{name.lower()}_interop.h" for name in INTEROP),
)
LIBRARIES = ("lib64/libcudart.so.*", "lib64/stubs/libcuda.so", "targets/*/lib/stubs/libcuda.so")
# What a function that allocates, frees, or decides whose memory something is, has in its name.
LOOKS_LIKE = re.compile(
    "Alloc|Malloc|Free|Create|Destroy|Regist|Map|Unmap|Import|Export|Open|Close|Reset|Retain"
    "|Release|Unbind|SetLimit|SetGLDevice|SetVDPAUDevice|ValidDevices|Instantiate|Trim|Reserve|Load|Unload|Push|Pop|SetCurrent|SetDevice|SetMemPool|Attach"
    "|AddNode|Capture|Detach|Bind|Init|Clone|Prefetch|Advise|Discard|Checkpoint|FromGreen|DefaultMemPool|GetMemPool"
)
# Passed by value and larger than two registers: on the stack.
ON_STACK = {"CUipcMemHandle", "cudaIpcMemHandle_t", "struct cudaExtent", "cudaExtent"}
COLUMNS = "symbol family action kind space place pointer pointer_arg size size_arg extra_arg"
DEVICE = r"CUdevice|int"
POOL = r"CUmemoryPool|cudaMemPool_t"
STREAM = r"CUstream|cudaStream_t"
LOCATION = r"CUmemLocation \*|struct cudaMemLocation \*"

# What the pointer argument is or, with one more *, points to; by the first word that a row has.
MEMORY = r"CUdeviceptr(_v1)?|void \*"
POINTERS = {
    ("symbol", "cuGreenCtxCreate"): r"CUgreenCtx",
    ("symbol", "cuGreenCtxDestroy"): r"CUgreenCtx",
    ("symbol", "cuMemSetMemPool"): LOCATION,
    ("symbol", "cudaMemSetMemPool"): LOCATION,
    ("size", "PITCHED"): r"struct cudaPitchedPtr",
    ("action", "NODE"): r"CUgraphNode \*|cudaGraphNode_t \*",
    ("action", "MAP"): MEMORY,
    ("action", "UNMAP"): MEMORY,
    ("action", "POOL_SET"): DEVICE,
    ("action", "DEVICE_SET"): DEVICE,
    ("action", "PRIMARY_RELEASE"): DEVICE,
    ("action", "PRIMARY_RESET"): DEVICE,
    ("action", "CONTEXT_POP"): r"CUcontext \*",
    ("space", "MEMORY"): MEMORY,
    ("space", "ARRAY"): r"(CUa|CUmipmappedA|cudaA|cudaMipmappedA)rray(_t)?",
    ("space", "PHYSICAL"): r"CUmemGenericAllocationHandle",
    ("space", "GRAPH"): r"CUgraphExec|cudaGraphExec_t",
    ("space", "EXTERNAL"): r"CUexternalMemory|cudaExternalMemory_t",
    ("space", "POOL"): POOL,
    ("space", "STREAM"): STREAM,
    ("space", "CONTEXT"): r"CUcontext",
}

# What the argument of a size is, by the table's word for it.
SIZES = {
    "BYTES": r"size_t|(enum cudaMemPoolAttr|CUmemPool_attribute)|(enum cudaMem|CUmem)AllocationType",
    "BYTES32": r"unsigned int|size_t",
    "PITCH": r"size_t \*",
    "PITCH32": r"unsigned int \*",
    "PLANE32": r"const CUDA_ARRAY_DESCRIPTOR(_v1)? \*",
    "PLANE": r"const CUDA_ARRAY_DESCRIPTOR(_v2)? \*",
    "SOLID32": r"const CUDA_ARRAY3D_DESCRIPTOR(_v1)? \*",
    "SOLID": r"const CUDA_ARRAY3D_DESCRIPTOR(_v2)? \*",
    "MIPMAP": r"const CUDA_ARRAY3D_DESCRIPTOR \*",
    "TEXELS": r"const struct cudaChannelFormatDesc \*",
    "TEXELS3D": r"const struct cudaChannelFormatDesc \*",
    "TEXELS_MIPMAP": r"const struct cudaChannelFormatDesc \*",
    "NODE": r"CUgraphNodeParams \*|struct cudaGraphNodeParams \*|size_t",
}
# What the extra argument is, by the word that asks for it.
EXTRAS = {
    ("place", "POOL"): POOL,
    ("place", "STREAM"): STREAM,
    ("place", "CONTEXT"): r"CUgreenCtx",
    ("place", "PROPERTIES"): r"const (CUmemAllocationProp|CUmemPoolProps|struct cudaMemPoolProps) \*",
    ("size", "PITCH"): r"size_t",
    ("size", "PITCH32"): r"unsigned int",
    ("size", "MIPMAP"): r"unsigned int",
    ("size", "TEXELS_MIPMAP"): r"unsigned int",
    ("action", "MAP"): r"CUmemGenericAllocationHandle",
    ("action", "CONTEXT_CREATE"): DEVICE,
    ("action", "PRIMARY_RETAIN"): DEVICE,
    ("action", "PRIMARY_RELEASE"): DEVICE,
    ("action", "PRIMARY_RESET"): DEVICE,
    ("action", "DEVICE_SET"): DEVICE,
    ("symbol", "cuGraphAddMemAllocNode"): r"CUDA_MEM_ALLOC_NODE_PARAMS \*",
    ("symbol", "cudaGraphAddMemAllocNode"): r"struct cudaMemAllocNodeParams \*",
    ("action", "POOL_GET"): rf"{DEVICE}|{LOCATION}",
    ("action", "GREEN_CONTEXT"): r"CUgreenCtx",
    ("action", "POOL_SET"): POOL,
    ("action", "POOL_ASK"): r"void \*|cuuint64_t \*",
}


@functools.cache
def cuda_homes():
    """Installed toolkits with their headers, each once, the newest last."""
    given = [os.environ["CUDA_HOME"]] if "CUDA_HOME" in os.environ else []
    found = {os.path.realpath(p) for p in given + glob.glob("/usr/local/cuda*")}
    homes = [pathlib.Path(p) for p in found]
    return sorted(h for h in homes if all((h / "include" / name).exists() for name in HEADERS))


@pytest.fixture
def homes():
    if not cuda_homes():
        pytest.skip("no CUDA headers are installed")
    return cuda_homes()


@functools.cache
def table():
    text = (ROOT / "include" / "api.h").read_text(encoding="utf-8")
    rows = re.findall(r"^\tX\(([^()]*)\)(?: \\)?$", text, re.MULTILINE)
    cells = [[cell.strip() for cell in row.split(",")] for row in rows]
    names = COLUMNS.split()
    return {row[0]: dict(zip(names, row)) for row in cells if len(row) == len(names)}


def reasons():
    text = (pathlib.Path(__file__).parent / "api_reasons.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(part.strip() for part in line.split(": ", 1)) for line in lines]


@functools.cache
def prototypes(home):
    """{function: [parameters, ...]}: the headers have several generations of one name."""
    found = {}
    for name in HEADERS:
        text = (home / "include" / name).read_text(encoding="utf-8", errors="replace")
        text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)
        for function, parameters in re.findall(
            r"\bCUDA(?:API|RTAPI)\s+(cu\w+)\s*\(([^;{}]*?)\)\s*;", text
        ):
            found.setdefault(function, []).append(types_of(parameters))
        for function, version in re.findall(r"#\s*define\s+(cu\w+)\s+(cu\w+_v\d)\b", text):
            found.setdefault(version, found.get(function, []))
    return found


def types_of(parameters):
    types = []
    for parameter in re.sub(r"__dv\([^)]*\)", "", " ".join(parameters.split())).split(","):
        words = re.sub(r"\s*\*\s*", " * ", parameter).strip()
        words = re.sub(r"\b\w+$", "", words) if re.search(r"[\w*]\s+\w+$", words) else words
        kind = re.sub(r"\* +\*", "**", " ".join(words.split()))
        if kind not in ON_STACK:
            types.append(kind)
    return types


def exports(home):
    names = set()
    for pattern in LIBRARIES:
        for library in home.glob(pattern):
            nm = subprocess.run(
                ["nm", "-D", "--defined-only", str(library)], capture_output=True, text=True, check=True
            )
            symbols = [line.split()[-1].split("@")[0] for line in nm.stdout.splitlines()]
            names |= {s for s in symbols if re.match("cu(da)?[A-Z]", s)}
    return names


def test_every_function_has_a_row_or_a_reason(homes):
    written = reasons()
    for home in homes:
        known = set(prototypes(home)) | exports(home)
        assert len(known) > 700, home
        missing = [
            name
            for name in sorted(known)
            if LOOKS_LIKE.search(name)
            and name not in table()
            and not any(re.fullmatch(pattern, name) for pattern, _ in written)
        ]
        assert not missing, (home, missing)


def test_reasons_are_of_functions_without_a_row(homes):
    known = set(prototypes(homes[-1])) | exports(homes[-1])
    for pattern, reason in reasons():
        named = {name for name in known if re.fullmatch(pattern, name)}
        assert named and len(reason) > 10, pattern
        assert not named & set(table()), pattern


def test_every_row_is_a_function(homes):
    known = set().union(*(set(prototypes(home)) | exports(home) for home in homes))
    assert len(table()) > 100
    assert not set(table()) - known - OF_CUDA_12


def generations(home, symbol):
    """Prototypes that the row may be of: headers name a function without its version."""
    names = {symbol, symbol.removesuffix("_ptsz"), re.sub(r"_v\d$", "", symbol)}
    return [types for name in names for types in prototypes(home).get(name, [])]


def faults(row, types):
    def argument(column):
        # What follows a cudaExtent is the next register on x86-64.
        number = int(row[column].replace("AFTER_EXTENT", "2"))
        return types[number] if number < len(types) else "nothing"

    if row["action"] in ("DEVICE_RESET",):
        return
    pointer = next(form for (column, word), form in POINTERS.items() if row[column] == word)
    if row["pointer"].startswith("OUT"):
        pointer = rf"(?:{pointer}) ?\*"
    if not re.fullmatch(pointer, argument("pointer_arg")):
        yield f"pointer: {argument('pointer_arg')}"
    if row["size"] in SIZES and not re.fullmatch(SIZES[row["size"]], argument("size_arg")):
        yield f"size: {argument('size_arg')}"
    for (column, word), expected in EXTRAS.items():
        if row[column] == word and not re.fullmatch(expected, argument("extra_arg")):
            yield f"{column} {word}: {argument('extra_arg')}"


def test_arguments_are_where_the_table_says(homes):
    checked, wrong = 0, {}
    for symbol, row in table().items():
        for home in homes:
            candidates = generations(home, symbol)
            found = [list(faults(row, types)) for types in candidates]
            checked += bool(found)
            if found and all(found):
                wrong[symbol] = (found, candidates)
    assert checked > 100
    assert not wrong, wrong
