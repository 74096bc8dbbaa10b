"""Which cells share the frames of a journal, at each position of it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.bus.divisions import FILE, UNDIVIDED, Division, Divisions, divide, note_stored

CELLS = st.sets(st.sampled_from(["east", "north", "west"])).map(lambda few: ("", *sorted(few)))
# Steps: how far the journal's start and end move, and the cells from then on.
STEPS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 100), CELLS))


def cells_at(divisions: Divisions, position: int) -> tuple[str, ...]:
    """Of the frame that ends at this position."""
    return [each for each in divisions.found if each.start < position][-1].cells


@given(STEPS)
def test_what_the_journal_has_stays_where_it_belongs(
    steps: list[tuple[int, int, tuple[str, ...]]],
) -> None:
    divisions, start, end = UNDIVIDED, 0, 0
    owners: dict[int, tuple[str, ...]] = {}
    for freed, grown, cells in steps:
        start = min(start + freed, end)
        divisions = divisions.changed(cells, start, end)
        owners |= {end + each: cells for each in range(1, grown + 1)}
        end += grown
        kept = range(start + 1, end + 1)
        assert all(cells_at(divisions, each) == owners[each] for each in kept)
        assert len(divisions.found) <= 1 + len(kept)
        for cell in cells:
            first = divisions.since(cell)
            assert all(cell in owners[each] for each in kept if each > first)
            assert first <= start or cell not in owners.get(first, ())


def test_it_is_kept_in_a_file(tmp_path: Path) -> None:
    assert divide(tmp_path, [""], 0, 0) == UNDIVIDED
    assert not (tmp_path / FILE).exists(), "an installation without cells needs none"
    made = divide(tmp_path, ["", "east"], 0, 700)
    assert made.found == (Division(0, ("",)), Division(700, ("", "east")))
    assert divide(tmp_path, ["", "east"], 0, 900) == made
    assert divide(tmp_path, ["", "east"], 700, 900).found == (Division(700, ("", "east")),)


def test_others_take_over_what_a_removed_cell_lacks(tmp_path: Path) -> None:
    divide(tmp_path, ["", "east", "west"], 0, 0)
    note_stored(tmp_path, {"": 90, "east": 70, "west": 50})
    assert divide(tmp_path, ["", "west"], 0, 100).lost_from == 70
    assert divide(tmp_path, ["", "west"], 0, 200).lost_from == 70
    assert divide(tmp_path, [""], 0, 300).lost_from == 50
    note_stored(tmp_path, {"": 299})
    assert divide(tmp_path, [""], 0, 400).lost_from == 50
    note_stored(tmp_path, {"": 300})
    assert divide(tmp_path, [""], 0, 400).lost_from is None


def test_a_damaged_file_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_bytes(b"\xff")
    made = divide(tmp_path, ["", "east"], 0, 700)
    assert "is divided again" in caplog.text
    assert divide(tmp_path, ["", "east"], 0, 900) == made
