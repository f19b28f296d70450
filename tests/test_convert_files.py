"""Files of weights: what is read, and that everything else is refused in one line.

`torch_files/` was written by PyTorch 2.13, in its present and its former format; `saved` writes the
present one without PyTorch.
"""

import pathlib
import pickle
import re
import sys
import types
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from conftest import ROOT, run

from jaxdet.convert import darknet, files, lufficc, torch_files, weights
from jaxdet.engine import init_from

MADE = pathlib.Path(__file__).parent / "torch_files"
ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


class Pickler(pickle.Pickler):
    """Writes arrays of float32 as PyTorch's tensors."""

    def __init__(self, stream):
        super().__init__(stream, protocol=2)
        self.arrays = []

    def persistent_id(self, obj):
        is_storage = isinstance(obj, tuple) and len(obj) == 5 and isinstance(obj[0], str)
        return obj if is_storage else None

    def reducer_override(self, obj):
        if not isinstance(obj, np.ndarray):
            return NotImplemented
        self.arrays.append(obj)
        kind = sys.modules["torch"].FloatStorage
        storage = ("storage", kind, str(len(self.arrays) - 1), "cpu", obj.size)
        strides = tuple(step // 4 for step in obj.strides)
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (storage, 0, obj.shape, strides, False, {})


@pytest.fixture
def saved(monkeypatch, tmp_path):
    """A function that saves a value as `torch.save` does, and returns the file."""
    names = {"torch": "class FloatStorage: ...", "torch._utils": "def _rebuild_tensor_v2(): ..."}
    names["torch.nn.parameter"] = "class Parameter: ..."
    for name, definition in names.items():
        module = types.ModuleType(name)
        exec(definition, module.__dict__)  # what is pickled by its name only
        monkeypatch.setitem(sys.modules, name, module)

    def save(value, name="w.pth"):
        file = tmp_path / name
        with zipfile.ZipFile(file, "w") as archive:
            with archive.open("w/data.pkl", "w") as stream:
                pickler = Pickler(stream)
                pickler.dump(value)
            for number, array in enumerate(pickler.arrays):
                archive.writestr(f"w/data/{number}", array.tobytes())
        return file

    return save


@pytest.mark.parametrize("name", ["zip.torch", "legacy.torch"])
def test_arrays_are_those_that_pytorch_saved(name):
    found = files.read(MADE / name)
    assert list(found) == ["conv.weight", "conv.t", "part", "bf", "h", "p", "n", "b", "e"]
    assert found["conv.weight"].shape == (2, 3, 3, 3)
    # torch.manual_seed(0); torch.randn(2, 3, 3, 3)
    drawn = np.array([-1.1258398, -1.1523602, -0.25057858], np.float32)
    np.testing.assert_array_equal(found["conv.weight"][0, 0, 0], drawn)
    np.testing.assert_array_equal(found["conv.t"], np.arange(12.0).reshape(3, 4).T)
    np.testing.assert_array_equal(found["part"], [3, 4, 5, 6])  # a view of ten
    np.testing.assert_array_equal(found["bf"], [1.5, -2.25])  # bfloat16
    np.testing.assert_array_equal(found["h"], [0.5, 3.0])  # float16
    assert found["bf"].dtype == found["h"].dtype == np.float32
    assert found["n"] == 7 and found["b"].tolist() == [True, False] and found["e"].shape == (0, 3)


@pytest.mark.parametrize("key", [*files.KEYS, *files.AVERAGED, "something", "model_state"])
def test_arrays_are_found_under_any_key(saved, key):
    file = saved({"epoch": 3, key: {"a.weight": ARRAY}, "optimizer": {"x.y": ARRAY}})
    np.testing.assert_array_equal(files.read(file)["a.weight"], ARRAY)
    within = saved({"checkpoint": {key: {"a.weight": ARRAY}}, "epoch": 3})
    assert list(files.read(within)) == ["a.weight"]


def test_the_moving_average_is_taken_if_it_is_complete_and_a_line_says_so(saved, capsys):
    both = {"a.weight": ARRAY, "a.running_mean": ARRAY[0]}
    file = saved(
        {"model": both, "ema": {"decay": 0.9, "shadow": {k: v + 1 for k, v in both.items()}}}
    )
    np.testing.assert_array_equal(files.read(file)["a.weight"], ARRAY + 1)
    assert "taking the arrays under 'ema/shadow'; there are also 'model'" in capsys.readouterr().out
    file = saved({"model_ema": {"a.weight": ARRAY + 1}, "model": both})
    np.testing.assert_array_equal(files.read(file)["a.weight"], ARRAY)
    assert "taking the arrays under 'model'; there are also 'model_ema'" in capsys.readouterr().out


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "_orig_mod.", "net.", "module.model.", "_orig_mod.module."]
)
def test_a_prefix_of_all_names_is_taken_off(tmp_path, prefix):
    given = {f"{prefix}a.weight": ARRAY, f"{prefix}b.bias": ARRAY[0], "n_averaged": np.array(3)}
    safetensors.numpy.save_file(given, tmp_path / "w.safetensors")
    assert set(files.read(tmp_path / "w.safetensors")) == {"a.weight", "b.bias", "n_averaged"}
    some = {f"{prefix.replace('_orig_mod.', '')}a.weight": ARRAY, "b.bias": ARRAY[0]}
    assert set(files.plain_names(some)) == set(some)  # not all of them have it


