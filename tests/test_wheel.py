"""What is installed: all files of the package, with the recipes, and no dependence on the clone."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
from conftest import ROOT

pytest.importorskip("setuptools", minversion="77", reason="setuptools >= 77 is in the extra [dev]")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of what a package is built from: building writes beside its sources."""
    folder = tmp_path_factory.mktemp("clone") / "jaxdet"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("jaxdet", "configs"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def build(kind, project, folder):
    """The archive that setuptools builds: a `wheel`, an `sdist` or an `editable` wheel."""
    command = f"from setuptools import build_meta as b; b.build_{kind}({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", command], cwd=project, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    (archive,) = folder.iterdir()
    return archive


@pytest.fixture(scope="module")
def installed(project, tmp_path_factory):
    """A wheel, unpacked."""
    archive = build("wheel", project, tmp_path_factory.mktemp("wheel"))
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(archive).extractall(folder)
    return folder


@pytest.mark.slow
def test_a_wheel_has_every_file_of_the_package(installed, project):
    ours = {
        os.path.relpath(os.path.join(folder, name), project)
        for folder, _, names in os.walk(project / "jaxdet", followlinks=True)
        for name in names
    }
    found = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    assert {path for path in found if ".dist-info" not in path} == ours
    assert {f"jaxdet/{name}" for name in ("configs/quickstart.py", "data/checksums.tsv")} <= ours
    assert {path for path in ours if path.endswith(".html")}
    (entry,) = installed.glob("*.dist-info/entry_points.txt")
    assert "jaxdet = jaxdet.__main__:main" in entry.read_text()


@pytest.mark.slow
def test_the_wheel_works_without_the_clone(installed, tmp_path):
    def jaxdet(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        command = [sys.executable, "-P", "-m", "jaxdet", *arguments]
        kept = dict(cwd=tmp_path, env=environment, text=True)
        done = subprocess.run(command, capture_output=True, **kept)
        return done.returncode, done.stdout + done.stderr

    status, said = jaxdet("--help")
    assert status == 0 and "\n  train " in said
    status, said = jaxdet("train", "--config=quickstart", "--config.sed=1", "--workdir=run")
    assert (status, said) == (
        2,
        "jaxdet: quickstart has no config.sed; did you mean config.seed?\n",
    )
    status, said = jaxdet("predict", "--workdir=run", "--input=.", "--output=out")
    assert status == 2 and said.startswith("jaxdet: no checkpoint in ") and said.count("\n") == 1


@pytest.mark.slow
def test_an_editable_install_wins_over_the_folder_of_the_clone(project, tmp_path):
    """Above a clone called jaxdet, that folder is found first, but as a namespace."""
    archive = build("editable", project, tmp_path)
    files = zipfile.ZipFile(archive)
    (link,) = [name for name in files.namelist() if name.endswith((".pth", ".py"))]
    assert files.read(link).decode().strip() == str(project)
    path = f"import sys; sys.path[:] = ['', *sys.path[1:], {str(project)!r}]; "
    asked = [sys.executable, "-S", "-I", "-c", path + "import jaxdet; print(jaxdet.__file__)"]
    done = subprocess.run(asked, cwd=project.parent, capture_output=True, text=True)
    assert done.stdout.strip() == str(project / "jaxdet" / "__init__.py"), done.stderr


@pytest.mark.slow
def test_a_source_distribution_has_the_recipes(project, tmp_path):
    with tarfile.open(build("sdist", project, tmp_path)) as archive:
        names = archive.getnames()
    assert [name for name in names if name.endswith("/jaxdet/configs/freeze/pretrained.py")]
