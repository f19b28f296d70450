"""Memory that was freed is there again, without a page fault, where glibc can be told so."""

import os
import pathlib
import platform
import subprocess
import sys

import pytest
from conftest import ROOT

HUGE = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
pytestmark = [
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told"),
    pytest.mark.skipif(
        HUGE.exists() and "[always]" in HUGE.read_text(), reason="huge pages hide the faults"
    ),
]

PROGRAM = """
import resource, sys, threading
from jaxdet.training import allocator
if sys.argv[1] == "kept":
    allocator.keep_freed()
import numpy  # starts threads

faults = []
def work():
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        assert len(b"x" * 2**26) == 2**26
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

for _ in range(2):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
print(*faults)
"""


def faults(how, **environment):
    """The page faults of writing 64 MB, eight times in a row, from two threads."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        cwd=ROOT,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(count) for count in done.stdout.split()]


def test_freed_memory_is_not_given_back():
    few = 500  # pages, of the 16,384 that are written
    kept, plain = faults("kept"), faults("plain")
    assert kept[0] > 10 * few and max(kept[1:]) < few, kept
    assert min(plain) > 10 * few, plain


def test_settings_of_the_environment_stay_in_force():
    assert min(faults("kept", MALLOC_MMAP_MAX_="65536")) > 5_000
