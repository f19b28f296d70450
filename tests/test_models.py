"""The table of models: what its cells count, and where it is written."""

import pytest
from conftest import ROOT

from jaxdet import build, models, recipes
from jaxdet.engine import step_cost


def test_multiply_adds_by_hand():
    """A network of 1x1 and strided 3x3 convolutions whose borders are all that is left out."""
    config = recipes.read("quickstart")
    config.model.size, config.model.backbone.channels = 64, (8, 8, 8, 8, 8)
    config.model.neck.channels = (8,)
    detector = build.recipe(config, ("a", "b")).detector

    def taps(side, stride):  # of a padded 3-tap filter along a line, those that see the image
        out = -(-side // stride)
        return sum(0 <= i * stride + k - 1 < side for i in range(out) for k in range(3))

    down = [taps(side, 2) ** 2 for side in (64, 32, 16, 8, 4, 2)]
    same = [taps(side, 1) ** 2 for side in (16, 8, 4, 2)]
    head = [taps(side, 1) ** 2 for side in (8, 4, 2, 1)]
    convolutions = 3 * 8 * down[0] + 64 * (sum(down[1:]) + sum(same)) + 8 * 28 * sum(head)
    found = step_cost.multiply_adds(detector, (64, 64))
    assert convolutions < found < 1.1 * convolutions  # and some for BatchNorm, bias and ReLU


def test_every_recipe_says_what_was_published_and_measured():
    for path in sorted((ROOT / "configs").glob("*.py")):
        published, measured = models.accuracy(path)
        assert published and measured


def test_accuracy_takes_whole_sentences(tmp_path):
    path = tmp_path / "some.py"
    path.write_text('"""A model.\n\nPublished: 25.1 AP on\nval2017. Measured here: no.\n"""\n')
    assert models.accuracy(path) == ("25.1 AP on val2017", "no")
    path.write_text('"""A model. Published: 1."""\n')
    with pytest.raises(ValueError, match=r"some\.py: its docstring lacks a sentence"):
        models.accuracy(path)


def test_table_is_written_between_its_comments_only(tmp_path):
    file = tmp_path / "README.md"
    file.write_text(f"before\n{models.BEGIN}\nold\n{models.END}\nafter\n")
    table = models.markdown([("a",) * len(models.COLUMNS)])
    models.replace(file, table)
    assert file.read_text() == f"before\n{models.BEGIN}\n{table}{models.END}\nafter\n"
    file.write_text("before\n")
    with pytest.raises(ValueError, match="lacks the comments"):
        models.replace(file, table)


@pytest.mark.slow
def test_row_of_a_recipe():
    row = dict(zip(models.COLUMNS, models.row(recipes.find("quickstart")), strict=True))
    assert row["config"] == "`quickstart`" and row["parameters"] == "764,784"
    assert row["anchors"] == "2,136" and float(row["ms"]) > 0
