"""`docs/configuration.md` names every key with its default; the schema says which."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from luminoth.config import load_config
from luminoth.config.fields import Section, field_accepts, sections_of
from luminoth.config.problems import known_keys
from luminoth.config.rules import FEATURE_DEFAULTS, WHOLE_SECTIONS, WITHOUT_EFFECT
from luminoth.config.schema import Config
from luminoth.config.schema_augmentation import Augmentation
from luminoth.config.yaml_text import write_value

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def rows_of(section: type[Section]) -> list[str]:
    """The table rows of a section's own values."""
    rows = []
    for name, field in section.model_fields.items():
        if field.default_factory is not None:
            continue  # a section, which has a table of its own
        shown = "(must be stated)" if field.is_required() else f"`{write_value(_as_in_a_file(field.default))}`"
        rows.append(f"| `{name}` | {shown} | {field_accepts(field)} | {field.description} |")
    return rows


def _as_in_a_file(value):
    if isinstance(value, Section):
        return value.model_dump(mode="json")
    return [_as_in_a_file(entry) for entry in value] if isinstance(value, tuple) else value


def sections_below(section: type[Section], path: str = "") -> dict[str, list[type[Section]]]:
    """Every section by its dotted key; several classes where a section has kinds."""
    found = {}
    for name, field in section.model_fields.items():
        here = f"{path}.{name}" if path else name
        classes = sections_of(field.annotation)
        if classes:
            found[here] = classes
            for nested in classes:
                found |= sections_below(nested, here)
    return found


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sections_below(Config))
def test_every_key_is_on_the_page_with_its_default_and_meaning(page, path):
    for section in sections_below(Config)[path]:
        if section is Augmentation:
            continue  # its keys are headings of tables
        for row in rows_of(section):
            assert row in page


def test_what_features_set_by_themselves_is_on_the_page(page):
    heading = "| key | with `dc5` | with `fpn` |\n|---|---|---|\n"
    table = page.partition(heading)[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    for column, features in enumerate(("dc5", "fpn"), start=1):
        stated = {row[0].strip("`"): re.match("`(.*?)`", row[column])[1] for row in rows if row[column]}
        assert stated == {key: write_value(value) for key, value in FEATURE_DEFAULTS[features].items()}


def test_every_section_has_its_heading(page):
    for path in sections_below(Config):
        name = path.removeprefix("dataset.data_augmentation.")
        assert f"`{name}`" in page or name.endswith("_initializer")


def test_the_examples_load(page, tmp_path):
    examples = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        (tmp_path / "example.yml").write_text(example, encoding="utf-8")
        assert load_config([tmp_path / "example.yml"]).model.network.num_classes in (8, 20)


def test_the_overrides_load(page):
    overrides = re.findall(r"^-o (?:'([^']*)'|(\S+))$", page, flags=re.MULTILINE)
    assert len(overrides) == 8
    load_config([], ["".join(override) for override in overrides])


def test_keys_without_effect_are_named(page):
    assert all(f"`{path}`" in page for path in WITHOUT_EFFECT)


def test_every_field_says_what_it_means():
    classes = {section for found in sections_below(Config).values() for section in found}
    assert len(classes) > 30
    for section in classes:
        assert section.__doc__
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"
            assert field_accepts(field), f"{section.__name__}.{name}"


def test_sections_replaced_as_a_whole_exist():
    assert set(WHOLE_SECTIONS) <= set(known_keys(Config))
    for path, kind_key in WHOLE_SECTIONS.items():
        assert f"{path}.{kind_key}" in known_keys(Config)


def test_luminoths_augmentations_come_first():
    assert list(Augmentation.model_fields)[:5] == ["flip", "resize", "patch", "distortion", "expand"]