def test_half_precision_is_read_as_float32(tmp_path):
    given = {"a": ARRAY.astype(ml_dtypes.bfloat16), "b": ARRAY.astype(np.float16)}
    safetensors.numpy.save_file(given, tmp_path / "w.safetensors")
    for array in files.read(tmp_path / "w.safetensors").values():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, ARRAY)


def test_the_contents_decide_not_the_extension(saved, tmp_path):
    zipped = saved({"a.weight": ARRAY}, "zipped.safetensors")
    safetensors.numpy.save_file({"a.weight": ARRAY}, tmp_path / "safe.pth")
    for file in (zipped, tmp_path / "safe.pth"):
        np.testing.assert_array_equal(files.read(file)["a.weight"], ARRAY)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html>404</html>", "is a web page, not weights: the download failed"),
        (POINTER, "is a Git LFS pointer, not the weights: `git lfs pull`"),
        (b'{"message": "Not Found"}', "is JSON, not weights"),
        (b"\x1f\x8b\x08\0", "is a gzip archive: unpack it"),
        (b"just text", "is neither a .safetensors nor a .pth file"),
        (b"PK\x05\x06" + bytes(18), "is an archive without PyTorch's data.pkl"),
    ],
)
def test_what_is_no_file_of_weights_is_named(tmp_path, contents, message):
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_bytes(contents)
        with pytest.raises(ValueError, match=f"{name} {re.escape(message)}.*$") as refused:
            files.read(tmp_path / name)
        assert "\n" not in str(refused.value)


