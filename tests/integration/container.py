# SPDX-License-Identifier: Apache-2.0
"""Containers as runtimes make them: PID, mount, user and cgroup namespaces of their own, a root of
their own, and a cgroup that is called as theirs are.
"""
import os
import pathlib
import shlex
import subprocess

from conftest import BUILD, need, wait_until

WORKLOADS = BUILD / "workloads"
CUDA = "/opt/cuda"  # inside; there is no such folder outside
NAMESPACES = ["--user", "--map-root-user", "--pid", "--mount", "--cgroup"]
HOST_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")  # links into /usr, on most hosts


def cgroup_root(controller=None):
    """Where the unified hierarchy is mounted, or an older one; None where it is not."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            _, path, kind, options = line.split()[:4]
            if kind == ("cgroup" if controller else "cgroup2"):
                if not controller or controller in options.split(","):
                    return pathlib.Path(path)
    return None


def can_contain():
    command = ["unshare", *NAMESPACES, "--fork", "--mount-proc", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


class Cgroup:
    """One below a folder of its own, which goes with it."""

    def __init__(self, name, path, controller=None):
        root = cgroup_root(controller)
        need(root, "a cgroup file system")
        self.top = root / name
        self.path = self.top / path.lstrip("/")
        self.path.mkdir(parents=True)

    def remove(self):
        def gone(path):
            try:
                path.rmdir()
            except FileNotFoundError:
                return True
            except OSError:  # its last process is still ending
                return False
            return True

        path = self.path
        while path != self.top.parent:
            wait_until(lambda one=path: gone(one), f"{path} is empty")
            path = path.parent


class Container:
    """A root in a directory outside, and commands that are run in it as its process 1.

    `shared` is seen inside under its own name, as are the workloads; `prepare` is shell text that is
    run with $R as the root to be.
    """

    def __init__(self, directory, shared, cgroups=(), prepare=""):
        self.root = directory / "root"
        self.shared, self.cgroups, self.prepare = shared, cgroups, prepare
        for name in ("usr", "proc", "dev", "tmp", CUDA[1:], "old", *self.inner_paths()):
            (self.root / name.lstrip("/")).mkdir(parents=True, exist_ok=True)
        for name in HOST_FOLDERS:
            if os.path.islink(f"/{name}"):
                os.symlink(os.readlink(f"/{name}"), self.root / name)

    def inner_paths(self):
        return str(self.shared), str(WORKLOADS)

    def script(self, arguments):
        binds = "\n".join(
            f"mount --rbind {shlex.quote(path)} $R{shlex.quote(path)}"
            for path in ("/usr", *self.inner_paths())
        )
        return f"""set -e
R={shlex.quote(str(self.root))}
mount --rbind $R $R
{binds}
mount -t proc proc $R/proc
{self.prepare}
cd $R
pivot_root . old
umount -l /old
exec {shlex.join(map(str, arguments))}
"""

    def start(self, workload, *arguments, **environment):
        """Returns the process, with the pid that it has outside."""
        enter = "".join(f"echo $$ > {c.path}/cgroup.procs\n" for c in self.cgroups)
        command = ["unshare", *NAMESPACES, "--fork", "--kill-child", "sh", "-c"]
        process = workload(
            "sh",
            "-c",
            f"{enter}exec {shlex.join([*command, self.script(arguments)])}",
            SIMCUDA_DIR=CUDA,
            **environment,
        )
        children = f"/proc/{process.pid}/task/{process.pid}/children"

        def first_child():
            return pathlib.Path(children).read_text(encoding="utf-8").split()

        process.pid = int(wait_until(first_child, "the container's first process")[0])
        return process
