# SPDX-License-Identifier: Apache-2.0
"""As much of PyTorch as torch_program.py uses, over simulated CUDA libraries: so that it and what
watches it can be tried without a GPU. Every tensor is a segment of its own.
"""

import contextlib
import ctypes
import os
import sys
import types

__version__ = "simulated"
PIECE = 2 << 20
uint8 = "uint8"
version = types.SimpleNamespace(cuda="simulated")
_directory = os.environ.get("LD_LIBRARY_PATH", "").split(":", maxsplit=1)[0]
_config = os.environ.get("PYTORCH_CUDA_ALLOC_CONF", "")
_segments, _cached = {}, {}  # address: size; of the latter what no tensor uses


class _Properties(ctypes.Structure):  # of physical memory on device 0
    _fields_ = [("type", ctypes.c_uint), ("handles", ctypes.c_uint), ("where", ctypes.c_uint)]
    _fields_ += [("id", ctypes.c_int), ("win32", ctypes.c_void_p), ("flags", ctypes.c_ubyte * 8)]


class _IpcHandle(ctypes.Structure):
    _fields_ = [("reserved", ctypes.c_char * 64)]


def _library(name):
    return ctypes.CDLL(os.path.join(_directory, name))


_runtime = _library("libcudart.so.13")
_driver = _library("libcuda.so.1")


def _call(function, *arguments):
    result = function(*arguments)
    if result:
        raise RuntimeError(f"{function.__name__}: {result}")


def _out(function, *arguments, kind=ctypes.c_void_p):
    value = kind()
    _call(function, ctypes.byref(value), *arguments)
    return value.value


def _map(size):
    """An expandable segment: addresses, and physical memory behind them."""
    properties = _Properties(type=1, where=1)
    u64 = ctypes.c_ulonglong
    handle = _out(_driver.cuMemCreate, u64(size), ctypes.byref(properties), u64(0), kind=u64)
    address = _out(_driver.cuMemAddressReserve, u64(size), u64(0), u64(0), u64(0), kind=u64)
    _call(_driver.cuMemMap, u64(address), u64(size), u64(0), u64(handle), u64(0))
    _call(_driver.cuMemRelease, u64(handle))
    return address


def _take(size):
    if "expandable" in _config:
        return _map(size)
    take = _runtime.cudaMallocAsync if "Async" in _config else _runtime.cudaMalloc
    arguments = (None,) if "Async" in _config else ()
    return _out(take, ctypes.c_size_t(size), *arguments)


def _give(address, size):
    if "expandable" in _config:
        _call(_driver.cuMemUnmap, ctypes.c_ulonglong(address), ctypes.c_ulonglong(size))
    elif "Async" in _config:
        _call(_runtime.cudaFreeAsync, ctypes.c_void_p(address), None)
    else:
        _call(_runtime.cudaFree, ctypes.c_void_p(address))


class Tensor:
    def __init__(self, size, device="cuda", pin_memory=False, ptr=None):
        self.size, self.is_cuda, self.pinned = size, device == "cuda", pin_memory
        self.ptr, self.borrowed = ptr, ptr is not None
        if not self.borrowed:
            self.ptr = self._host() if pin_memory else self._segment()

    def _host(self):
        return _out(_runtime.cudaHostAlloc, ctypes.c_size_t(self.size), 0)

    def _segment(self):
        size = self.size if "Async" in _config else -(-self.size // PIECE) * PIECE
        for address, found in _cached.items():
            if found == size:
                del _cached[address]
                return address
        address = _take(size)
        _segments[address] = size
        return address

    def __del__(self):
        if self.borrowed:
            _call(_runtime.cudaIpcCloseMemHandle, ctypes.c_void_p(self.ptr))
        elif self.ptr and "Async" in _config and self.is_cuda:
            _give(self.ptr, _segments.pop(self.ptr))
        elif self.ptr and self.is_cuda:
            _cached[self.ptr] = _segments[self.ptr]

    def data_ptr(self):
        return self.ptr

    def numel(self):
        return self.size

    def __add__(self, other):
        return Tensor(self.size)

    def __matmul__(self, other):
        return Tensor(self.size)


def empty(size, dtype=uint8, **options):
    return Tensor(size, **options)


def ones(size, **options):
    numbers = size[0] * size[1] if isinstance(size, tuple) else size
    return Tensor(4 * numbers, **options)


def _empty_cache():
    for address in list(_cached):
        _give(address, _segments.pop(address))
        del _cached[address]


def _snapshot():
    expandable = "expandable" in _config
    return [
        {"address": address, "total_size": size, "is_expandable": expandable}
        for address, size in _segments.items()
    ]


class CUDAGraph:
    def instantiate(self):
        graph = _out(_runtime.cudaGraphCreate, 0)
        self.exec = _out(
            _runtime.cudaGraphInstantiateWithFlags, ctypes.c_void_p(graph), ctypes.c_ulonglong(0)
        )

    def replay(self):
        pass

    def reset(self):
        _call(_runtime.cudaGraphExecDestroy, ctypes.c_void_p(self.exec))


@contextlib.contextmanager
def _capture(graph):
    yield
    graph.instantiate()


def _reduce(tensor):
    handle = _IpcHandle()
    _call(_runtime.cudaIpcGetMemHandle, ctypes.byref(handle), ctypes.c_void_p(tensor.ptr))
    return rebuild, (bytes(handle), tensor.size)


def rebuild(handle, size):
    opened = _out(_runtime.cudaIpcOpenMemHandle, _IpcHandle.from_buffer_copy(handle), 1)
    return Tensor(size, ptr=opened)


cuda = types.SimpleNamespace(
    is_available=lambda: True,
    init=lambda: _call(_runtime.cudaFree, None),
    synchronize=lambda: _call(_runtime.cudaDeviceSynchronize),
    empty_cache=_empty_cache,
    memory_snapshot=_snapshot,
    get_allocator_backend=lambda: "simulated",
    CUDAGraph=CUDAGraph,
    graph=_capture,
)
multiprocessing = types.ModuleType("torch.multiprocessing")
multiprocessing.reductions = types.ModuleType("torch.multiprocessing.reductions")
multiprocessing.reductions.reduce_tensor = _reduce
sys.modules[multiprocessing.__name__] = multiprocessing
sys.modules[multiprocessing.reductions.__name__] = multiprocessing.reductions
__path__ = []
