"""JSON as parsed everywhere: as Python does, but for a limit of nesting that no Python decides."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hrpose.json_text import MAX_DEPTH, check_nesting, loads
from pipelines.storage import read_json_if_there
from tests.helpers.sources import anything

pytestmark = pytest.mark.smoke

#: What is in a text is no nesting.
TEXTS = ["[" * 300, "{[" * 300, "]" * 300, '"' + "[" * 300, "\\", '\\"' * 200 + "[" * 300]


def wrapped(value, kinds):
    """JSON text of a value in as many lists (False) and objects (True), all but the last with others too."""
    text = json.dumps({"a]": value} if kinds[-1] else [value])
    for kind in reversed(kinds[:-1]):
        text = f'{{"[": [], "b": {text}, "c": {{}}}}' if kind else f"[[], {text}, {{}}]"
    return text


@given(anything | st.lists(anything))
@example([float("nan"), "\ud83d", *TEXTS])
def test_what_python_parses_is_parsed_alike(value):
    assert repr(loads(json.dumps(value))) == repr(loads(json.dumps(value, ensure_ascii=False))) == repr(value)


@given(
    st.lists(st.booleans(), min_size=MAX_DEPTH, max_size=MAX_DEPTH),
    st.sampled_from([*TEXTS, 1.5, None]),
    st.integers(0, 10),
)
def test_the_limit_is_exact_for_lists_and_objects_and_texts_do_not_count(kinds, value, inside):
    within, beyond = wrapped(value, kinds[inside:]), wrapped(value, [True, *kinds[inside:]])
    check_nesting(within, inside)
    assert repr(loads(within)) == repr(json.loads(within))
    with pytest.raises(ValueError, match="more than 100 levels, its lists and objects are nested too deeply"):
        check_nesting(beyond, inside)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 992, 1_497, 9_998, 100_000])
@pytest.mark.parametrize("whole", [True, False])
def test_what_some_pythons_parse_is_refused_by_all(depth, whole):
    for content in ("[" * depth + "]" * depth * whole, '{"a": [' * depth + "]}" * depth * whole):
        with pytest.raises(ValueError, match="nested too deeply"):
            loads(content)


@pytest.mark.parametrize("content", ["", "[", "]" * 300, "[1,]", '"' + "[" * 300, "9" * 5000])
def test_what_is_no_json_is_left_to_python_to_say(content):
    with pytest.raises(ValueError, match=r"^(?!.*too deeply)"):
        loads(content)


@pytest.mark.parametrize("depth", [1_400, 9_000, 100_000])
def test_our_own_files_are_damaged_if_nested_too_deeply(tmp_path, depth):
    path = tmp_path / "conversion.json"
    path.write_text('{"origin": ' + "[" * depth + "]" * depth + "}")
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json_if_there(str(path))