def test_a_file_that_was_cut_off_is_refused_in_one_line(tmp_path):
    safetensors.numpy.save_file({"a.weight": ARRAY}, tmp_path / "whole.safetensors")
    whole = [MADE / "zip.torch", MADE / "legacy.torch", tmp_path / "whole.safetensors"]
    for file in whole:
        contents = file.read_bytes()
        for end in (30, len(contents) // 2, len(contents) - 9):
            cut = tmp_path / f"cut{file.suffix}"
            cut.write_bytes(contents[:end])
            with pytest.raises(
                ValueError, match=f"damaged or was cut off after {end:,} bytes"
            ) as no:
                files.read(cut)
            assert "\n" not in str(no.value)


def test_a_pickled_network_is_refused_in_one_line_and_none_of_its_code_runs(saved):
    with pytest.raises(ValueError, match="a whole torch.nn.modules.container.Sequential was") as no:
        files.read(MADE / "module.torch")
    assert "under 'model'" in str(no.value) and "save the state_dict()" in str(no.value)
    content, _ = torch_files.read(saved({"print": print, "a.weight": ARRAY}))
    assert issubclass(content["print"], torch_files.Foreign)  # a name, not the function


def test_parameters_of_pytorch_0_are_their_tensors(saved):
    class Old:
        def __init__(self, *form):
            self.form = form

        def __reduce__(self):
            kind = sys.modules["torch.nn.parameter"].Parameter
            return (kind, *self.form)

    called = Old((ARRAY,), (True, False, {}))
    stated = Old((), (ARRAY, None, {}, True, False))
    found = files.read(saved({"a.weight": called, "b.weight": stated}))
    for name in ("a.weight", "b.weight"):
        np.testing.assert_array_equal(found[name], ARRAY)


def test_what_has_no_arrays_is_refused_with_what_it_has(saved):
    with pytest.raises(ValueError, match="found the keys epoch, lr, expected arrays by name"):
        files.read(saved({"epoch": 3, "lr": 0.1}))
    with pytest.raises(ValueError, match="found a list, expected arrays by name"):
        files.read(saved([1, 2]))


def test_a_refusal_names_a_few_of_many():
    assert files.few("abc") == "a, b, c" and files.few("abcde") == "a, b, c and 2 more"
    many = {f"backbone.nothing.{i}.weight": np.zeros(1) for i in range(400)}
    with pytest.raises(ValueError, match=r"and 397 more, of 400 arrays$"):
        weights.paths(many, {})
    theirs = {f"{name}.weight": np.zeros(1) for name in lufficc.vgg16}
    with pytest.raises(ValueError, match="most names are those of lufficc's ssd . vgg_extras"):
        weights.paths(theirs, {})


def test_darknet_refuses_other_files_too(tmp_path):
    with pytest.raises(ValueError, match="is not a Darknet file: its contents are those of torch"):
        darknet.read(MADE / "zip.torch")
    (tmp_path / "y.weights").write_text("<html>")
    with pytest.raises(ValueError, match="is a web page"):
        darknet.read(tmp_path / "y.weights")


def test_what_a_run_starts_from_is_checked_first(tmp_path):
    vgg16, plain = {"backbone": {"name": "vgg16"}}, {"backbone": {"name": "plain"}}
    init_from.check("", vgg16)
    with pytest.raises(ValueError, match="nothing at runs/typo; expected a workdir or a weights"):
        init_from.check("runs/typo", vgg16)
    with pytest.raises(ValueError, match="jaxdet.convert --from=yolov3-tiny makes a workdir"):
        init_from.check("yolov3-tiny", vgg16)
    with pytest.raises(ValueError, match=f"the folder {tmp_path} has no checkpoints"):
        init_from.check(str(tmp_path), vgg16)
    (tmp_path / "empty.pth").touch()
    with pytest.raises(ValueError, match="is empty"):
        init_from.check(str(tmp_path / "empty.pth"), vgg16)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0 and so on")
    with pytest.raises(ValueError, match="photo.jpg is neither a .safetensors nor a .pth file"):
        init_from.check(str(tmp_path / "photo.jpg"), vgg16)
    init_from.check(str(MADE / "zip.torch"), vgg16)
    with pytest.raises(ValueError, match="ImageNet weights are known for .*, not for 'plain'"):
        init_from.check(str(MADE / "zip.torch"), plain)


def test_quantised_weights_are_refused():
    given = {"a.weight": np.zeros((2, 3), np.int8), "b.bias": np.zeros(2, np.float32)}
    with pytest.raises(ValueError, match="expected floats, found a.weight int8: quantised"):
        weights.renamed(given, {"a": "backbone/a", "b": "backbone/b"})


def test_main_checks_it_before_the_data(tmp_path):
    arguments = ["--config=configs/quickstart.py", f"--workdir={tmp_path / 'run'}"]
    arguments += [f"--config.data.dir={tmp_path / 'd'}", "--config.init_from=runs/typo"]
    said = run(*arguments, ok=False)
    assert "there is nothing at runs/typo" in said and "Traceback" not in said
    assert not (tmp_path / "d").exists() and ROOT.exists()
