"""What this machine's processor can do by itself."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FACTS = Path("/proc/cpuinfo")


@cache
def processor_flags(facts: Path = _FACTS) -> frozenset[str]:
    """The extensions of the instruction set, as Linux names them ("avx2", "avx512f"); empty where nothing is known.

    Args:
        facts: what the kernel says of each processor.
    """
    try:
        lines = facts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").partition(":")[2].split())
