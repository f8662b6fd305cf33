import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminoth.config.merge import map_leaves
from luminoth.config.yaml_text import Stated, read_value, read_yaml, write_value, write_yaml
from luminoth.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("12", 12),
        ("-7", -7),
        ("0", 0),
        ("yes", True),
        ("off", False),
        ("", None),
        ("~", None),
        ("none", "none"),
        ("010", "010"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("0x1f", "0x1f"),
        ('"1e-3"', "1e-3"),
        ("[1, 1e-2, x]", [1, 0.01, "x"]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
    ],
)
def test_scalars_are_read_as_people_mean_them(text, value):
    read = read_value(text, "test")
    assert read == value
    assert type(read) is type(value)


def test_values_know_their_file_and_line():
    tree = read_yaml("a:\n  b: 1\n  c: [2,\n    3]\nd: x\n", "my.yml")
    assert tree == {
        "a": {"b": Stated(1, "my.yml", 2), "c": Stated([2, 3], "my.yml", 3)},
        "d": Stated("x", "my.yml", 5),
    }


def test_anchors_and_merge_keys_work():
    tree = read_yaml("base: &base {x: 1, y: 2}\nmine: {<<: *base, y: 3}\nagain: *base\n", "my.yml")
    values = map_leaves(tree, lambda stated: stated.value)
    assert values == {"base": {"x": 1, "y": 2}, "mine": {"x": 1, "y": 3}, "again": {"x": 1, "y": 2}}


def test_an_alias_to_a_mapping_with_a_merge_key_is_no_duplicate():
    tree = read_yaml("a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: *b\n", "my.yml")
    assert tree["c"]["x"].value == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "my.yml: is empty"),
        ("# only a comment\n", "my.yml: is empty"),
        ("- 1\n- 2\n", "my.yml: found [1, 2]; accepted: a mapping"),
        ("a: 1\nb: 2\na: 3\n", "my.yml:3: the key a is stated twice, first in line 1"),
        ("a:\n  b: 1\n  b: 2\n", "my.yml:3: the key b is stated twice, first in line 2"),
        ("a:\n - b: 1\n   b: 2\n", "my.yml:3: the key b is stated twice, first in line 2"),
        ("a: 1\nb: [1\n", "my.yml:3: not YAML:"),
        ("a:\n\tb: 1\n", "my.yml:2: not YAML:"),
        ("a: 1\n2: 3\n", "my.yml:2: the key 2 is not text"),
        ("a: !!python/object:os.x {}\n", "my.yml:1: the tag"),
        ("a: !!python/name:os.system\n", "my.yml:1: could not determine a constructor"),
        ("a: &a {b: *a}\n", "my.yml:1: the mapping contains itself"),
        ("a: " + "[" * 1200, "my.yml: is nested too deeply"),
        ("a: \x00\n", "my.yml: not YAML:"),
        ("a: 1\n---\nb: 2\n", "my.yml:2: not YAML:"),
    ],
)
def test_what_is_no_configuration_file_is_refused_with_its_line(text, message):
    with pytest.raises(ConfigError) as caught:
        read_yaml(text, "my.yml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
TREES = st.dictionaries(
    st.text(min_size=1),
    st.recursive(
        SCALARS | st.lists(SCALARS, max_size=4),
        lambda inner: st.dictionaries(st.text(min_size=1), inner, min_size=1),
        max_leaves=6,
    ),
    min_size=1,
    max_size=4,
)


@given(TREES)
def test_what_is_written_is_read_back(tree):
    read = map_leaves(read_yaml(write_yaml(tree), "test"), lambda stated: stated.value)
    assert read == tree


@given(SCALARS | st.lists(SCALARS))
def test_a_value_is_written_on_one_line_and_read_back(value):
    text = write_value(value)
    assert "\n" not in text
    assert read_value(f"[{text}]", "test") == [value]
