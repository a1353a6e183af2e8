"""Runs a program where io_uring is blocked.

    blocked.py seccomp EPERM|ENOSYS PROGRAM [ARGUMENT]...
    blocked.py memlock BYTES UID PROGRAM [ARGUMENT]...

`seccomp`: io_uring_setup(2) answers the error, as under a container's profile. `memlock`: the
limit of locked memory is BYTES, and a caller that is root becomes UID, which has no capabilities.
"""

import ctypes
import errno
import os
import resource
import struct
import sys

PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_ERRNO = 0x00050000
BPF_LD_W_ABS = 0x20
BPF_JMP_JEQ_K = 0x15
BPF_RET_K = 0x06
IO_URING_SETUP = 425  # The same number on every architecture.


def refuse_io_uring(number):
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (BPF_LD_W_ABS, 0, 0, 0),  # seccomp_data.nr
            (BPF_JMP_JEQ_K, 0, 1, IO_URING_SETUP),
            (BPF_RET_K, 0, 0, SECCOMP_RET_ERRNO | number),
            (BPF_RET_K, 0, 0, SECCOMP_RET_ALLOW),
        )
    )
    text = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a count, padding, a pointer.
    fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(text)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        sys.exit("blocked.py: PR_SET_NO_NEW_PRIVS: " + os.strerror(ctypes.get_errno()))
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(fprog), 0, 0) != 0:
        sys.exit("blocked.py: PR_SET_SECCOMP: " + os.strerror(ctypes.get_errno()))


def limit_memlock(limit_bytes, uid):
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit_bytes, limit_bytes))
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)


def main():
    mode, *arguments = sys.argv[1:]
    if mode == "seccomp":
        name, *command = arguments
        refuse_io_uring(getattr(errno, name))
    elif mode == "memlock":
        limit_bytes, uid, *command = arguments
        limit_memlock(int(limit_bytes), int(uid))
    else:
        sys.exit("blocked.py: unknown mode " + mode)
    os.execv(command[0], command)


main()
