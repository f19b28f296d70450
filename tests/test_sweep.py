"""The sweep: it runs what is unfinished, goes on after a kill, and says what failed."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, run
from etils import epath

from jaxdet import studies, sweep
from jaxdet.studies import Change, Training
from jaxdet.training import logs

RECIPE = '''
"""Two changes of a tiny quickstart."""
from jaxdet.configs import quickstart
from jaxdet.studies import Change, Seeds, changed

SEEDS = Seeds(baseline=1, change=1)
CHANGES = {
    "soft": Change("soft NMS", {"evaluation.nms": "soft"}),
    "mish": Change("mish", {"model.backbone.activation": "mish"}),
    "shorter": Change("half of the steps", {"schedule.steps": 2}),
    "wrong": Change("a misspelt name", {"model.backbone.activation": "mosh"}),
}


def get_config(change="baseline"):
    config = quickstart.get_config()
    config.model.size = 64
    config.model.backbone.channels = (8, 8, 8, 8, 8)
    config.model.neck.channels = (8,)
    config.data.batch_size = 8
    config.evaluation.update(batch_size=40, max_kept=20)
    config.schedule.update(warmup=0.0, steps=30)
    config.every.update(log=1, picture=0, checkpoint=2, evaluation=30)
    return changed(config, CHANGES, change)
'''


def test_a_shard_is_every_nth_run():
    each = [Training("a", seed) for seed in range(5)]
    assert sweep.part(each, "1/1") == each
    assert sweep.part(each, "2/3") == [each[1], each[4]]
    for wrong in ("0/2", "3/2", "2", "a/b"):
        with pytest.raises(ValueError, match="expected I/N with I from 1 to N"):
            sweep.part(each, wrong)


def test_an_evaluation_is_in_the_shard_of_its_weights_and_waits_for_them():
    baseline, change, nms = Training("baseline", 0), Training("a", 0), Training("b", 0, False)
    later = Training("baseline", 1), Training("b", 1, False)
    runs = [baseline, change, nms, *later]
    assert sweep.part(runs, "1/2") == [baseline, nms, *later]
    assert sweep.part(runs, "2/2") == [change]
    assert sweep.part([nms, later[1]], "2/2") == [later[1]]  # with --only
    assert sweep.first_ready([nms, *later], [baseline]) == later[0]
    assert sweep.first_ready([nms, *later], [change]) == nms
    assert sweep.first_ready([nms], [baseline]) is None
    assert sweep.first_ready([], []) is None


def test_a_changes_own_keys_win_over_the_flags(monkeypatch):
    given = ["--config.init_from=x", "--config.model.neck.channels=(8,)", "--config.seed=3"]
    monkeypatch.setattr(sys, "argv", ["sweep", "--config=a", *given, "--jobs=2"])
    assert sweep.overrides(None) == given
    change = Change("", {"init_from": "", "model.neck": "fpn"})
    assert sweep.overrides(change) == given[-1:]


def test_finished_is_what_was_evaluated_at_the_end(tmp_path):
    folder = epath.Path(tmp_path)
    assert not studies.finished(folder)
    (folder / "config.json").write_text('{"data": {}, "schedule": {"steps": 4}}')
    log = logs.Log(folder, resumed_at=0, names=())
    for step, kind, expected in ((2, "eval", False), (4, "train", False), (4, "eval", True)):
        log.scalars(step, kind, {"AP": 0.5})
        assert studies.finished(folder) == expected


def command(recipe, folder, shapes, *more):
    place = [f"--config={recipe}", f"--workdir={folder}", f"--config.data.dir={shapes}"]
    return [*place, *more]


def wait_for(path, *, text="", seconds=120):
    end = time.monotonic() + seconds
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < end, path
        time.sleep(0.05)


@pytest.mark.slow
def test_a_sweep_goes_on_after_sigterm_and_gives_the_same_bits(shapes, tmp_path):
    recipe, folder = tmp_path / "tiny.py", tmp_path / "runs"
    recipe.write_text(RECIPE)
    arguments = command(recipe, folder, shapes, "--only=baseline,soft,mish")
    start = [sys.executable, "-m", "jaxdet.sweep", *arguments]
    process = subprocess.Popen(start, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_for(folder / "baseline/0/metrics.jsonl", text='"step": 3')
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0].decode()
    assert process.returncode == os.EX_TEMPFAIL, said
    assert "0 of 3 runs are finished, of 30 steps each" in said
    assert "told to stop, saved at step" in (folder / "baseline/0/sweep.log").read_text()

    said = run(*arguments, module="jaxdet.sweep")
    assert "3 of 3 runs are finished" in said
    soft = (folder / "soft/0/sweep.log").read_text()
    assert "compiling the training step" not in soft  # it has the baseline's weights
    whole = command(recipe, tmp_path / "whole", shapes)[1:]
    run(f"--config={recipe}:baseline", *whole, "--config.seed=0")
    measured = lambda path: [
        {name: value for name, value in each.items() if "per_second" not in name}
        for each in logs.Lines(epath.Path(path) / "metrics.jsonl", write=False).records
    ]
    mine, by_hand = measured(folder / "baseline/0"), measured(tmp_path / "whole")
    for each in (*mine, *by_hand):
        each.pop("share_waiting_for_input", None)
    assert mine == by_hand
    assert [each["kind"] for each in measured(folder / "soft/0")].count("eval") == 1
    assert studies.spent(epath.Path(folder) / "baseline/0")["processor"] > 0
    assert "3 of 3 runs are finished" in run(*arguments, module="jaxdet.sweep")


@pytest.mark.slow
def test_a_failure_is_one_line_and_the_others_are_run(shapes, tmp_path):
    recipe, folder = tmp_path / "tiny.py", tmp_path / "runs"
    recipe.write_text(RECIPE)
    more = ("--only=wrong,shorter", "--jobs=2", "--config.schedule.steps=4")
    said = run(*command(recipe, folder, shapes, *more), module="jaxdet.sweep", ok=False)
    (line,) = [each for each in said.splitlines() if "failed" in each]
    assert line.startswith("wrong/0 failed (2): jaxdet: config.model.backbone.activation")
    assert "1 of 2 runs are finished" in said
    records = logs.Lines(epath.Path(folder) / "shorter/0/metrics.jsonl", write=False).records
    assert records[-1]["step"] == 2
