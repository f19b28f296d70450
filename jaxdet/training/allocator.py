"""Memory that is freed stays with the program: a third less time for a MobileNet's step on a CPU.

XLA asks for the room of a step's intermediate results at every step, more than a gigabyte. The C
library would give it back to the system each time, which then has to clear it again, page by page.
"""

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # glibc's malloc.h


def keep_freed() -> None:
    """Tells glibc to keep what is freed; a program then holds on to the most that it ever needed.

    It must come before anything starts a thread, so before numpy is imported: later, threads may
    have heaps of their own, too small for a step. Other C libraries are left alone, and so is glibc
    where the environment has settings for it (MALLOC_..., GLIBC_TUNABLES).
    """
    told = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if told or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_MAX, 0)  # large blocks come from the heap as small ones do,
    libc.mallopt(_TRIM_THRESHOLD, -1)  # whose end is never given back,
    libc.mallopt(_ARENA_MAX, 1)  # and which all threads share
