"""Runs a module in a process that the kernel ends as soon as it opens an internet socket.

python tests/no_network.py MODULE ARGS…

What a library does in C++ is seen too, as no hook of Python's would. For Linux alone.
"""

import ctypes
import platform
import runpy
import struct
import sys

SOCKET_CALL = {"x86_64": 41, "aarch64": 198}  # the number of socket(domain, type, protocol)
AF_INET, AF_INET6 = 2, 10
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # instructions of the kernel's filters
KILL, ALLOW = 0x80000000, 0x7FFF0000
CALL_NUMBER, FIRST_ARGUMENT = 0, 16  # where struct seccomp_data has them


def forbid_internet() -> None:
    """Have the kernel kill this process, and its children, at socket(AF_INET or AF_INET6)."""
    call = SOCKET_CALL[platform.machine()]
    filters = [
        (LOAD_WORD, 0, 0, CALL_NUMBER),
        (JUMP_IF_EQUAL, 0, 4, call),
        (LOAD_WORD, 0, 0, FIRST_ARGUMENT),
        (JUMP_IF_EQUAL, 1, 0, AF_INET),
        (JUMP_IF_EQUAL, 0, 1, AF_INET6),
        (RETURN, 0, 0, KILL),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in filters))
    program = struct.pack("HxxxxxxP", len(filters), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0),
    ):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    forbid_internet()
    module, sys.argv = sys.argv[1], sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
