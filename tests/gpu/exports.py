# SPDX-License-Identifier: Apache-2.0
"""What a CUDA library exports, and how its functions begin."""

import collections
import re
import shutil
import struct
import subprocess
import tempfile

CODE_BYTES = 16
NOP = b"\x90"
ENDBR64 = bytes.fromhex("f30f1efa")
SHT_DYNSYM, STT_FUNC, PT_LOAD = 11, 2, 1

Export = collections.namedtuple("Export", "name address offset code")


class Library:
    """An ELF file of x86-64, read into memory."""

    def __init__(self, path):
        self.path = str(path)
        with open(path, "rb") as file:
            self.data = file.read()
        if self.data[:6] != b"\x7fELF\x02\x01":
            raise ValueError(f"{path}: not a 64-bit ELF file")
        self.segments = self._segments()
        found = (s for s in self._symbols() if re.match(r"cu(da)?[A-Z]", s[0]))
        self.exports = [self._export(name, address) for name, address in sorted(set(found))]

    def _segments(self):
        start, size, count = *struct.unpack_from("<Q", self.data, 32), *struct.unpack_from(
            "<HH", self.data, 54
        )
        headers = [struct.unpack_from("<IIQQQQ", self.data, start + i * size) for i in range(count)]
        return [(h[3], h[2], h[5]) for h in headers if h[0] == PT_LOAD]

    def _symbols(self):
        """(name, address) of each defined function of .dynsym."""
        start, size, count = *struct.unpack_from("<Q", self.data, 40), *struct.unpack_from(
            "<HH", self.data, 58
        )
        sections = [
            struct.unpack_from("<IIQQQQIIQQ", self.data, start + i * size) for i in range(count)
        ]
        for section in sections:
            if section[1] != SHT_DYNSYM:
                continue
            strings = sections[section[6]][4]
            for at in range(section[4], section[4] + section[5], 24):
                name, info, _, where, address, _ = struct.unpack_from("<IBBHQQ", self.data, at)
                if info & 15 == STT_FUNC and where:
                    end = self.data.index(b"\0", strings + name)
                    yield self.data[strings + name : end].decode("ascii", "replace"), address

    def _export(self, name, address):
        offset = next(
            (
                address - at + offset
                for at, offset, size in self.segments
                if at <= address < at + size
            ),
            None,
        )
        if offset is None:
            raise ValueError(f"{self.path}: {name} lies outside of the file")
        return Export(name, address, offset, self.data[offset : offset + CODE_BYTES])

    def by_address(self):
        """{address: names}"""
        names = collections.defaultdict(list)
        for export in self.exports:
            names[export.address].append(export.name)
        return names


def is_push(code):
    return 0x50 <= code[0] <= 0x57 or (code[0] & 0xF0 == 0x40 and 0x50 <= code[1] <= 0x57)


def skipped(code):
    """Bytes at the start of a function that a probe can leave out, as the daemon does."""
    return len(ENDBR64) if code.startswith(ENDBR64) and is_push(code[len(ENDBR64) :]) else 0


def is_emulated(code):
    """Whether the kernel emulates what is probed; all else is single-stepped, which is dear."""
    code = code[skipped(code) :]
    return is_push(code) or code[0] in (0x90, 0xE9, 0xEB)


# Without a disassembler: how the usual first instructions begin.
BEGINNINGS = [
    ("f30f1efa", "endbr64"),
    ("4883ec", "sub $imm8,%rsp"),
    ("4881ec", "sub $imm32,%rsp"),
    ("813d", "cmpl $imm32,rel(%rip)"),
    ("833d", "cmpl $imm8,rel(%rip)"),
    ("488b05", "mov rel(%rip),%rax"),
    ("488d", "lea"),
    ("90", "nop"),
    ("0f1f", "nop"),
    ("e9", "jmp"),
    ("eb", "jmp"),
    ("ff25", "jmp *rel(%rip)"),
    ("31", "xor"),
    ("b8", "mov $imm32,%eax"),
    ("c3", "ret"),
]


def name_of(code):
    if is_push(code):
        return "push"
    return next((n for b, n in BEGINNINGS if code.startswith(bytes.fromhex(b))), code[:4].hex(" "))


def instructions(codes):
    """{code: its first instruction}, by objdump where there is one."""
    codes = sorted(set(codes))
    if not codes or not shutil.which("objdump"):
        return {code: name_of(code) for code in codes}
    # An instruction that reaches beyond the bytes ends in the nops behind them.
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(code.ljust(2 * CODE_BYTES, NOP) for code in codes))
        file.flush()
        command = ["objdump", "-D", "-b", "binary", "-m", "i386:x86-64", "--no-show-raw-insn"]
        text = subprocess.run(
            [*command, file.name], capture_output=True, text=True, check=True, timeout=60
        ).stdout
    lines = dict(re.findall(r"^ *([0-9a-f]+):\t(.*?) *$", text, re.MULTILINE))
    return {
        code: re.sub(r"\s+", " ", re.sub(r"# .*", "", lines.get(f"{2 * CODE_BYTES * i:x}", "?")))
        for i, code in enumerate(codes)
    }


def shape(instruction):
    """Without the numbers, so that like ones can be counted together."""
    return re.sub(r"0x[0-9a-f]+", "N", instruction).strip()
