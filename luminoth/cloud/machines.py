"""Machines of Vertex AI and their accelerators, from Google's documentation of autumn 2026.

The table advises and chooses what was left out; a machine that is not in it is warned of, never refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from luminoth.errors import CloudArgumentError

DEFAULT_MACHINE = "g2-standard-12"
DEFAULT_CPU_MACHINE = "n1-standard-8"

_Choices = tuple[tuple[str, int], ...]


def _table() -> Mapping[str, _Choices]:
    t4 = tuple(("NVIDIA_TESLA_T4", count) for count in (1, 2, 4))
    machines: dict[str, _Choices] = {f"n1-standard-{cpus}": t4 for cpus in (4, 8, 16)}
    l4_of_cpus = {4: 1, 8: 1, 12: 1, 16: 1, 32: 1, 24: 2, 48: 4, 96: 8}
    machines |= {f"g2-standard-{cpus}": (("NVIDIA_L4", count),) for cpus, count in l4_of_cpus.items()}
    machines |= {f"a2-highgpu-{count}g": (("NVIDIA_TESLA_A100", count),) for count in (1, 2, 4, 8)}
    machines |= {f"a2-ultragpu-{count}g": (("NVIDIA_A100_80GB", count),) for count in (1, 2, 4, 8)}
    machines |= {f"a3-highgpu-{count}g": (("NVIDIA_H100_80GB", count),) for count in (1, 2, 4, 8)}
    machines["a3-ultragpu-8g"] = (("NVIDIA_H200_141GB", 8),)
    machines["a4-highgpu-8g"] = (("NVIDIA_B200", 8),)
    rtx_of_cpus = {48: 1, 96: 2, 192: 4, 384: 8}
    machines |= {f"g4-standard-{cpus}": (("NVIDIA_RTX_PRO_6000", count),) for cpus, count in rtx_of_cpus.items()}
    return machines


_ACCELERATORS_OF = _table()
# Series whose machines come without an accelerator unless one is added.
_WITHOUT = ("n1-", "n2-", "n2d-", "n4-", "e2-", "c2-", "c2d-", "c3-", "c3d-", "c4-", "m1-", "m3-")


@dataclass(frozen=True)
class Machine:
    """One machine of a job.

    Attributes:
        type: as in `g2-standard-12`.
        accelerator: as in `NVIDIA_L4`; None: none.
        count: how many; 0 without one.
    """

    type: str
    accelerator: str | None
    count: int

    def __str__(self) -> str:
        return f"{self.type} with {self.count} x {self.accelerator}" if self.accelerator else f"{self.type}, CPU only"

    def spec(self) -> dict[str, Any]:
        """The `machineSpec` of a job."""
        spec: dict[str, Any] = {"machineType": self.type}
        if self.accelerator:
            spec |= {"acceleratorType": self.accelerator, "acceleratorCount": self.count}
        return spec


def choose_machine(type: str | None, accelerator: str | None, count: int | None) -> Machine:
    """A machine from what was stated of it; None was not stated.

    Without anything it is a g2-standard-12 with an L4. What accelerator a machine has follows from its type where that
    decides it; `count` 0 means none.

    Raises:
        CloudArgumentError: a TPU, or a count without an accelerator that it could be of.
    """
    accelerator = accelerator and accelerator.upper()
    if (accelerator or "").startswith("TPU") or (type or "").startswith(("ct", "tpu")):
        raise CloudArgumentError(
            f"{accelerator or type}: TPUs are not supported; accepted: NVIDIA GPUs, or --accelerator-count 0 for none"
        )
    if type is None:
        if count == 0:
            return Machine(DEFAULT_CPU_MACHINE, None, 0)
        type = DEFAULT_MACHINE if accelerator is None else _first_with(accelerator, count)
    if count == 0:
        return Machine(type, None, 0)
    if accelerator is None:
        choices = _ACCELERATORS_OF.get(type, ())
        if len(choices) == 1:
            (accelerator, its_count) = choices[0]
            return Machine(type, accelerator, count or its_count)
        if count is not None:
            raise CloudArgumentError(f"--accelerator-count {count}: of which accelerator? Name it with --accelerator")
        return Machine(type, None, 0)
    counts = [its_count for name, its_count in _ACCELERATORS_OF.get(type, ()) if name == accelerator]
    return Machine(type, accelerator, count or (counts[0] if counts else 1))


def warn_of_machine(machine: Machine) -> str | None:
    """What is doubtful about a machine, in one line; None: nothing known."""
    choices = _ACCELERATORS_OF.get(machine.type)
    if choices is None:
        if machine.accelerator is None and machine.type.startswith(_WITHOUT):
            return None
        return f"{machine.type}: not in Luminoth's table of machines; Google says whether it exists in the region"
    if machine.accelerator is None:
        if machine.type.startswith(_WITHOUT):
            return None
        return f"{machine.type} always has an accelerator ({_names(choices)}); Google may refuse it with none"
    if (machine.accelerator, machine.count) not in choices:
        return f"{machine.type} is known with {_names(choices)}, not with {machine.count} x {machine.accelerator}"
    return None


def _first_with(accelerator: str, count: int | None) -> str:
    for type, choices in _ACCELERATORS_OF.items():
        if (accelerator, count or 1) in choices or (count is None and choices[0][0] == accelerator):
            return type
    raise CloudArgumentError(
        f"--accelerator {accelerator}{'' if count is None else f' --accelerator-count {count}'}: no machine is known "
        "for that; name one with --machine-type"
    )


def _names(choices: _Choices) -> str:
    return " or ".join(f"{count} x {name}" for name, count in choices)
