"""`docs/configuration.md` names every key with its default; the schema says which."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from luminoth.config.fields import Section, field_accepts, sections_of
from luminoth.config.problems import known_keys
from luminoth.config.rules import WHOLE_SECTIONS, WITHOUT_EFFECT
from luminoth.config.schema import Config
from luminoth.config.schema_dataset import Augmentation
from luminoth.config.yaml_text import write_value

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def rows_of(section: type[Section]) -> list[str]:
    """The table rows of a section's own values."""
    rows = []
    for name, field in section.model_fields.items():
        if sections_of(field.annotation) and (
            field.default_factory is not None or isinstance(field.default, Section | None)
        ):
            continue  # a section or a kind has a table of its own
        default = field.default
        if default is PydanticUndefined:
            shown = "(must be stated)"
        elif isinstance(default, tuple) and default and isinstance(default[0], Section):
            shown = f"`{write_value([entry.model_dump(mode='json') for entry in default])}`"
        else:
            shown = f"`{write_value(list(default) if isinstance(default, tuple) else default)}`"
        rows.append(f"| `{name}` | {shown} | {field_accepts(field)} | {field.description} |")
    return rows


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
        for row in rows_of(section):
            assert row in page


def test_every_section_has_its_heading(page):
    for path in sections_below(Config):
        heading = path.replace("dataset.data_augmentation.", "").rpartition(".")[2] if "augmentation." in path else path
        assert f"`{heading}`" in page


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


def test_augmentations_are_luminoths():
    assert list(Augmentation.model_fields) == ["flip", "resize", "patch", "distortion", "expand"]
