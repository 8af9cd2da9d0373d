# SPDX-License-Identifier: Apache-2.0
"""The daemon's two doors, spoken to byte by byte, and a strict reader of its metrics."""
import contextlib
import json
import re
import socket

PATIENCE = 20.0


class Connection:
    """A client of the socket: JSON objects, each ended by a NUL."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self.buffer = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, method, more=False, **parameters):
        request = {"method": method, "parameters": parameters, "more": more}
        self.send_bytes(json.dumps(request).encode() + b"\0")

    def send_bytes(self, data):
        self.socket.sendall(data)

    def receive(self):
        """The next reply; None where the daemon hung up."""
        while b"\0" not in self.buffer:
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                return None
            if not data:
                assert not self.buffer, f"half a reply: {bytes(self.buffer[:200])}"
                return None
            self.buffer += data
        message, _, rest = self.buffer.partition(b"\0")
        self.buffer = rest
        return json.loads(message.decode("utf-8"))

    def call(self, method, **parameters):
        self.send(method, **parameters)
        return self.receive()

    def stream(self, method, items, **parameters):
        """All items of a reply in several messages."""
        self.send(method, more=True, **parameters)
        found = []
        while True:
            reply = self.receive()
            assert "error" not in reply, reply
            found += reply["parameters"][items]
            if not reply.get("continues"):
                return found


class Response:
    def __init__(self, data):
        head, _, self.body = data.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(status.split()[1])
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}

    @property
    def text(self):
        return self.body.decode("utf-8")


def http(port, request="GET /metrics", host="localhost", address="127.0.0.1"):
    """One request on a connection of its own; host None: no such header."""
    lines = [request + " HTTP/1.1", "Connection: close"] + ([f"Host: {host}"] if host else [])
    with socket.create_connection((address, port), timeout=PATIENCE) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        data = b""
        while True:
            with contextlib.suppress(ConnectionResetError):
                piece = connection.recv(1 << 16)
                if piece:
                    data += piece
                    continue
            return Response(data)


LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(
    rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?[0-9.e+]+|NaN|[+-]Inf)"
)
UNESCAPED = {"\\\\": "\\", "\\n": "\n", '\\"': '"'}


def unescape(value):
    return re.sub(r"\\.", lambda m: UNESCAPED[m[0]], value)


def parse_metrics(text):
    """{(name, frozenset of labels): value}; fails on what Prometheus would refuse or frown at."""
    assert text.endswith("\n")
    types, samples, family = {}, {}, None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
            assert family not in types, f"{family} comes twice"
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family and kind in ("gauge", "counter"), line
            # The daemon's own start is called so by convention, and is a gauge.
            assert (kind == "counter") == name.endswith("_total"), line
            types[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, f"no sample: {line!r}"
            assert match[1] == family and family in types, f"{line} is not below its TYPE"
            pairs = re.findall(LABEL, match[2] or "")
            assert len(pairs) == len(dict(pairs)), f"a label comes twice: {line}"
            key = (match[1], frozenset((k, unescape(v)) for k, v in pairs))
            assert key not in samples, f"{line} comes twice"
            samples[key] = float(match[match.lastindex])
    return samples


def select(samples, name, **labels):
    """[(labels, value)] of the series that have these labels."""
    wanted = set(labels.items())
    return [(dict(k[1]), v) for k, v in samples.items() if k[0] == name and wanted <= k[1]]
