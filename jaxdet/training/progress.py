"""Progress bars: on a terminal as usual, elsewhere a line from time to time."""

import sys
from typing import Any, TextIO

from tqdm import tqdm

from jaxdet.training import parallel

SECONDS = 30.0  # between two lines, off a terminal


class _Lines:
    """A stream in which a bar that is redrawn becomes lines below each other."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes the bar as a line of its own; what only clears a line is left out."""
        line = text.strip("\r\n ")
        return self._stream.write(f"{line}\n") if line else 0

    def flush(self) -> None:
        """Flushes the stream."""
        self._stream.flush()


def bar(*args: Any, stream: TextIO | None = None, **options: Any) -> tqdm:
    """tqdm's bar on `stream` (stderr), with its options; of several processes the first has one.

    Off a terminal, as in a log file, it writes a line every `SECONDS` and one at the end.
    """
    stream = stream or sys.stderr
    if not stream.isatty():
        options |= dict(file=_Lines(stream), mininterval=SECONDS, miniters=1, ascii=True)
        options |= dict(ncols=100, leave=True)
    options.setdefault("dynamic_ncols", "ncols" not in options)
    options.setdefault("disable", not parallel.is_first())
    return tqdm(*args, **options)


def leave_out(shown: tqdm, seconds: float) -> None:
    """Excludes time that will not come again from the rate, and so from the time left."""
    if not shown.disable:
        shown.start_t += seconds
        shown.last_print_t += seconds
