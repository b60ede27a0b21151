"""JSON as parsed everywhere: as Python does, but for a limit of nesting that no Python decides."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from records.json_text import MAX_DEPTH, check_nesting, parse_json
from tests.sources import anything

#: What is in a text is no nesting.
TEXTS = ["[" * 300, "{[" * 300, "]" * 300, '"' + "[" * 300, "\\", '\\"' * 200 + "[" * 300]


def wrapped(value, kinds):
    """JSON text of a value in as many lists (False) and objects (True), all but the last with others too."""
    text = json.dumps({"a]": value} if kinds[-1] else [value])
    for kind in reversed(kinds[:-1]):
        text = f'{{"[": [], "b": {text}, "c": {{}}}}' if kind else f"[[], {text}, {{}}]"
    return text


@given(anything | st.lists(anything), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-be"]))
@example([float("nan"), "\ud83d", *TEXTS], "utf-8")
def test_what_python_parses_is_parsed_alike(value, encoding):
    text = json.dumps(value, ensure_ascii=False)
    assert repr(parse_json(text)) == repr(value)
    assert repr(parse_json(text.encode(encoding, "surrogatepass"))) == repr(value)


@given(
    st.lists(st.booleans(), min_size=MAX_DEPTH, max_size=MAX_DEPTH),
    st.sampled_from([*TEXTS, 1.5, None]),
    st.integers(0, 10),
)
def test_the_limit_is_exact_for_lists_and_objects_and_texts_do_not_count(kinds, value, inside):
    within, beyond = wrapped(value, kinds[inside:]), wrapped(value, [True, *kinds[inside:]])
    check_nesting(within, inside)
    assert repr(parse_json(within)) == repr(json.loads(within))
    with pytest.raises(ValueError, match="more than 100 levels, its lists and objects are nested too deeply"):
        check_nesting(beyond, inside)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 992, 1_497, 9_998, 100_000])
@pytest.mark.parametrize("whole", [True, False])
def test_what_some_pythons_parse_is_refused_by_all(depth, whole):
    for content in ("[" * depth + "]" * depth * whole, '{"a": [' * depth + "]}" * depth * whole):
        for given_as in (content, content.encode("utf-16")):
            with pytest.raises(ValueError, match="nested too deeply"):
                parse_json(given_as)


@pytest.mark.parametrize("content", ["", "[", "]" * 300, "[1,]", '"' + "[" * 300, b"\xff[" * 300, "9" * 5000])
def test_what_is_no_json_is_left_to_python_to_say(content):
    with pytest.raises(ValueError, match=r"^(?!.*too deeply)"):
        parse_json(content)
