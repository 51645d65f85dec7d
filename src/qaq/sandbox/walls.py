"""Closes a process in before it runs a model's code, by the kernel's own means (Linux); nothing here needs rights.

Levels, the strongest first:
sealed    namespaces of its own (user, process, mount, network, ipc, host name), a root folder that holds read-only views
          of Python and the system's libraries and a small empty /tmp, no capabilities, and the filter
fenced    no capabilities, only Python and the system's libraries can be read (Landlock), and the filter, which here also
          refuses to change files and to signal
filtered  the same without the fence: what our user may read can be read, but told to nobody
limited   no capabilities, and limits on what is used up
In all of them: processor time, memory, the size of a file and the number of open files are limited; none can be lifted.

The filter (seccomp) refuses new processes and programs (threads are allowed), sockets (socketpair is allowed), and the
kernel's tools for tracing, mounting and the like.
"""

import ctypes
import os
import platform
import resource
import signal

LEVELS = ("sealed", "fenced", "filtered", "limited")

_libc = ctypes.CDLL(None, use_errno=True)
_ROOT_FLAGS, _REC, _BIND, _PRIVATE, _DETACH = 0x2 | 0x4, 0x4000, 0x1000, 0x40000, 2  # nosuid, nodev; MS_*, MNT_DETACH
_NAMESPACES = 0x10000000 | 0x20000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000  # CLONE_NEW*
_READ_ONLY, _READ_ONLY_NOSUID, _RECURSIVE, _HERE = 0x1, 0x1 | 0x2, 0x8000, 0xFFFFFF9C  # MOUNT_ATTR_*, AT_*
_SCRATCH = b"size=64m,nr_inodes=4096,mode=1777"
_PDEATHSIG, _NO_NEW_PRIVS, _SECCOMP, _BOUNDING_DROP = 1, 38, 22, 24  # prctl
_CAPABILITIES_V3, _CAPABILITIES = 0x20080522, 41
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_CREATE_RULES, _BENEATH = 444, 1  # landlock_create_ruleset, and the two calls after it; LANDLOCK_RULE_PATH_BENEATH
_FENCED, _READ_FILE, _READ_DIR = (1 << 13) - 1, 1 << 2, 1 << 3  # LANDLOCK_ACCESS_FS_*: all of its first version
_READ_ALL = _READ_FILE | _READ_DIR
_FILES = 64  # open files
_FILE = 1 << 24  # bytes of a file

# System calls by number: (x86_64, aarch64); None where an architecture has none.
_PROCESSES = {
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "prctl": (157, 167), "unshare": (272, 97),
    "setns": (308, 268), "pidfd_getfd": (438, 438),
}  # fmt: skip
_KERNEL = {
    "socket": (41, 198), "io_uring_setup": (425, 425), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "memfd_create": (319, 279), "memfd_secret": (447, 447), "mount": (165, 40),
    "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsmount": (432, 432), "mount_setattr": (442, 442), "add_key": (248, 217),
    "request_key": (249, 218), "keyctl": (250, 219), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190),
    "mq_open": (240, 180), "personality": (135, 92),
}  # fmt: skip
_SIGNALS = {
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "setpriority": (141, 140),
    "sched_setaffinity": (203, 122), "prlimit64": (302, 261), "setsid": (112, 157), "setpgid": (109, 154),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274), "ioprio_set": (251, 30),
    "migrate_pages": (256, 238), "move_pages": (279, 239), "process_madvise": (440, 440), "process_mrelease": (448, 448),
}  # fmt: skip
_CHANGES = {
    "truncate": (76, 45), "creat": (85, None), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None),
    "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "unlink": (87, None), "unlinkat": (263, 35),
    "link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36), "mknod": (133, None),
    "mknodat": (259, 33), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None),
    "utimes": (235, None), "utimensat": (280, 88), "futimesat": (261, None), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "setxattrat": (463, 463), "removexattrat": (466, 466), "openat2": (437, 437), "open_by_handle_at": (304, 265),
    "connect": (42, 203),
}  # fmt: skip
_OWNERS = {"fcntl": ((72, 25), (8, 10, 15)), "ioctl": ((16, 29), (0x8901, 0x8902))}  # F_SETOWN, F_SETSIG, F_SETOWN_EX;
# FIOSETOWN, SIOCSPGRP: the kernel signals a file's owner, whoever that is, when there is something to read
_OPENS = {"open": (2, None, 1), "openat": (257, 56, 2)}  # and which argument holds the flags
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the tables, AUDIT_ARCH_*
_CLONE, _CLONE3 = (56, 220), (435, 435)
_THREAD = 0x10000  # CLONE_THREAD
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | (os.O_TMPFILE & ~os.O_DIRECTORY)
_ALLOW, _REFUSE, _UNKNOWN = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38  # seccomp: allow, EPERM, ENOSYS
_LOAD, _EQUAL, _ABOVE, _ANY, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # classic BPF


