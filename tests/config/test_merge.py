import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminoth.config.merge import leaves, map_leaves, merge, nest, part_at
from luminoth.errors import ConfigError

NAMES = st.sampled_from("abc")
LEAVES = st.integers() | st.none() | st.lists(st.integers(), max_size=2)
TREES = st.dictionaries(
    NAMES, st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=8), max_size=3
)


@given(TREES)
def test_nothing_merged_in_changes_nothing(tree):
    assert merge(tree, {}) == tree
    assert merge({}, tree) == tree
    assert merge(tree, tree) == tree


@given(TREES, TREES)
def test_merging_the_same_in_again_changes_nothing(left, right):
    merged = merge(left, right)
    assert merge(merged, right) == merged


@given(TREES, TREES)
def test_the_right_one_wins_and_the_left_one_stays_where_the_right_is_silent(left, right):
    merged = merge(left, right)
    stated = leaves(right)
    assert {path: leaves(merged)[path] for path in stated} == stated
    for path, value in leaves(left).items():
        if path.split(".")[0] not in right:
            assert leaves(merged)[path] == value


@given(TREES, TREES)
def test_inputs_are_not_changed(left, right):
    before = (repr(left), repr(right))
    merge(left, right)
    assert (repr(left), repr(right)) == before


def test_mappings_merge_and_lists_and_values_replace():
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    assert merge(base, {"a": {"y": [3]}, "c": 2}) == {"a": {"x": 1, "y": [3]}, "b": 1, "c": 2}


def test_a_mapping_replaces_a_value_and_a_value_a_mapping():
    assert merge({"a": 1}, {"a": {"x": 1}}) == {"a": {"x": 1}}
    assert merge({"a": {"x": 1}}, {"a": None}) == {"a": None}


def test_replace_forgets_what_was_there():
    base = {"a": {"x": 1, "deep": {"y": 2}}, "b": 3}
    assert merge(base, {"a": {"_replace": True, "z": 4}}) == {"a": {"z": 4}, "b": 3}
    assert merge(base, {"a": {"deep": {"_replace": True}}}) == {"a": {"x": 1, "deep": {}}, "b": 3}
    assert merge(base, {"_replace": True, "c": 1}) == {"c": 1}


def test_replace_is_not_left_in_the_result():
    assert merge({}, {"a": {"_replace": False, "b": {"_replace": True, "x": 1}}}) == {"a": {"b": {"x": 1}}}


def test_whole_sections_are_replaced_unless_they_say_otherwise():
    base = {"a": {"b": {"x": 1, "y": 2}}}
    assert merge(base, {"a": {"b": {"y": 3}}}, whole=["a.b"]) == {"a": {"b": {"y": 3}}}
    assert merge(base, {"a": {"b": {"y": 3, "_replace": False}}}, whole=["a.b"]) == {"a": {"b": {"x": 1, "y": 3}}}


def test_replace_accepts_true_and_false_only():
    with pytest.raises(ConfigError, match=r"^a\._replace is 3; accepted: true or false$"):
        merge({}, {"a": {"_replace": 3}})


def test_dotted_keys():
    tree = nest("a.b.c", 1)
    assert tree == {"a": {"b": {"c": 1}}}
    assert leaves(tree | {"d": {}, "e": [2]}) == {"a.b.c": 1, "e": [2]}
    assert part_at(tree, "a.b") == {"c": 1}
    assert part_at(tree, "a.b.c.d") is None
    assert map_leaves(tree, lambda value: value + 1) == {"a": {"b": {"c": 2}}}
