"""Reads the arrays of PyTorch's `.pth` files without PyTorch, and without running their code.

Such a file is a pickle whose tensors refer to storages, which lie beside it in a zip archive
(PyTorch 1.6 and later) or after it (earlier). Only tensors and plain containers are rebuilt.
Whatever else was pickled becomes a `Foreign`, which keeps its attributes and does nothing.
"""

import collections
import dataclasses
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled number such files begin with

_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class Foreign(dict):
    """An object of a class that is not rebuilt: its items, if it is a dictionary, and its state."""

    made_by = ""  # module and name of the class
    state = {}  # unless it is restored

    def __init__(self, *_, **__):
        super().__init__()

    def __setstate__(self, state: Any):
        self.state = state if isinstance(state, dict) else {"state": state}

    def append(self, _):
        """Does nothing: the items of foreign lists are not needed."""

    extend = add = append
    __hash__ = object.__hash__

    @property
    def is_module(self) -> bool:
        """Whether it is a network as a whole, with its code by name, instead of its arrays."""
        return "_parameters" in self.state and "_modules" in self.state


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor whose numbers have not been read yet."""

    storage: tuple[str, type, int]  # name, dtype, count
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements


class _Parameter:
    """A parameter of PyTorch 0.3 and before, pickled around a tensor or with it in its state."""

    def __new__(cls, data: Any = None, *_):
        made = super().__new__(cls)
        made.data = data
        return made

    def __setstate__(self, state: Any):
        if isinstance(state, tuple) and state and isinstance(state[0], Tensor):
            self.data = state[0]


class Damaged(Exception):
    """The file is not what its beginning promises, most often because it was cut off."""


def read(file: Path) -> tuple[Any, Callable[[Tensor], np.ndarray]]:
    """What was saved in `file`, and a function that reads the numbers of a tensor in it.

    ValueError for a TorchScript program, and for an archive of another kind; `Damaged`, also when
    numbers are read, for a file that is cut off.
    """
    with file.open("rb") as stream:
        if stream.read(len(LEGACY)) == LEGACY:
            return _read_legacy(stream, file)
    return _read_zip(file)


def _read_zip(file: Path) -> tuple[Any, Callable[[Tensor], np.ndarray]]:
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise Damaged(str(error)) from error
    names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        raise ValueError(
            f"{file} is a TorchScript program, expected arrays by name: save the state_dict() of "
            "the network instead"
        )
    folder = next((n.removesuffix("data.pkl") for n in names if n.endswith("/data.pkl")), None)
    if folder is None:
        raise ValueError(f"{file} is an archive without PyTorch's data.pkl: {', '.join(names[:3])}")
    order = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in names else b"little"
    with archive.open(f"{folder}data.pkl") as stream:
        content = _Unpickler(stream).load()

    def numbers(storage: tuple[str, type, int]) -> np.ndarray:
        name, dtype, count = storage
        kind = np.dtype(dtype).newbyteorder("<" if order == b"little" else ">")
        try:
            return np.frombuffer(archive.read(f"{folder}data/{name}"), kind, count)
        except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, ValueError) as error:
            raise Damaged(str(error)) from error

    return content, lambda tensor: _array(tensor, numbers)


def _read_legacy(stream: BinaryIO, file: Path) -> tuple[Any, Callable[[Tensor], np.ndarray]]:
    for _ in range(2):  # the version of the protocol, and a description of the machine
        _Unpickler(stream).load()
    reader = _Unpickler(stream)
    content = reader.load()
    places = {}
    for name in _Unpickler(stream).load():  # the storages, in the order in which they follow
        size = stream.read(8)
        if len(size) < 8:
            raise Damaged("it ends within its numbers")
        count = int.from_bytes(size, "little")
        places[name] = stream.tell()
        stream.seek(count * np.dtype(reader.dtypes[name]).itemsize, 1)
    if stream.tell() > file.stat().st_size:
        raise Damaged("it ends within its numbers")

    def numbers(storage: tuple[str, type, int]) -> np.ndarray:
        name, dtype, count = storage
        return np.fromfile(file, dtype, count, offset=places[name])

    return content, lambda tensor: _array(tensor, numbers)


def _array(tensor: Tensor, numbers: Callable[[tuple[str, type, int]], np.ndarray]) -> np.ndarray:
    count = tensor.storage[2]
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if 0 not in tensor.shape and not 0 <= tensor.offset + last < count:
        raise ValueError(f"a tensor of shape {tensor.shape} goes beyond its {count} numbers")
    flat = numbers(tensor.storage)
    flat = flat.astype(flat.dtype.newbyteorder("="), copy=False)[tensor.offset :]
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, flat.dtype)
    strides = [step * flat.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: BinaryIO):
        super().__init__(stream, encoding="latin-1")  # some files are Python 2's
        self.dtypes = {}  # by name of storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _REBUILT:
            return _REBUILT[module, name]
        if module == "torch" and name in _DTYPES:
            return name
        return type(name, (Foreign,), {"made_by": f"{module}.{name}"})

    def load(self) -> Any:
        try:
            return super().load()
        except Exception as error:  # damaged pickles can raise anything
            raise Damaged(str(error)) from error

    def persistent_load(self, id: tuple) -> Any:
        kind, what, *more = id
        if kind == "module":  # the class of a network, with its source code
            return what
        name, _, count, *view = more
        if what not in _DTYPES or any(view):
            raise pickle.UnpicklingError(f"an unknown reference {id!r}")
        self.dtypes[name] = _DTYPES[what]
        return name, _DTYPES[what], count


def _tensor(storage, offset, shape, strides, *_) -> Tensor:
    return Tensor(storage, offset, tuple(shape), tuple(strides))


_REBUILT = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): lambda *_: collections.OrderedDict(),
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("torch.nn.parameter", "Parameter"): _Parameter,
}


def as_tensor(value: Any) -> Tensor | None:
    """The tensor that `value` is or, as an old parameter, holds; None for anything else."""
    value = value.data if isinstance(value, _Parameter) else value
    return value if isinstance(value, Tensor) else None