def close_in(level: str, views: list[str], hidden: list[str], memory: int, cpu: int) -> int:
    """Close this process in, for good; at "sealed" that is a child of it. Returns its number as its starter sees it.

    `views`: paths that stay visible, but for the files `hidden` (at "sealed" and "fenced"); `memory`: bytes of address space; `cpu`: processor seconds. OSError where the
    system does not allow the level.
    """
    _call("prctl", _PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if level == "sealed":
        _enter_namespaces()
    number = int(os.readlink("/proc/self")) if level == "sealed" else os.getpid()  # /proc is still our starter's
    if level == "sealed":
        _change_root(views, hidden)
    _limit(memory, cpu, processes=level != "limited" or os.geteuid() == 0)
    _drop_capabilities()
    _call("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)
    if level == "fenced":
        _fence(views, hidden)
    if level != "limited":
        _filter(changes=level == "sealed")
    return number


def _call(name: str, *arguments: int | bytes | None) -> int:
    result = getattr(_libc, name)(*(ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result


def _enter_namespaces() -> None:
    """Go on as the first process of new namespaces, under our own rights; the process we were waits for it."""
    user, group = os.geteuid(), os.getegid()
    _call("unshare", _NAMESPACES)
    for file, text in (("setgroups", "deny"), ("uid_map", f"1000 {user} 1"), ("gid_map", f"1000 {group} 1")):
        with open(f"/proc/self/{file}", "w") as out:
            out.write(text)
    child = os.fork()
    if child:
        os.closerange(0, _FILES)
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) % 256)
    _call("prctl", _PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _change_root(views: list[str], hidden: list[str]) -> None:
    """Our folder (an empty one of ours) becomes a root that holds only `views`, read-only, some devices and /tmp; files
    `hidden` in them are empty."""
    root = os.fsencode(os.getcwd())
    _call("mount", None, b"/", None, _PRIVATE | _REC, None)
    _call("mount", b"tmpfs", root, b"tmpfs", _ROOT_FLAGS, b"size=1m,mode=755")
    os.mkdir(root + b"/tmp")
    _call("mount", b"tmpfs", root + b"/tmp", b"tmpfs", _ROOT_FLAGS, _SCRATCH)  # first: a view may lie in it
    for view in map(os.fsencode, [*views, *_DEVICES]):
        _place(view, root + view)
    for file in map(os.fsencode, hidden):
        _call("mount", b"/dev/null", root + file, None, _BIND, None)
    os.chdir(root)
    _call("pivot_root", b".", b".")
    _call("umount2", b".", _DETACH)
    _set_attributes(b"/", _RECURSIVE, put=_READ_ONLY_NOSUID)
    _set_attributes(b"/tmp", 0, clear=_READ_ONLY)
    os.chdir("/tmp")


def _place(path: bytes, target: bytes) -> None:
    """`path` and all below it, also as `target`."""
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT))
    _call("mount", path, target, None, _BIND | _REC, None)


def _set_attributes(path: bytes, flags: int, put: int = 0, clear: int = 0) -> None:
    """Of a mount; mount_setattr (Linux 5.12) has no wrapper in older C libraries."""
    attributes = bytes((ctypes.c_uint64 * 4)(put, clear, 0, 0))
    _call("syscall", _KERNEL["mount_setattr"][0], _HERE, path, flags, attributes, len(attributes))


def _limit(memory: int, cpu: int, processes: bool) -> None:
    wanted = {resource.RLIMIT_CPU: cpu, resource.RLIMIT_AS: memory, resource.RLIMIT_STACK: memory,
              resource.RLIMIT_FSIZE: _FILE, resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: _FILES}  # fmt: skip
    if not processes:
        wanted[resource.RLIMIT_NPROC] = 0
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
    _call("capset", bytes(header), bytes(24))


def _fence(views: list[str], hidden: list[str]) -> None:
    """From here on only what `views` hold but not `hidden` can be opened, to be read. Landlock, Linux 5.13."""
    handled = bytes(ctypes.c_uint64(_FENCED))
    rules = _call("syscall", _CREATE_RULES, handled, len(handled), 0)
    seen = {part: _READ_ALL if os.path.isdir(part) else _READ_FILE
            for view in [*views, *_DEVICES] for part in _without(view, hidden)}  # fmt: skip
    for path, rights in {**seen, **{view: _READ_DIR for view in views if view not in seen}}.items():
        place = os.open(path, os.O_PATH)
        rule = bytes(ctypes.c_uint64(rights)) + bytes(ctypes.c_int32(place))
        _call("syscall", _CREATE_RULES + 1, rules, _BENEATH, rule, 0)
        os.close(place)
    _call("syscall", _CREATE_RULES + 2, rules, 0)
    os.close(rules)


def _without(path: str, hidden: list[str]) -> list[str]:
    """`path`, or what lies in it, so that none of `hidden` does. Links are left out: what is granted is where they lead."""
    if not any(file == path or file.startswith(f"{path}/") for file in hidden):
        return [path]
    inside = [entry.path for entry in os.scandir(path) if not entry.is_symlink()] if path not in hidden else []
    return [part for entry in inside for part in _without(entry, hidden)]


def _filter(changes: bool) -> None:
    """Refuse system calls from here on. `changes`: whether files may be changed and signals sent."""
    machine = platform.machine()
    if machine not in _MACHINES:
        raise OSError(f"no filter for the machine {machine}")
    column, audit = _MACHINES[machine]
    refused = {**_PROCESSES, **_KERNEL} if changes else {**_PROCESSES, **_KERNEL, **_SIGNALS, **_CHANGES}
    lines = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _REFUSE), (_LOAD, 0, 0, 0)]
    lines += [(_ABOVE, 0, 1, 0x40000000), (_RETURN, 0, 0, _REFUSE)]  # x86's other table of calls
    for number in (numbers[column] for numbers in refused.values()):
        if number is not None:
            lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    lines += [(_EQUAL, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _UNKNOWN)]  # its flags lie in memory: clone is used then
    lines += [(_EQUAL, 0, 4, _CLONE[column]), *_flags(0, _THREAD, _ALLOW, _REFUSE)]
    for name in () if changes else _OPENS:
        *numbers, argument = _OPENS[name]
        if numbers[column] is not None:
            lines += [(_EQUAL, 0, 4, numbers[column]), *_flags(argument, _WRITING, _REFUSE, _ALLOW)]
    for numbers, commands in () if changes else _OWNERS.values():
        known = [(_EQUAL, 0, 1, command) for command in commands]
        refusals = [line for one in known for line in (one, (_RETURN, 0, 0, _REFUSE))]
        lines += [
            (_EQUAL, 0, 2 + len(refusals), numbers[column]),
            (_LOAD, 0, 0, 24),
            *refusals,
            (_RETURN, 0, 0, _ALLOW),
        ]
    lines.append((_RETURN, 0, 0, _ALLOW))
    program = b"".join(code.to_bytes(2, "little") + bytes([yes, no]) + value.to_bytes(4, "little")
                       for code, yes, no, value in lines)  # fmt: skip
    held = ctypes.create_string_buffer(program)
    header = bytes((ctypes.c_uint64 * 2)(len(lines), ctypes.addressof(held)))
    _call("prctl", _SECCOMP, 2, header, 0, 0)


def _flags(argument: int, mask: int, then: int, otherwise: int) -> list[tuple[int, int, int, int]]:
    """Four lines: return `then` if one of the mask's bits is set in the argument."""
    return [(_LOAD, 0, 0, 16 + 8 * argument), (_ANY, 0, 1, mask), (_RETURN, 0, 0, then), (_RETURN, 0, 0, otherwise)]
