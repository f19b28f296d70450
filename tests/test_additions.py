"""Each of the seven kinds of parts is one new file or one new function, and nothing else.

docs/design.md, "How to add ...". The toys below are added to a copy of the package.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

FILES = {
    "backbones/toy_backbone.py": """
import flax.linen as nn
from jaxdet.layers.activations import relu
from jaxdet.layers.blocks import Activation, ConvBlock, maps_at

class Toy(nn.Module):
    activation: Activation = relu
    strides: tuple[int, ...] = (8, 16)

    @nn.compact
    def __call__(self, x, *, train):
        maps = {}
        for i in range(1, 5):
            x = ConvBlock(8, 3, 2, activation=self.activation, name=f"conv{i}")(x, train=train)
            maps[2**i] = x
        return maps_at(maps, self.strides)

toy_backbone = Toy
""",
    "necks/toy_neck.py": """
import flax.linen as nn
from jaxdet.layers.blocks import ConvBlock

class Toy(nn.Module):
    features: int = 8

    @nn.compact
    def __call__(self, maps, *, train):
        conv = lambda i, x: ConvBlock(self.features, name=f"conv{i}")(x, train=train)
        return tuple(conv(i, x) for i, x in enumerate(maps))

toy_neck = Toy
""",
    "detectors/toy_family.py": '''
from collections.abc import Callable
from functools import partial
from jaxdet.detectors.net import Net
from jaxdet.detectors.ssd import ssd
from jaxdet.losses.box import BoxLoss, mse

def toy_family(
    net: Callable[[tuple[int, ...]], Net], *, size, classes, fit, nms, box_loss: BoxLoss = mse
):
    """SSD with squares alone."""
    options = dict(strides=(8, 16), scales=(0.2, 0.4, 0.6), ratios=((), ()), box_loss=box_loss)
    return ssd(net, size=size, classes=classes, fit=fit, nms=nms, **options)
''',
    "convert/toy_source.py": """
_convs = {
    f"{theirs}.{i}.{part}": f"{ours}{i}/{layer}"
    for theirs, ours, numbers in (("b", "backbone/conv", (1, 2, 3, 4)), ("n", "neck/conv", (0, 1)))
    for i in numbers
    for part, layer in (("0", "conv"), ("1", "norm"))
}
_head = {f"{kind}.{i}": f"head/{kind}{i}" for kind in ("boxes", "logits") for i in range(2)}
MODELS = {("toy_family", "toy_neck", "toy_backbone"): _convs | _head}

def rearrange(weights):
    return dict(weights)
""",
}
FUNCTIONS = {
    "losses/box.py": '''

def toy_loss(outputs, boxes, anchors, codec, *, scale: float = 1.0):
    """The absolute error of the codes."""
    return scale * jnp.abs(codec.activate(outputs) - codec.encode(boxes, anchors)).sum(axis=-1)
''',
    "layers/activations.py": '''

def toy_activation(x: jax.Array) -> jax.Array:
    """A soft relu."""
    return jax.nn.softplus(x)
''',
    "augment/mix.py": '''

def toy_mix(key, pixels, objects, *, share: float = 0.5):
    """A darker batch."""
    return pixels * share, mixed.joined(objects)
''',
}
RECIPE = '''
"""A recipe of toys. Published: nothing. Measured here: no."""
from configs import quickstart

def get_config():
    config = quickstart.get_config()
    config.model.size = 64
    config.model.backbone = dict(name="toy_backbone", activation="toy_activation")
    config.model.neck = dict(name="toy_neck")
    config.model.detector = dict(name="toy_family", box_loss=dict(name="toy_loss", scale=2.0))
    config.augment.mix = (dict(name="toy_mix", share=0.25), dict(name="mixup", alpha=1.0))
    config.data.update(canvas=64, batch_size=8)
    config.schedule.update(steps=2, warmup=1)
    config.evaluation.batch_size = 40
    config.every.update(log=1, checkpoint=2, evaluation=2, picture=2)
    return config
'''
USE = """
import sys
import jax, numpy as np, safetensors.numpy
from configs import toys
from jaxdet import build
from jaxdet.convert import weights

assert build.__file__.startswith(sys.argv[1]), build.__file__
recipe = build.recipe(toys.get_config(), ("a", "b"))
assert recipe.model == ("toy_family", "toy_neck", "toy_backbone")
variables = recipe.detector.init(jax.random.key(1))
source = weights.sources()["toy_source"]
table = source.MODELS[recipe.model]
where = {}
import flax.traverse_util
leaves = {"kernel": "weight", "scale": "weight", "bias": "bias"}
leaves |= {"mean": "running_mean", "var": "running_var"}
by_ours = {ours: theirs for theirs, ours in table.items()}
for path in flax.traverse_util.flatten_dict(variables):
    where[f"{by_ours['/'.join(path[1:-1])]}.{leaves[path[-1]]}"] = path
theirs = weights.to_theirs(variables, where)
theirs = {name: np.ascontiguousarray(array) for name, array in theirs.items()}
safetensors.numpy.save_file(theirs, "toys.safetensors")
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project with the seven toys, in another folder."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("jaxdet", "configs", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.tar.xz")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name, text in FILES.items():
        (folder / "jaxdet" / name).write_text(text)
    for name, text in FUNCTIONS.items():
        with (folder / "jaxdet" / name).open("a") as file:
            file.write(text)
    (folder / "configs" / "toys.py").write_text(RECIPE)
    (folder / "use.py").write_text(USE)
    return folder


def run(copy, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_recipe_can_name_all_of_them(copy, shapes):
    """It trains, evaluates, and takes weights by the names of the toy source."""
    place = ["--config=configs/toys.py", f"--config.data.dir={shapes}"]
    said = run(copy, "-m", "jaxdet.main", *place, "--workdir=run")
    assert "toy_backbone + toy_neck + toy_family" in said and "step 2, shapes_val" in said
    run(copy, "use.py", copy)
    options = ["--source=toy_source", "--weights=toys.safetensors", "--workdir=converted"]
    said = run(copy, "-m", "jaxdet.convert", *place, *options)
    assert "arrays from toys.safetensors" in said


@pytest.mark.slow
def test_the_contracts_find_all_of_them(copy):
    said = run(
        copy, "-m", "pytest", "tests/test_contracts.py", "-q", "-k", "toy", "-p", "no:cacheprovider"
    )
    found = int(said.split(" passed")[0].split()[-1])
    assert found >= 15, said[-2000:]
