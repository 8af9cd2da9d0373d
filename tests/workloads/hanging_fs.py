# SPDX-License-Identifier: Apache-2.0
"""A file system that shows one directory's files, and that stops answering when it is told to.

hanging_fs.py SOURCE MOUNTPOINT; lines on stdin: "hang", "go" (what was asked meanwhile is answered).
The protocol is that of <linux/fuse.h>, version 7.
"""
import ctypes
import errno
import os
import pathlib
import select
import stat
import struct
import sys

IN = struct.Struct("<IIQQIIII")  # len, opcode, unique, nodeid, uid, gid, pid, padding
OUT = struct.Struct("<IiQ")  # len, error, unique
ATTR = struct.Struct("<6Q10I")
ENTRY = struct.Struct("<4Q2I")
ATTR_OUT = struct.Struct("<QII")
READ_IN = struct.Struct("<QQI")
LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE = 1, 2, 3, 14, 15, 17, 18
FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = 25, 26, 27, 28, 29, 36, 42
ROOT = 1
REQUEST_MAX = 1 << 20


class FileSystem:
    def __init__(self, source, mountpoint):
        self.files = sorted(p for p in pathlib.Path(source).iterdir() if p.is_file())
        self.device = os.open("/dev/fuse", os.O_RDWR)
        libc = ctypes.CDLL(None, use_errno=True)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0,allow_other"
        if libc.mount(b"hanging", os.fsencode(mountpoint), b"fuse", 0, options.encode()) < 0:
            raise OSError(ctypes.get_errno(), "mount")
        self.handlers = {
            LOOKUP: self.lookup, GETATTR: self.getattr, READ: self.read, INIT: self.init,
            OPEN: self.open, OPENDIR: self.open, READDIR: self.nothing, RELEASE: self.nothing,
            RELEASEDIR: self.nothing, FLUSH: self.nothing, STATFS: self.statfs,
        }  # fmt: skip

    def attributes(self, node):
        if node == ROOT:
            size, mode = 0, stat.S_IFDIR | 0o755
        else:
            size, mode = self.files[node - 2].stat().st_size, stat.S_IFREG | 0o755
        return ATTR.pack(node, size, (size + 511) // 512, *[0] * 6, mode, 1, 0, 0, 0, 4096, 0)

    def lookup(self, _, body):
        name = os.fsdecode(body.split(b"\0")[0])
        node = next((i + 2 for i, p in enumerate(self.files) if p.name == name), None)
        if node is None:
            raise OSError(errno.ENOENT, name)
        return ENTRY.pack(node, 0, 3600, 3600, 0, 0) + self.attributes(node)

    def getattr(self, node, _):
        return ATTR_OUT.pack(0, 0, 0) + self.attributes(node)

    def read(self, node, body):
        _, offset, size = READ_IN.unpack_from(body)
        with open(self.files[node - 2], "rb") as f:
            return os.pread(f.fileno(), size, offset)

    def init(self, *_):
        return struct.pack("<4I2HII2H8I", 7, 31, 1 << 16, 0, 16, 12, 1 << 16, 1, 16, 0, *[0] * 8)

    def open(self, *_):
        return struct.pack("<QII", 0, 0, 0)

    def statfs(self, *_):
        return struct.pack("<5Q4I6I", 1, 0, 0, 1, 0, 4096, 255, 4096, 0, *[0] * 6)

    def nothing(self, *_):
        return b""

    def answer(self, request):
        _, opcode, unique, node, *_ = IN.unpack_from(request)
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
            return
        error, data = 0, b""
        try:
            handler = self.handlers.get(opcode)
            if not handler:
                raise OSError(errno.ENOSYS, "not known")
            data = handler(node, request[IN.size :])
        except OSError as problem:
            error = -problem.errno
        os.write(self.device, OUT.pack(OUT.size + len(data), error, unique) + data)

    def serve(self):
        waiting, hangs = [], False
        while True:
            ready, _, _ = select.select([self.device, sys.stdin], [], [])
            if sys.stdin in ready:
                line = sys.stdin.readline()
                if not line:
                    return
                hangs = line.strip() == "hang"
                print(line.strip(), flush=True)
            if self.device in ready:
                waiting.append(os.read(self.device, REQUEST_MAX))
            while waiting and not hangs:
                self.answer(waiting.pop(0))


def main():
    file_system = FileSystem(*sys.argv[1:])
    print("mounted", flush=True)
    file_system.serve()


main()
