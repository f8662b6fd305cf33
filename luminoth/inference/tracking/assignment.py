"""The assignment problem: pairs of rows and columns that cost least in sum."""

from __future__ import annotations

import numpy as np


def cheapest_pairs(costs: np.ndarray, limit: float) -> list[tuple[int, int]]:
    """Pairs of rows and columns, each at most once, none dearer than `limit`.

    What is minimised is the sum of the pairs' costs, where a row that stays alone costs `limit`: so a pair at the limit
    is worth as much as none.

    Args:
        costs: [R, C]; infinite where a pair is impossible.
        limit: what leaving a row alone costs, at least 0.

    Returns:
        (row, column), rows ascending.
    """
    rows, columns = costs.shape
    if rows == 0 or columns == 0:
        return []
    # A column of its own for each row: staying alone.
    padded = np.full((rows, columns + rows), 2.0 * limit + 1.0)
    padded[:, :columns] = np.where(costs <= limit, costs, padded[:, :columns])
    padded[np.arange(rows), columns + np.arange(rows)] = limit
    chosen = _shortest_paths(padded)
    return [(row, int(column)) for row, column in enumerate(chosen) if column < columns]


def _shortest_paths(costs: np.ndarray) -> np.ndarray:
    """The column of each row, [R], for costs [R, C] with R at most C; the Hungarian method by shortest augmenting
    paths (Jonker and Volgenant 1987)."""
    rows, columns = costs.shape
    row_prices, column_prices = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1)
    for start in range(rows):
        distance = np.full(columns, np.inf)
        before = np.full(columns, -1)  # the column from which each was reached
        is_done = np.zeros(columns, bool)
        row, column, reached = start, -1, 0.0
        while True:
            through_row = reached + costs[row] - row_prices[row] - column_prices
            is_shorter = ~is_done & (through_row < distance)
            distance[is_shorter] = through_row[is_shorter]
            before[is_shorter] = column
            column = int(np.argmin(np.where(is_done, np.inf, distance)))
            reached = distance[column]
            is_done[column] = True
            if row_of[column] < 0:
                break
            row = row_of[column]
        # Prices that make every pair chosen so far cost nothing.
        passed = is_done & (row_of >= 0)
        row_prices[row_of[passed]] += reached - distance[passed]
        row_prices[start] += reached
        column_prices[is_done] -= reached - distance[is_done]
        while column >= 0:
            previous = before[column]
            row_of[column] = row_of[previous] if previous >= 0 else start
            column = previous
    chosen = np.empty(rows, int)
    taken = row_of >= 0
    chosen[row_of[taken]] = np.flatnonzero(taken)
    return chosen
