"""Heaps of the C library, as it counts them itself."""

import subprocess
import sys

import pytest

COUNT = """
import ctypes, sys, tempfile, threading
from heldout.serve.web.arenas import few_arenas

libc = ctypes.CDLL(None)
if not hasattr(libc, "malloc_info"):
    sys.exit("no glibc")
if sys.argv[1] == "few":
    assert few_arenas(2)
wait = threading.Barrier(9)
libc.malloc.restype = ctypes.c_void_p
threads = [threading.Thread(target=lambda: (libc.malloc(5000), wait.wait())) for _ in range(8)]
for thread in threads:
    thread.start()
wait.wait()
with tempfile.TemporaryFile() as file:
    libc.fdopen.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(libc.fdopen(file.fileno(), b"w"))
    libc.malloc_info(0, stream)
    libc.fflush(stream)
    file.seek(0)
    print(file.read().count(b"<heap nr="))
"""


def heaps(way: str) -> int:
    done = subprocess.run([sys.executable, "-c", COUNT, way], capture_output=True, text=True)
    if "no glibc" in done.stderr:
        pytest.skip("another C library")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_threads_share_two_heaps() -> None:
    assert heaps("few") <= 2 < heaps("many")
