"""The table of experiments, from workdirs written by hand and from a real one."""

import csv
import io
import json

import pytest
from conftest import run

from jaxdet.runs import __main__ as runs
from jaxdet.runs import listing

BEGAN = 1_700_000_000  # seconds


def workdir(folder, *, lines=(), began=BEGAN, purpose="", notes=None, **data):
    """A workdir with a log of so many (step, kind, values)."""
    (folder / "tensorboard").mkdir(parents=True)
    (folder / "tensorboard" / f"events.out.tfevents.{began}.host.1.2").touch()
    data = {"train": "no_such_set", "dir": str(folder), "batch_size": 4} | data
    (folder / "config.json").write_text(json.dumps({"purpose": purpose, "data": data, "seed": 0}))
    log = [{"step": step, "kind": kind, **values} for step, kind, values in lines]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in log))
    if notes is not None:
        (folder / "notes.md").write_text(notes)


def losses(*values, every=10, rate=2.0, speed="images_per_second"):
    return [
        (every * (i + 1), "train", {"box": 0.0, "loss": loss, speed: rate})
        for i, loss in enumerate(values)
    ]


def evaluations(*values, every=20):
    return [(every * (i + 1), "eval", {"mAP11": v, "mAP_area": 0}) for i, v in enumerate(values)]


@pytest.fixture
def folder(tmp_path):
    lines = losses(9.0, 3.5, 2.25, 2.0) + evaluations(0.5, 0.4)
    later = dict(purpose="frozen | half", notes="# went well\nmore", began=BEGAN + 60)
    workdir(tmp_path / "deep" / "second", lines=lines, **later)
    workdir(tmp_path / "first", lines=losses(8.0, 4.0), batch_size=8)
    return tmp_path


def cells(folder, *chosen):
    header, rows = listing.table(folder, chosen)
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_a_row_says_what_the_logs_say(folder):
    first, second = cells(folder)
    date = second.pop("date")
    assert date > first["date"] and len(date) == len("2026-01-31 12:00")
    assert second == {
        "id": "2",
        "name": "deep/second",
        "model": "-",  # this config has none
        "trained on": "no_such_set",
        "purpose": "frozen | half",
        "epochs": "40 steps",  # the number of training pictures is not known
        "last loss": "2.000",
        "evaluated on": "-",
        "metric": "mAP11",
        "best, %": "50.0",
        "at": "20 steps",
        "rank": "1 of 1",
        "time": "0:01:20",  # 40 steps of 4 pictures, 2 a second
        "notes": "went well",
    }
    assert (first["metric"], first["best, %"], first["time"]) == ("-", "-", "0:01:20")


def test_an_old_log_has_its_speed_by_another_name(tmp_path):
    workdir(tmp_path / "old", lines=losses(8.0, 4.0, speed="pictures_per_second"))
    (row,) = cells(tmp_path)
    assert row["time"] == "0:00:40"  # 20 steps of 4 images, 2 a second


def test_epochs_where_the_training_set_is_prepared(tmp_path, shapes):
    known = dict(train="shapes_val", dir=str(shapes), batch_size=40)  # 200 pictures
    workdir(tmp_path / "run", lines=losses(1.0, 1.0) + evaluations(0.1), **known)
    (row,) = cells(tmp_path)
    assert (row["epochs"], row["at"]) == ("4.0", "4.0")


def test_runs_that_have_just_begun_or_were_cut(tmp_path):
    workdir(tmp_path / "new")
    (tmp_path / "new" / "metrics.jsonl").unlink()
    workdir(tmp_path / "cut", lines=losses(5.0))
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "kind": "tra')
    cut, new = cells(tmp_path)
    assert (cut["epochs"], cut["last loss"]) == ("10 steps", "5.000")
    assert (new["epochs"], new["last loss"], new["time"]) == ("0 steps", "-", "-")


def test_what_is_not_a_run_is_left_out(folder, caplog):
    for name, text in {"model": '{"hidden_size": 8}', "empty": "", "list": "[]"}.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(text)
    assert len(cells(folder)) == 2
    assert "model/config.json is left out: it is not the config of a run" in caplog.text


def test_comparison_shows_configs_and_curves_on_one_scale(folder):
    rows = {row[0]: row[1:] for row in listing.table(folder, ["1", "deep/second"])[1]}
    assert rows["config.data.batch_size"] == ("8", "4")
    assert "config.seed" not in rows
    assert rows["purpose"] == ("", "frozen | half")
    one, two = rows["loss (train)"]
    assert one.startswith("8 ▇") and one.endswith(" 4") and len(one) < len(two)  # half the steps
    assert two.startswith("9 █") and two.endswith("▁ 2")
    assert rows["mAP11 (eval)"][0] == "-"


def test_a_curve_keeps_its_shape():
    rising, falling = listing._sparklines([([1, 100], [0.0, 1.0]), ([1, 100], [1.0, 0.0])])
    assert rising.split()[1] == falling.split()[1][::-1]
    assert set(rising.split()[1]) == set("▁▂▃▄▅▆▇█")


def test_runs_are_ranked_among_those_of_their_set_alone(tmp_path):
    for i, (name, value) in enumerate([("coco", 0.1), ("voc", 0.7), ("coco", 0.3), ("voc", 0.6)]):
        lines = losses(1.0) + evaluations(value)
        workdir(tmp_path / f"run{i}", lines=lines, began=BEGAN + 60 * i, eval=name)
    workdir(tmp_path / "run4", lines=losses(1.0), began=BEGAN + 300, eval="voc")
    other = [(20, "eval", {"AP": 0.9})]
    workdir(tmp_path / "run5", lines=other, began=BEGAN + 360, eval="voc")
    rows = cells(tmp_path)
    assert [(row["id"], row["evaluated on"], row["best, %"], row["rank"]) for row in rows] == [
        ("1", "coco", "10.0", "2 of 2"),
        ("3", "coco", "30.0", "1 of 2"),
        ("2", "voc", "70.0", "1 of 2"),
        ("4", "voc", "60.0", "2 of 2"),
        ("5", "voc", "-", "-"),
        ("6", "voc", "90.0", "1 of 1"),  # by another metric
    ]


def test_markdown_and_csv(folder, capsys):
    runs.main([str(folder)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and len({len(line) for line in lines}) == 1
    assert "frozen \\| half" in lines[3]
    runs.main([str(folder), "--format=csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["name"] for row in rows] == ["first", "deep/second"]
    assert rows[1]["purpose"] == "frozen | half"


@pytest.mark.parametrize("arguments", [(), ("--compare", "1", "3"), ("--compare", "1", "frist")])
def test_mistakes_end_with_one_line(folder, tmp_path_factory, arguments):
    where = folder if arguments else tmp_path_factory.mktemp("empty")
    with pytest.raises(SystemExit, match="^jaxdet: no run .*expected"):
        runs.main([str(where), *arguments])


def test_a_real_run(trained, capsys):
    folder, _ = trained
    (row,) = cells(folder)
    assert row["name"] == folder.name and row["metric"] == "AP"
    assert (row["model"], row["trained on"]) == ("ssd plain", "shapes_train")
    assert row["evaluated on"] == "shapes_val"
    assert row["epochs"] == "0.0" and float(row["last loss"]) > 0  # 48 of 1,000 pictures
    assert row["time"].count(":") == 2
    assert "python -m jaxdet.runs" in run("--help", module="jaxdet.runs")
