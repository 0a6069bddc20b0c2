"""Names are free for people and reach every tool in a form that it takes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import names
from models.errors import BadInput

ODD = (
    "steel (brushed)",
    "50% load",
    "A+B",
    "a,b",
    "a&b",
    "x" * 251,
    "Stahl, gebürstet",
    "研磨鋼",
    ".hidden",
    "..",
    "-v",
    "CON",
    "nul.txt",
    "a/../b",
    "ends.",
    "ends.lock",
    'it\'s "quoted" \\ `so`',
    "_x0028_x0028_",
    "a_x0028(",
    "a_x0028.",
    "<b>|*?:",
    "$x$",
    "@{",
    "~^[",
)
usable = st.text(min_size=1, max_size=names.LONGEST).filter(lambda text: names.problem(text) is None)


@pytest.mark.parametrize("name", ODD)
def test_git_takes_the_name_of_every_line(name: str) -> None:
    ref = f"refs/tags/data/{names.for_tools(name)}/1"
    assert subprocess.run(["git", "check-ref-format", ref], check=False).returncode == 0


@pytest.mark.parametrize("name", ODD)
def test_mlflow_takes_every_name(name: str) -> None:
    from mlflow.utils import validation

    validation._validate_metric_name(f"test/{names.for_mlflow_key(name)}/overkill_rate_at_most")
    assert len(f"test/{names.for_mlflow_key(name)}/overkill_rate_at_most") <= validation.MAX_ENTITY_KEY_LENGTH
    validation._validate_model_name(names.for_tools(name))
    validation._validate_experiment_name(names.for_tools(name))


@pytest.mark.parametrize("name", ODD)
def test_a_file_system_takes_every_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{names.for_file(name)}.json"
    path.write_text("x")
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    assert not re.match(r"\.|(con|nul)(\.|$)", path.name, re.IGNORECASE)


@given(usable, usable)
def test_two_names_never_become_one(first: str, second: str) -> None:
    for encode in (names.for_tools, names.for_file, names.for_mlflow_key):
        assert (encode(first) == encode(second)) == (first == second)


@pytest.mark.parametrize("name", [name for name in ODD if len(name) < 40])
def test_an_odd_name_can_be_read_back(name: str) -> None:
    for encode in (names.for_tools, names.for_file, names.for_mlflow_key):
        assert names.decoded(encode(name)) == name


@given(usable)
def test_what_was_not_cut_can_be_read_back(name: str) -> None:
    for encode in (names.for_tools, names.for_file, names.for_mlflow_key):
        encoded = encode(name)
        assert len(encoded.encode()) <= 220
        assert names.decoded(encoded) == name or len(name) * 10 > 190


@pytest.mark.parametrize("name", ["mono", "brushed-steel", "MT_Free", "solar-cells", "v1.2"])
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert names.for_tools(name) == names.for_file(name) == names.for_mlflow_key(name) == name


@pytest.mark.parametrize("name", ["a b", "a/b", "a:b", "Stahl-gebürstet"])
def test_slices_that_mlflow_took_before_keep_their_metrics(name: str) -> None:
    assert names.for_mlflow_key(name) == name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("x" * 256, "has 256 characters, more than 255"),
        ("a\nb", "a control character (\\x0a)"),
        ("a\0b", "a control character (\\x00)"),
        ("a\udcffb", "invalid UTF-8 (\\xff)"),
        ("a\ud800b", "invalid UTF-8 (\\ud800)"),
        ("a\u202eb", "changes the text direction (U+202E)"),
    ],
)
def test_what_can_be_no_name_is_refused_with_a_sentence(name: str, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        names.require(name, "The slice")
    assert says in caught.value.message
    assert caught.value.message.isprintable()
    assert caught.value.next_step


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=40))
def test_what_is_shown_can_be_printed_and_written(name: str) -> None:
    text = names.shown(name)
    text.encode()
    assert names.unprintable(text) is None
