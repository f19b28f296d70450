"""Studies: which runs they have, how sure a difference is, the table and the page."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from browser import rendered
from conftest import run
from etils import epath
from ml_collections import ConfigDict

from jaxdet import studies
from jaxdet.runs import __main__ as runs
from jaxdet.runs import costs, statistics, study, study_page
from jaxdet.studies import Change, Seeds, Study, changed

CHANGES = {
    "wide": Change("more channels", {"model.neck": ("a", "b"), "model.width": 2}, "+1.0 (a paper)"),
    "soft": Change("soft NMS", {"evaluation.nms": "soft"}),
    "late": Change("later", {"step.at": 3}),
}
STUDY = Study("mine.py", CHANGES, Seeds(baseline=3, change=2))


def base():
    blocks = dict(model=dict(neck=dict(name="a"), width=1.0), evaluation=dict(), step=dict(at=0))
    return ConfigDict(dict(blocks, purpose=""))


def test_a_change_replaces_values_of_any_type():
    config = changed(base(), CHANGES, "wide")
    assert (config.model.neck, config.model.width) == (("a", "b"), 2)
    assert config.purpose == "more channels"
    assert changed(base(), CHANGES, "baseline").model == base().model


def test_an_unknown_change_or_block_is_named():
    with pytest.raises(ValueError, match="no 'wid'; did you mean 'wide'"):
        changed(base(), CHANGES, "wid")
    wrong = {"wrong": Change("", {"modle.width": 2})}
    with pytest.raises(ValueError, match="'wrong' sets 'modle.width', but there is no 'modle'"):
        changed(base(), wrong, "wrong")


def test_runs_go_seed_by_seed_and_evaluations_last():
    names = [each.name for each in STUDY.trainings()]
    first = ["baseline/0", "wide/0", "late/0", "soft/0"]
    assert names == [*first, *(n.replace("0", "1") for n in first), "baseline/2", "soft/2"]
    assert [each.name for each in STUDY.trainings(["late"])] == ["late/0", "late/1"]
    with pytest.raises(ValueError, match="did you mean 'late'"):
        list(STUDY.trainings(["lat"]))


def test_a_recipe_that_is_no_study_is_refused():
    with pytest.raises(ValueError, match="quickstart is not a study: expected CHANGES and SEEDS"):
        studies.read("quickstart")


@pytest.mark.parametrize(
    ("degrees", "t"), [(1, 12.7062), (2, 4.3027), (4, 2.7764), (10, 2.2281), (120, 1.9799)]
)
def test_quantiles_are_those_of_students_table(degrees, t):
    assert statistics.quantile(degrees) == pytest.approx(t, abs=1e-4)


def test_pairs_are_compared_seed_by_seed():
    # Differences 1, 2 and 3: mean 2, deviation 1, and t of 2 degrees of freedom is 4.3027.
    found = statistics.paired({0: 11.0, 1: 22.0, 2: 33.0}, {0: 10.0, 1: 20.0, 2: 30.0, 3: 9.0})
    assert (found.mean, found.half) == pytest.approx((2.0, 4.3027 / 3**0.5), abs=1e-4)
    assert found.verdict == "cannot be told"
    assert statistics.paired({5: 1.0}, {0: 1.0}) is None
    alone = statistics.paired({0: 9.0}, {0: 1.0})
    assert (alone.mean, alone.half, alone.verdict) == (8.0, None, "cannot be told")


def test_a_common_spread_makes_two_seeds_worth_something():
    # Each pair is 2 apart: squares add up to 2 for one degree of freedom.
    groups = [{0: float(i), 1: i + 2.0} for i in range(5)]
    spread = statistics.pooled([*groups, {0: 99.0}])
    assert (spread.deviation, spread.degrees) == pytest.approx((2**0.5, 5))
    assert statistics.pooled(groups[:4]) is None
    found = statistics.unpaired({0: 20.0, 1: 22.0}, {0: 10.0, 1: 12.0, 2: 14.0}, spread)
    assert found.mean == 9.0 and found.verdict == "better"
    assert found.half == pytest.approx(2.5706 * 2**0.5 * (1 / 2 + 1 / 3) ** 0.5, abs=1e-4)
    worse = statistics.unpaired({0: 1.0}, {0: 10.0, 1: 12.0}, spread)
    assert worse.verdict == "worse"


def test_intervals_of_a_common_spread_hold_what_they_promise():
    """Without any effect, one interval in twenty leaves 0 out, though all share one baseline."""
    rng = np.random.default_rng(0)
    drawn = lambda count: dict(enumerate(rng.normal(size=count)))
    wrong = total = 0
    for _ in range(100):
        baseline, changes = drawn(5), [drawn(2) for _ in range(30)]
        spread = statistics.pooled([baseline, *changes])
        found = [statistics.unpaired(each, baseline, spread) for each in changes]
        wrong += sum(each.verdict != "cannot be told" for each in found)
        total += len(found)
    assert 0.03 < wrong / total < 0.07


def evaluated(folder, seed, value, *, losses=(3.0, 2.0), purpose=""):
    """A workdir that is finished, with an AP."""
    folder.mkdir(parents=True)
    data = dict(train="no_such_set", eval="some_val", dir=str(folder), batch_size=4)
    config = dict(purpose=purpose, data=data, seed=seed, schedule=dict(steps=20))
    (folder / "config.json").write_text(json.dumps(config))
    log = [
        dict(step=10 * (i + 1), kind="train", loss=loss, images_per_second=2.0)
        for i, loss in enumerate(losses)
    ]
    log.append(dict(step=20, kind="eval", AP=value, AP75=0.1, AP50=value + 0.2))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in log))


@pytest.fixture
def folder(tmp_path):
    """A study whose best change is 4 points better, seed by seed."""
    root = epath.Path(tmp_path / "mine")
    studies.record(root, STUDY)
    effects = {"baseline": 0.0, "wide": 0.04, "soft": -0.01, "late": 0.001}
    for each in STUDY.trainings():
        luck = 0.002 * (-1) ** each.seed
        evaluated(root / each.name, each.seed, 0.5 + effects[each.change] + luck)
    studies.add_spent(root / "wide/0", processor=60.0, wall=50.0)
    studies.add_spent(root / "wide/0", processor=30.0, wall=20.0)  # another start
    return root


def rows(folder):
    header, cells = study.cells(study.gather(folder))
    return [dict(zip(header, each, strict=True)) for each in cells]


def test_the_table_has_the_greatest_gain_first(folder):
    baseline, wide, late, soft = rows(folder)
    assert [each["change"] for each in (baseline, wide, late, soft)] == [
        *("baseline", "wide", "late", "soft")
    ]
    assert (baseline["AP"], baseline["AP50"], baseline["seeds"]) == (
        "50.1 ± 0.2",
        "70.1 ± 0.2",
        "3",
    )
    assert (baseline["difference"], baseline["verdict"]) == ("–", "–")
    assert (wide["difference"], wide["verdict"]) == ("+4.0 ± 0.0", "better")  # by pairs
    assert (wide["purpose"], wide["published"]) == ("more channels", "+1.0 (a paper)")
    assert (wide["minutes"], wide["processor"]) == ("0.7", "1.5")  # 20 steps of 4 images
    assert (soft["verdict"], soft["minutes"], soft["seeds"]) == ("worse", "–", "3")
    assert wide["parameters"] == wide["ms"] == "–"  # not measured


def test_five_changes_share_a_spread(folder):
    more = {f"more{i}": Change("more", {"step.at": i}) for i in range(4)}
    lost = {"lost": Change("nothing is learnt", {"step.at": 9})}
    studies.record(folder, Study("mine.py", CHANGES | more | lost, STUDY.seeds))
    for name in more:
        for seed in range(2):
            evaluated(folder / name / str(seed), seed, 0.5 + 0.01 * seed)
    for seed in range(2):  # one that has learnt nothing, and does not scatter
        evaluated(folder / "lost" / str(seed), seed, 0.001)
    results = study.gather(folder)
    assert results.spread.degrees == 2 + 6  # soft NMS has the baseline's weights
    assert "8 degrees of freedom" in " ".join(study.caption(results))
    by_name = {row.name: row.difference for row in results.changes}
    halves = {name: each.half for name, each in by_name.items()}
    assert (
        len({halves[name] for name in (*more, "wide", "late", "lost")}) == 1
        and halves["soft"] < 0.01
    )


def test_what_is_not_finished_is_left_out(folder):
    shutil.rmtree(folder / "late/0")
    shutil.rmtree(folder / "soft")
    lines = (folder / "late/1/metrics.jsonl").read_text().splitlines()
    (folder / "late/1/metrics.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    assert [each["change"] for each in rows(folder)] == ["baseline", "wide"]
    shutil.rmtree(folder / "baseline")
    with pytest.raises(ValueError, match="no run of the baseline is evaluated yet"):
        study.gather(folder)
    with pytest.raises(ValueError, match="holds no study: there is no study.json"):
        study.gather(folder / "wide")


def test_as_text_and_as_a_log_of_experiments(folder, capsys):
    runs.main([str(folder), "--study"])
    said = capsys.readouterr().out
    assert said.count("\n| ") == 4 and "with an interval of 95 %" in said
    runs.main([str(folder), "--study", "--format=csv"])
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [each["change"] for each in table] == ["baseline", "wide", "late", "soft"]
    runs.main([str(folder), "--format=csv"])
    log = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(log) == len(list(STUDY.trainings()))
    assert {"wide/0", "soft/2"} < {each["name"] for each in log}
    with pytest.raises(SystemExit, match="--format=html and --measure are for a study"):
        runs.main([str(folder), "--format=html"])


def test_what_is_far_from_the_others_is_an_arrow_at_the_edge(folder):
    more = {f"more{i}": Change("more", {"step.at": i}) for i in range(3)}
    studies.record(folder, Study("mine.py", CHANGES | more, STUDY.seeds))
    for name, change in zip(more, (0.05, -0.02, -0.4), strict=True):
        for seed in range(2):
            evaluated(folder / name / str(seed), seed, 0.5 + change)
    page = study_page.forest(study.gather(folder))
    lines = page.split("<dt>")
    assert {line.split("<")[0] for line in lines if 'class="left"' in line} == {"more2"}
    assert 'class="right"' not in page and "beyond the scale" in page
    assert 'style="--zero:' in page and "--low:-" not in page


def test_the_page_needs_no_network_and_sorts(folder, tmp_path):
    runs.main([str(folder), "--study", "--format=html"])
    text = (folder / "study.html").read_text()
    assert not [word for word in ("http:", "https:", "src=", "@import") if word in text]
    sort = "<script>document.querySelectorAll('.sortable th')[1].click()</script></body>"
    (tmp_path / "page.html").write_text(text.replace("</body>", sort))
    page = rendered(f"file://{tmp_path}/page.html", tmp_path / "profile", milliseconds=500)
    order = [part.split("<")[0] for part in page.split("<tbody>")[1].split('<td class="text">')]
    names = [name for name in order if name in ("baseline", *CHANGES)]
    assert names == ["wide", "late", "soft", "baseline"]
    # Of the forest; by pairs the later change is better, too.
    assert (page.count('class="better"'), page.count('class="worse"')) == (2, 1)
    assert page.count("<polyline") == 2 * (2 + 1) + 2 * 2  # two charts of all, one for each change


@pytest.mark.slow
def test_costs_are_measured_once(trained, tmp_path):
    root = epath.Path(tmp_path / "mine")
    studies.record(root, Study("mine.py", {}, STUDY.seeds))
    shutil.copytree(trained[0], root / "baseline/0")
    said = run(root, "--study", "--measure", module="jaxdet.runs")
    known = costs.read(root / "baseline")
    assert known["parameters"] > 1000 and 0 < known["gflops"] < 0.1 < known["milliseconds"]
    assert f"{known['parameters']:,}" in said
    before = (root / "baseline" / costs.FILE).stat().mtime
    study.gather(root, measure=True)
    assert (root / "baseline" / costs.FILE).stat().mtime == before
