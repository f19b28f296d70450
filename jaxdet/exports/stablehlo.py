"""StableHLO: a program each for CPU, GPU and TPU, from a machine that needs none of them.

A file is a zip with the weights, once, a program for each kind of device, in that device's forms,
and `about.json`. It needs JAX to run, but neither the recipe nor the network's code. On a CPU,
where the forms of convolutions depend on the number of images, a program for any number takes one
image after the other.
"""

import functools
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from jaxdet import backend
from jaxdet.exports import contract

PLATFORMS = {"cpu": "cpu", "cuda": "gpu", "tpu": "tpu"}  # JAX's name -> `backend.lowering_for`
ABOUT, WEIGHTS = "about.json", "weights.npz"


def write(
    subject: contract.Subject, file: Path, *, batch: int | None, nms: str, dtype: str
) -> None:
    """Writes a detector; `batch` None is any number of images."""
    leaves, tree = jax.tree.flatten(subject.variables)
    program = contract.program(nms)
    rows = jax_export.symbolic_shape("b")[0] if batch is None else batch
    images = jax.ShapeDtypeStruct((rows, *subject.shape, 3), jnp.dtype(dtype))
    given = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]

    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(ABOUT, json.dumps(subject.about, indent=1))
        arrays = io.BytesIO()
        np.savez(arrays, **{f"{i:04}": np.asarray(leaf) for i, leaf in enumerate(leaves)})
        archive.writestr(WEIGHTS, arrays.getvalue())
        for platform, forms in PLATFORMS.items():

            def run(leaves: list[jax.Array], images: jax.Array) -> tuple[jax.Array, ...]:
                variables = jax.tree.unflatten(tree, leaves)
                found = functools.partial(program, subject.detector, variables)
                if batch is None and backend.target() == "cpu":  # its forms depend on the number
                    each = jax.lax.map(lambda image: found(image[None]), images)
                    return jax.tree.map(lambda x: x[:, 0], each)
                return found(images)

            with backend.lowering_for(forms):
                made = jax_export.export(jax.jit(run), platforms=[platform])(given, images)
            archive.writestr(f"{platform}.stablehlo", made.serialize())


def read(file: Path, platform: str) -> tuple[jax_export.Exported, list[np.ndarray], dict[str, Any]]:
    """The program for a kind of device, the weights, and what the file knows about itself.

    ValueError if the file is no such export.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            about = json.loads(archive.read(ABOUT))
            program = jax_export.deserialize(bytearray(archive.read(f"{platform}.stablehlo")))
            with np.load(io.BytesIO(archive.read(WEIGHTS))) as arrays:
                leaves = [arrays[name] for name in sorted(arrays)]
    except (zipfile.BadZipFile, KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{file} is no file of `jaxdet export --format=stablehlo`: {error}"
        ) from error
    return program, leaves, about


def runner(file: Path) -> tuple[Any, Mapping[str, Any]]:
    """A compiled function from images to what the file returns, and what it knows about itself."""
    (platform,) = [name for name, kind in PLATFORMS.items() if kind == backend.target()]
    program, leaves, about = read(file, platform)
    leaves, call = jax.device_put(leaves), jax.jit(program.call)
    return lambda images: call(leaves, images), about
