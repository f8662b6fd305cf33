"""Tables and bars of the terminal, character by character."""

import io
import sys

from luminoth.cli.tables import bars, table


def test_table():
    assert table(["class", "AP"], [["car", "0.5"], ["traffic light", "-"]]) == (
        "class           AP\n"
        "-------------  ---\n"
        "car            0.5\n"
        "traffic light    -\n"
    )  # fmt: skip


def test_wide_characters_take_two_columns():
    assert table(["", "n"], [["東京", "1"], ["abcd", "12"]]).splitlines()[2:] == ["東京   1", "abcd  12"]


def test_bars():
    assert bars(["0", "10"], [4, 8], width=13) == " 0  4  ███\n10  8  ██████\n"  # 13 - 2 - 1 - 4 = 6
    assert bars(["a", "b", "c"], [80, 1, 0], width=8) == "a  80  █\nb   1  ▏\nc   0\n"
    assert bars(["a"], [0], width=20) == "a  0\n"


def test_bars_where_there_are_no_blocks(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert bars(["a", "b"], [4, 1], width=10) == "a  4  ####\nb  1  #\n"
