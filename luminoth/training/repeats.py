"""How often pictures come in an epoch of a training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from luminoth.data.labels import Labels, read_labels
from luminoth.data.sampling import Repeats, repeat_factors


def find_repeats(sampling: Any, files: Sequence[str], data_hash: str, num_classes: int) -> Repeats | None:
    """How often pictures come in an epoch, as `train.sampling` says; None: once.

    Args:
        sampling: that section.
        files: the record files of the split.
        data_hash: of their records, see `hash_records`.
        num_classes: C.

    Raises:
        DataError: a record has no labels, or one of a class that there is not.
    """
    if sampling.type != "repeat_factor":
        return None
    return Repeats(repeat_factors(labels_of(tuple(files), data_hash, num_classes), num_classes, sampling.threshold))


@lru_cache(maxsize=1)
def labels_of(files: tuple[str, ...], data_hash: str, num_classes: int) -> Labels:
    """See `read_labels`; read once for all who ask. `data_hash` tells other records in files of the same names."""
    return read_labels(files, num_classes)
