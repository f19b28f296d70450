"""The command `jaxdet`: what it lists, how a mistake ends, and the help of every command."""

import re
import subprocess
import sys

import programs
import pytest
from conftest import ROOT
from test_floors import FLOORS

from jaxdet import __main__ as entry
from jaxdet import recipes


def jaxdet(*arguments, cwd=ROOT, module="jaxdet"):
    """Exit status and output of `jaxdet ARGUMENTS`."""
    return programs.run(module, list(map(str, arguments)), cwd=str(cwd))


def test_it_lists_every_command_in_a_terminals_width(capsys):
    assert entry.main([]) == entry.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert said[: len(said) // 2] * 2 == said
    assert max(map(len, said.splitlines())) <= 80
    for name, (_, what) in entry.COMMANDS.items():
        assert re.search(rf"^  {name} +{what}$", said, re.MULTILINE)
    listed = {module for module, _ in entry.COMMANDS.values()} | {"__main__"}
    assert listed == {name.removesuffix("/__main__") for name in FLOORS["commands"][0]}


def test_the_list_takes_no_import_that_takes_time():
    heavy = "import sys\nfrom jaxdet.__main__ import main\nmain([])\n"
    heavy += "print({'jax', 'numpy', 'absl'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", heavy], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.endswith("set()\n"), done.stderr


def test_version(capsys):
    assert entry.main(["--version"]) == 0
    assert re.fullmatch(r"jaxdet \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_help_fits_a_terminal_and_has_two_examples(name):
    status, said = jaxdet(name, "--help")
    assert status == 0 and said.startswith(f"usage: jaxdet {name} ")
    assert max(map(len, said.splitlines())) <= 80
    examples = re.findall(r"^    (?:jaxdet|curl|\.\.\.) .+", said, re.MULTILINE)
    assert len(examples) >= 2
    takes_recipe = name in ("train", "eval", "sweep", "doctor", "anchors", "convert", "models")
    known = set(re.findall(r"\S+", said.partition("\nrecipes:\n")[2]))
    assert known == (set(recipes.names()) if takes_recipe else set())
    if takes_recipe and name != "models":
        assert "--config " in said and "--workdir " in said and "--config.KEY" in said
    if name in ("train", "eval"):
        assert re.search("--mode .*train, eval", said)


def test_help_of_a_module_names_the_module():
    _, said = jaxdet("-h", module="jaxdet.doctor")
    assert said.startswith("usage: python -m jaxdet.doctor ") and "--no-steps" in said
    assert "    python -m jaxdet.doctor --config=ssd300_voc" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "there is no command 'trian'; did you mean train?"),
        (["train"], "--workdir must be given; jaxdet train --help"),
        (["train", "--workdir=w"], "--mode=train needs a recipe"),
        (["train", "--workdir=w", "--config=quikstart"], "did you mean quickstart?"),
        (["train", "--workdir=w", "--config", "quickstart", "--confg=x"], "flag 'confg'"),
        (["train", "--config.sed=3", "--config=quickstart"], "did you mean config.seed?"),
        (["train", "--config.seed=x", "--config", "quickstart"], "--config.seed=x"),
        (["train", "--config.seed=3", "--workdir=w"], "--config.seed needs a recipe"),
        (["train", "--mode=evaluate"], "--mode=evaluate"),
        (["train", "--config=quickstart", "--workdir=w", "stray"], "unknown arguments"),
        (["eval", "--workdir=w"], "w holds no run"),
        (["eval", "--config=quickstart", "--workdir=w"], "no checkpoint in"),
        (["doctor"], "--config must be given; jaxdet doctor --help"),
        (["convert", "--source=nobody"], "--source=nobody"),
        (["predict", "--workdir=w"], "are required: --input, --output; jaxdet predict --help"),
        (["report", "--workdir=w"], "no checkpoint in"),
        (["sweep", "--config=quickstart", "--workdir=w"], "quickstart is not a study"),
        (["sweep", "--config=study/shapes", "--workdir=w", "--only=fnp"], "did you mean 'fpn'"),
        (["runs", ".", "--no_such"], "--no_such"),
        (["runs", ".", "--study"], "holds no study: there is no study.json"),
        (["models", "quikstart"], "did you mean quickstart?"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(arguments, message, tmp_path):
    status, said = jaxdet(*arguments, cwd=tmp_path)
    assert (status, len(said.splitlines())) == (2, 1), said
    assert said.startswith("jaxdet: ") and message in said


@pytest.mark.slow
def test_train_and_eval_are_the_two_modes(shapes, trained, tmp_path):
    workdir, said = trained
    status, again = jaxdet("eval", f"--workdir={workdir}", cwd=tmp_path)
    assert status == 0 and f"predictions  {workdir}" in again
    given = [f"--workdir={workdir}", f"--config.data.dir={shapes}", "--config=quickstart"]
    status, other = jaxdet("train", *given, cwd=tmp_path)
    assert status == 2 and "was created with another config" in other  # than the small one
