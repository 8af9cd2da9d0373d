#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small LLM-like inference server that leaks GPU memory on request.

It has the parts of a real one (weights, KV pool, prefix cache, pinned staging buffers, a scheduler
thread that runs batches) and allocates from the CUDA runtime through ctypes; its "model" only
repeats the prompt. With --leak none all memory that a request takes comes back. The leaks:

  prefix_cache  the cache keeps a device block for every request and never evicts one
  pinned        staging buffers are taken anew for every request and never returned
  abort         the exception path of an aborted request forgets the request's device block

When it is ready it prints one line: {"pid": ..., "port": ...}
"""

import argparse
import collections
import ctypes
import json
import os
import queue
import signal
import threading
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KIB = 1 << 10
MIB = 1 << 20

LAYERS = 8
LAYER_BYTES = 32 * MIB
KV_POOL_PAGES = 1024
KV_PAGE_BYTES = 256 * KIB
KV_PAGE_TOKENS = 16
KV_TABLE_BYTES = 512 * KIB
PREFIX_BLOCK_BYTES = 4 * MIB
PREFIX_CACHE_BLOCKS = 16
STAGING_BYTES = 256 * KIB
WORKSPACE_BYTES = 4 * MIB
MAX_BATCH = 8
MAX_BODY = 1 * MIB
ABORT_EVERY = 4  # of the requests that the server sends itself


class CudaError(Exception):
    pass


class CudaRuntime:
    """The four functions of libcudart that the server needs, as callables of C."""

    def __init__(self, path):
        lib = ctypes.CDLL(path)
        pointer = ctypes.POINTER(ctypes.c_void_p)
        self.malloc = self.bind(lib, "cudaMalloc", (2, pointer), (1, ctypes.c_size_t))
        self.free = self.bind(lib, "cudaFree", (1, ctypes.c_void_p))
        self.host_alloc = self.bind(
            lib, "cudaHostAlloc", (2, pointer), (1, ctypes.c_size_t), (1, ctypes.c_uint, "flags", 0)
        )
        self.free_host = self.bind(lib, "cudaFreeHost", (1, ctypes.c_void_p))

    @staticmethod
    def bind(lib, name, *parameters):
        """Each parameter is (direction, type, [name, default]); 2 stands for a result."""
        prototype = ctypes.CFUNCTYPE(ctypes.c_int, *(p[1] for p in parameters))
        function = prototype((name, lib), tuple((p[0], *p[2:]) for p in parameters))
        function.errcheck = CudaRuntime.check
        return function

    @staticmethod
    def check(error, function, arguments):
        if error:
            raise CudaError(f"CUDA error {error}")
        return arguments


class RequestAborted(Exception):
    pass


class Request:
    def __init__(self, prompt, abort=False):
        self.tokens = prompt.split() or [""]
        self.abort = abort
        self.pages = []
        self.page_table = None
        self.done = Future()


class KVCache:
    """A constant pool of pages, and a page table on the device for each running request."""

    def __init__(self, cuda):
        self.cuda = cuda
        self.pool = cuda.malloc(KV_POOL_PAGES * KV_PAGE_BYTES)
        self.free_pages = collections.deque(range(KV_POOL_PAGES))

    def alloc(self, request):
        count = len(request.tokens) // KV_PAGE_TOKENS + 1
        if count > len(self.free_pages):
            raise RequestAborted("the KV pool is full")
        request.pages = [self.free_pages.popleft() for _ in range(count)]
        request.page_table = self.cuda.malloc(KV_TABLE_BYTES)

    def release_pages(self, request):
        self.free_pages.extend(request.pages)
        request.pages = []

    def free(self, request):
        self.release_pages(request)
        if request.page_table is not None:
            self.cuda.free(request.page_table)
            request.page_table = None


class PrefixNode:
    def __init__(self):
        self.children = {}
        self.block = None


class PrefixCache:
    """A tree over tokens; the node at the end of a prompt holds its block on the device."""

    def __init__(self, cuda, evicts):
        self.cuda = cuda
        self.evicts = evicts
        self.root = PrefixNode()
        self.recent = collections.OrderedDict()

    def insert(self, tokens):
        path = self.walk(tokens)
        node = path[-1]
        if node.block is None:
            node.block = self.cuda.malloc(PREFIX_BLOCK_BYTES)
        key = tuple(tokens)
        self.recent[key] = path
        self.recent.move_to_end(key)
        if self.evicts and len(self.recent) > PREFIX_CACHE_BLOCKS:
            self.evict_oldest()

    def walk(self, tokens):
        path = [self.root]
        for token in tokens:
            path.append(path[-1].children.setdefault(token, PrefixNode()))
        return path

    def evict_oldest(self):
        tokens, path = self.recent.popitem(last=False)
        self.cuda.free(path[-1].block)
        path[-1].block = None
        for token, parent, node in reversed(list(zip(tokens, path, path[1:]))):
            if node.children or node.block is not None:
                break
            del parent.children[token]


class StagingBuffers:
    """Pinned host memory through which tokens travel to the device."""

    def __init__(self, cuda, reuses):
        self.cuda = cuda
        self.reuses = reuses
        self.idle = []

    def take(self):
        if self.idle:
            return self.idle.pop()
        return self.cuda.host_alloc(STAGING_BYTES)

    def give(self, buffer):
        if self.reuses:
            self.idle.append(buffer)


class ModelRunner:
    def __init__(self, cuda, leak):
        self.cuda = cuda
        self.leak = leak
        self.weights = [self.load_layer() for _ in range(LAYERS)]
        self.kv_cache = KVCache(cuda)
        self.prefix_cache = PrefixCache(cuda, evicts=leak != "prefix_cache")
        self.staging = StagingBuffers(cuda, reuses=leak != "pinned")

    def load_layer(self):
        return self.cuda.malloc(LAYER_BYTES)

    def forward(self, request):
        try:
            self.kv_cache.alloc(request)
            text = self.prefill(request)
            self.prefix_cache.insert(request.tokens)
        except (RequestAborted, CudaError):
            self.clean_up_aborted(request)
            raise
        self.kv_cache.free(request)
        return text

    def prefill(self, request):
        buffer = self.staging.take()
        try:
            return self.decode(request)
        finally:
            self.staging.give(buffer)

    def decode(self, request):
        workspace = self.cuda.malloc(WORKSPACE_BYTES)
        try:
            if request.abort:
                raise RequestAborted("the client is gone")
            return " ".join(request.tokens)
        finally:
            self.cuda.free(workspace)

    def clean_up_aborted(self, request):
        if self.leak == "abort":
            self.kv_cache.release_pages(request)
        else:
            self.kv_cache.free(request)


class Scheduler(threading.Thread):
    """Takes waiting requests in batches, on a thread of its own."""

    def __init__(self, runner):
        super().__init__(name="scheduler")
        self.runner = runner
        self.waiting = queue.Queue()

    def submit(self, request):
        self.waiting.put(request)
        return request.done

    def stop(self):
        self.waiting.put(None)
        self.join()

    def run(self):
        while True:
            batch = self.next_batch()
            if batch is None:
                return
            self.run_batch(batch)

    def next_batch(self):
        batch = [self.waiting.get()]
        while len(batch) < MAX_BATCH and not self.waiting.empty():
            batch.append(self.waiting.get())
        return None if None in batch else batch

    def run_batch(self, batch):
        for request in batch:
            try:
                request.done.set_result(self.runner.forward(request))
            except (RequestAborted, CudaError) as error:
                request.done.set_exception(error)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        if self.path != "/generate":
            self.reply(404, {"error": "no such path"})
            return
        try:
            body = self.read_body()
            request = Request(str(body.get("prompt", "")), bool(body.get("abort")))
        except (ValueError, AttributeError) as error:
            self.reply(400, {"error": str(error)})
            return
        try:
            text = self.server.scheduler.submit(request).result(timeout=30)
            self.reply(200, {"text": text, "tokens": len(request.tokens)})
        except Exception as error:  # whatever it was, the client must hear of it
            self.reply(503, {"error": str(error)})

    def read_body(self):
        length = int(self.headers.get("Content-Length", 0))
        if not 0 <= length <= MAX_BODY:
            raise ValueError("the body is too long")
        return json.loads(self.rfile.read(length))

    def reply(self, status, answer):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Stay silent: stdout and stderr are the caller's."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port, scheduler):
        super().__init__(("127.0.0.1", port), Handler)
        self.scheduler = scheduler


def drive(scheduler, rate, stop):
    """Sends `rate` requests a second, every prompt another one, until told to stop."""
    number = 0
    while not stop.wait(1 / rate):
        number += 1
        prompt = f"request number {number} of the built-in client"
        scheduler.submit(Request(prompt, abort=number % ABORT_EVERY == 0))


def parse_args():
    default = os.path.join(os.environ.get("SIMCUDA_DIR", ""), "libcudart.so.13")
    parser = argparse.ArgumentParser(description="A small inference server, with leaks on request.")
    parser.add_argument("--cudart", metavar="PATH", default=default, help="libcudart to use")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (0: any)")
    parser.add_argument(
        "--leak", choices=["none", "prefix_cache", "pinned", "abort"], default="none"
    )
    parser.add_argument("--requests-per-second", metavar="R", type=float, default=0)
    parser.add_argument("--duration", metavar="SECONDS", type=float, help="then end")
    return parser.parse_args()


def main():
    args = parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())

    scheduler = Scheduler(ModelRunner(CudaRuntime(args.cudart), args.leak))
    server = Server(args.port, scheduler)
    threads = [threading.Thread(target=server.serve_forever, name="http")]
    if args.requests_per_second > 0:
        drive_args = (scheduler, args.requests_per_second, stop)
        threads.append(threading.Thread(target=drive, args=drive_args, name="client"))
    for thread in [scheduler, *threads]:
        thread.start()
    print(json.dumps({"pid": os.getpid(), "port": server.server_address[1]}), flush=True)

    stop.wait(args.duration)
    stop.set()
    server.shutdown()
    for thread in threads:
        thread.join()
    scheduler.stop()
    server.server_close()


if __name__ == "__main__":
    main()
