"""Run a Python module without network: python -m tools.offline MODULE [ARGUMENTS].

On Linux the process gets a network of its own with nothing in it but itself, where the system
allows that. Elsewhere, and on top, Python's sockets refuse every address but this machine's, in
the process and in all Python processes that it starts, such as a notebook's kernel.

It keeps an honest notebook from reaching out. To grade code that you do not trust, use a container.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import socket
import struct
import sys
import tempfile
from pathlib import Path

# Python runs a module of this name at its start, if it finds one.
_SITECUSTOMIZE = """
import socket

_LOCAL = ("127.", "::1", "localhost")


def _guard(connect):
    def guarded(self, address, *rest):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            if not str(address[0]).startswith(_LOCAL):
                raise OSError(f"no network here: connecting to {address[0]} is refused")
        return connect(self, address, *rest)

    return guarded


socket.socket.connect = _guard(socket.socket.connect)
socket.socket.connect_ex = _guard(socket.socket.connect_ex)
_look_up = socket.getaddrinfo


def _local_look_up(host, *rest, **options):
    name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    if not name.startswith(_LOCAL + ("0.0.0.0",)):
        raise socket.gaierror(f"no network here: {name} is not looked up")
    return _look_up(host, *rest, **options)


socket.getaddrinfo = _local_look_up
"""


def own_network() -> bool:
    """Move this process into an empty network of its own; False where that is not allowed."""
    if not sys.platform.startswith("linux"):
        return False
    # A half-made network would be worse than none: let a child try first.
    if (child := os.fork()) == 0:
        try:
            _enter_network()
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        return False
    _enter_network()
    return True


def _enter_network() -> None:
    user, group = os.getuid(), os.getgid()
    new_user, new_network = 0x10000000, 0x40000000
    if ctypes.CDLL(None, use_errno=True).unshare(new_user | new_network) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        import fcntl

        up, set_flags = 1, 0x8914  # IFF_UP, SIOCSIFFLAGS: a kernel talks over 127.0.0.1
        fcntl.ioctl(control, set_flags, struct.pack("16sh14x", b"lo", up))


def main() -> None:
    """Command line: the module and its arguments."""
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    own_network()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(_SITECUSTOMIZE, encoding="utf-8")
        path = [folder, os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(p for p in path if p)
        exec(compile(_SITECUSTOMIZE, "sitecustomize.py", "exec"), {})
        sys.argv = sys.argv[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
