# SPDX-License-Identifier: Apache-2.0
"""A churn whose daemon comes to harm while it goes on, and what must hold after each time."""
import math
import random
import signal
import subprocess
import time

from churn import Churn, assert_conserved, assert_equal_to_ledger, devices_known, is_settled
from conftest import BIN, PATIENCE, SIM, wait_until

USUAL = BIN / "srtleakd"

# How a daemon ends, and that it is only held up, or killed before it is ready.
KILLED, RESTARTED, STOPPED, EARLY = "SIGKILL", "SIGUSR1", "SIGSTOP", "killed while it starts"
WAYS = (KILLED, RESTARTED, STOPPED, EARLY)
START = 0.5  # seconds, in which most daemons become ready


class Ordeal:
    """Repeatable as far as the choice of moments goes: by its seed."""

    def __init__(self, restart, workload, directory, attach, seed, binary=USUAL, **how):
        self.random = random.Random(seed)
        self.binary = binary
        self.churn = Churn(workload, directory, "--leave", **how)
        self.options = ("--attach", attach, "--pid", str(self.churn.pid))
        self.restart = lambda: restart(*self.options, binary=binary)
        began = time.monotonic()
        self.daemon = self.restart()
        self.starting = time.monotonic() - began
        self.happened = dict.fromkeys(WAYS, 0)
        self.recovered = self.under_load = 0
        began = time.monotonic()
        self.churn.round()
        self.duration, self.times = time.monotonic() - began, 1
        self.compare()

    def outlast(self):
        """Makes the calls of a round last as long as a daemon takes to end and to start."""
        self.times = math.ceil(2 * self.starting / self.duration)
        self.duration *= self.times

    def pause(self, longest):
        time.sleep(self.random.random() * longest)

    def end(self, how):
        """Ends the daemon, whose own count of what it recovered ends with it."""
        self.recovered += self.daemon.ctl("status")["events"]["recovered"]
        assert self.daemon.stop(how) == (-how if how == signal.SIGKILL else 0)

    def kill_early(self):
        """A daemon that is killed on its way to being ready."""
        arguments = [self.binary, "--socket", self.daemon.socket, "--listen", "none"]
        arguments += ["--libraries", SIM / "*.so.*", "--pin-dir", self.daemon.pins]
        early = subprocess.Popen([*arguments, *self.options], stderr=subprocess.DEVNULL)
        self.pause(START)
        early.kill()
        early.wait(timeout=PATIENCE)

    def harm(self, how):
        self.happened[how] += 1
        if how == STOPPED:
            self.daemon.process.send_signal(signal.SIGSTOP)
            self.pause(self.duration)
            self.daemon.process.send_signal(signal.SIGCONT)
            return
        self.end(signal.SIGUSR1 if how == RESTARTED else signal.SIGKILL)
        self.pause(self.duration / 4)
        if how == EARLY:
            self.kill_early()
        self.daemon = self.restart()

    def round(self, how):
        """One round of calls, in the midst of which the daemon comes to harm."""
        self.churn.start_round(self.times)
        self.pause(self.duration / 2)
        self.harm(how)
        self.under_load += self.churn.goes_on()
        self.churn.end_round()
        self.compare()

    def compare(self):
        assert_equal_to_ledger(self.daemon, self.churn.pid, self.churn.ledger)
        # All its threads are younger than the first daemon.
        assert devices_known(self.daemon, self.churn.pid) == 1
        # A daemon that has just repaired its tables still reads what was in the ring before that.
        wait_until(lambda: is_settled(self.daemon.ctl("status")), "the tables have what is live")
        assert_conserved(self.daemon.ctl("status"))

    def figures(self):
        status = self.daemon.ctl("status")
        calls, events = status["calls"], status["events"]
        return {
            "operations": self.churn.calls(),
            "allocs_seen": calls["allocs_seen"],
            "freed": calls["frees_matched"],
            "superseded": calls["superseded"],
            "ended": calls["ended"],
            "live": status["tables"]["live"],
            "lost": {cause: n for cause, n in events["lost"].items() if n},
            "recovered": self.recovered + events["recovered"],
            "under load": self.under_load,
            **self.happened,
        }
