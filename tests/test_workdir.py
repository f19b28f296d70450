"""A workdir takes one recipe, and says what differs."""

import pytest

from jaxdet import workdir

CONFIG = {"seed": 0, "data": {"train": "a", "dir": "x"}, "every": {"log": 1}}


def test_claims_a_new_folder_and_accepts_the_same_config_again(tmp_path):
    workdir.claim(tmp_path / "w", CONFIG)
    workdir.claim(tmp_path / "w", CONFIG)
    assert (tmp_path / "w" / workdir.CONFIG).exists()


def test_refuses_another_config_and_names_both_values(tmp_path):
    workdir.claim(tmp_path, CONFIG)
    other = {**CONFIG, "seed": 1, "data": {"train": "b", "dir": "y"}}
    with pytest.raises(ValueError) as caught:
        workdir.claim(tmp_path, other)
    assert "config.seed was 0, is 1" in str(caught.value)
    assert "config.data.train was 'a', is 'b'" in str(caught.value)
    assert "data.dir" not in str(caught.value)  # where data lies may change
    workdir.claim(tmp_path, CONFIG)  # and the folder is as it was


def test_what_only_reports_may_change(tmp_path):
    workdir.claim(tmp_path, CONFIG)
    workdir.claim(tmp_path, {**CONFIG, "every": {"log": 7}})


def test_an_added_key_is_a_difference():
    assert workdir.differences({}, {"a": {"b": 1}}) == {"a.b": "config.a.b was '(absent)', is 1"}
