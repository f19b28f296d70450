"""Reads the arrays of a file of weights by name, whatever they are kept in.

The contents decide what a file is, not its extension. In a checkpoint the arrays may be under one
of many names, beside an optimiser's; a network that ran on many devices or was compiled has a
prefix before all names, and some files are in half precision.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from jaxdet.convert import torch_files

AVERAGED = ("ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "ema", "params_ema")
KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "params", "weights", "module")

# What wrappers put before all names (DataParallel), and within them (torch.compile, FSDP).
_PREFIXES = ("module.", "model.", "net.", "network.", "ema_model.")
_WRAPPED = re.compile(r"_orig_mod\.|_fsdp_wrapped_module\.|_checkpoint_wrapped_module\.")
_NOT_WEIGHTS = re.compile("optim|sched|scaler|loss|history|^state$")  # other parts of a checkpoint
_DEPTH = 3  # of checkpoints within checkpoints

_BEGINNINGS = (  # of files that are something else -> what they are
    (b"version https://git-lfs", "a Git LFS pointer, not the weights: `git lfs pull` fetches them"),
    (b"<", "a web page, not weights: the download failed"),
    (b"{", "JSON, not weights"),
    (b"\x89HDF", "a Keras (HDF5) file"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"BZh", "a bzip2 archive: unpack it"),
    (b"\xfd7zXZ", "an xz archive: unpack it"),
)


def check(file: str | os.PathLike[str]) -> Path:
    """The path of a file that may have weights; cheap, as only its beginning is read.

    ValueError in one line if there is none, if it is empty, a folder, or a web page, a Git LFS
    pointer or an archive that was saved in its place.
    """
    file = Path(file).expanduser()
    if file.is_dir():
        raise ValueError(f"{file} is a folder, expected a file of weights")
    if not file.is_file():
        raise ValueError(f"there is no weights file {file}")
    with file.open("rb") as stream:
        beginning = stream.read(64)
    if not beginning:
        raise ValueError(f"{file} is empty, expected a file of weights: the download failed")
    if kind(file) is None:
        for bytes_, what in _BEGINNINGS:
            if beginning.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(bytes_):
                raise ValueError(f"{file} is {what}")
    return file


def kind(file: Path) -> str | None:
    """The kind of a file by its contents: "torch", "safetensors", or None for neither."""
    with file.open("rb") as stream:
        beginning = stream.read(16)
    if beginning.startswith((b"PK", torch_files.LEGACY)):
        return "torch"
    if beginning[8:9] == b"{" and int.from_bytes(beginning[:8], "little") < 2**27:
        return "safetensors"
    return None


def kind_of(file: Path) -> str:
    """As `kind`; ValueError for neither."""
    if (found := kind(file)) is None:
        hint = "; it is named like Darknet's" if file.suffix == ".weights" else ""
        raise ValueError(f"{file} is neither a .safetensors nor a .pth file{hint}")
    return found


def read(file: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays in a `.safetensors`, `.pth` or `.pt` file; those with fractions as float32.

    Of several sets of arrays the moving average is taken if it is complete; a line says which. A
    prefix of all names is taken off. ValueError in one line if the file does not exist, is damaged
    or of another kind, or if numbers are not finite: torchvision has a VGG16 with such numbers for
    its classifier, the later fc6 and fc7.
    """
    file = check(file)
    read_file = _read_torch if kind_of(file) == "torch" else _read_safetensors
    try:
        arrays = read_file(file)
    except torch_files.Damaged as error:
        size = f"{file.stat().st_size:,} bytes"
        reason = (str(error).splitlines() or ["?"])[0]
        raise ValueError(
            f"{file} cannot be read: it is damaged or was cut off after {size} ({reason})"
        ) from error
    arrays = plain_names({name: _as_float32(array) for name, array in arrays.items()})
    broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise ValueError(f"{file}: not all numbers are finite in {few(broken)}")
    return arrays


def few(names: Iterable[str], *, shown: int = 3) -> str:
    """The first of `names`, and how many more there are: "a, b, c and 401 more"."""
    names = list(names)
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def plain_names(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same arrays without what wrappers put into their names, where all arrays have it."""
    arrays = {_WRAPPED.sub("", name): array for name, array in arrays.items()}
    while arrays:
        named = [name for name, array in arrays.items() if np.ndim(array)]  # no counters
        prefix = next((p for p in _PREFIXES if named and all(n.startswith(p) for n in named)), None)
        if prefix is None:
            break
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    return arrays


def _as_float32(array: np.ndarray) -> np.ndarray:
    kinds = (np.float16, np.float64, ml_dtypes.bfloat16)
    return array.astype(np.float32) if array.dtype in kinds else array


def _read_safetensors(file: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(file)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise torch_files.Damaged(str(error)) from error


def _read_torch(file: Path) -> dict[str, np.ndarray]:
    content, numbers = torch_files.read(file)
    found = dict(_sets(content))
    if not found:
        raise ValueError(f"{file}: {_instead(content)}")
    key = _chosen(found)
    if len(found) > 1:
        others = few(repr(other) for other in found if other != key)
        print(f"{file}: taking the arrays under {key!r}; there are also {others}", flush=True)
    return {name: numbers(tensor) for name, tensor in found[key].items()}


def _sets(content: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, dict]]:
    """The sets of arrays by name in what was saved: (key, {name: tensor})."""
    if not isinstance(content, Mapping) or getattr(content, "is_module", False):
        return
    tensors = {name: torch_files.as_tensor(value) for name, value in content.items()}
    tensors = {n: t for n, t in tensors.items() if t is not None and isinstance(n, str)}
    if any("." in name for name in tensors) or (tensors and not _nested(content)):
        yield path, tensors
        return
    for key, value in content.items():
        if isinstance(key, str) and depth < _DEPTH and not _is_other(key):
            yield from _sets(value, f"{path}/{key}" if path else key, depth + 1)


def _nested(content: Mapping) -> bool:
    known = (*AVERAGED, *KEYS)
    return any(isinstance(value, Mapping) and key in known for key, value in content.items())


def _is_other(key: str) -> bool:
    return key not in (*AVERAGED, *KEYS) and _NOT_WEIGHTS.search(key) is not None


def _chosen(found: Mapping[str, Mapping]) -> str:
    """The key of the set to take: the moving average if it has all arrays, else the best known."""
    last = lambda key: key.rpartition("/")[2]

    def rank(key: str) -> tuple[int, int]:
        names = key.split("/")
        averaged = any(name in AVERAGED or "ema" in name.split("_") for name in names)
        complete = len(found[key]) >= max(map(len, found.values()))
        known = KEYS.index(last(key)) if last(key) in KEYS else len(KEYS)
        return (0 if averaged and complete else 2 if averaged else 1), known

    return min(found, key=rank)


def _instead(content: Any) -> str:
    """What was saved where arrays were expected, for a message."""
    modules = [(None, content)]
    modules += content.items() if isinstance(content, Mapping) else []
    for key, value in modules:
        if getattr(value, "is_module", False):
            under = f" under {key!r}" if key else ""
            return (
                f"a whole {value.made_by} was pickled{under}, which only its own program can "
                "open, expected arrays by name: there, save the state_dict() of the network"
            )
    if isinstance(content, Mapping):
        held = f"the keys {few(map(str, content), shown=8)}" if content else "nothing"
    else:
        held = f"a {getattr(content, 'made_by', '') or type(content).__name__}"
    return f"found {held}, expected arrays by name, or under {', '.join(KEYS)} or {AVERAGED[0]}"
