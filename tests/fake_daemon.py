# SPDX-License-Identifier: Apache-2.0
"""A server on a socket of its own that answers srtleakctl with what a test wants it to say."""
import json
import pathlib
import socket
import threading

HANG = "hang"  # stay connected and say nothing


class Server:
    """Accepts connections one after the other. `script` is what each of them is told: a list of
    objects, bytes and HANG, or a function that makes such a list of a request."""

    def __init__(self, path):
        self.path = str(path)
        self.script = []
        self.requests = []
        self.closing = threading.Event()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                try:
                    self.talk(connection)
                except OSError:
                    pass

    def talk(self, connection):
        request = b""
        while not request.endswith(b"\0"):
            data = connection.recv(65536)
            if not data:
                return
            request += data
        self.requests.append(json.loads(request[:-1]))
        steps = self.script(self.requests[-1]) if callable(self.script) else self.script
        for step in steps:
            if step == HANG:
                self.closing.wait(30)
            elif isinstance(step, bytes):
                connection.sendall(step)
            else:
                connection.sendall(json.dumps(step).encode() + b"\0")

    def close(self):
        """Ends it; its socket is gone, too."""
        if self.closing.is_set():
            return
        self.closing.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)
        pathlib.Path(self.path).unlink(missing_ok=True)


def reply(parameters, continues=False):
    return {"parameters": parameters, **({"continues": True} if continues else {})}
