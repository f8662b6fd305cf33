"""Every error Luminoth raises on purpose.

    LuminothError
    ├── ConfigError        a configuration file, key or override is wrong
    ├── DataError          a data set, record or annotation is wrong
    │   └── ImageError     one picture or video cannot be read
    ├── WorkerError        a process that worked for this one or with it is gone
    ├── CheckpointError    a checkpoint is missing, incomplete or does not fit
    │   └── NonFiniteWeightsError
    ├── ModelError         a model cannot be built as asked
    ├── TrainingError      training cannot go on
    │   └── NonFiniteLossError
    ├── DownloadError      the network does not give what is to be fetched
    ├── CloudError         Google Cloud refuses or cannot do what it was asked
    │   └── CloudArgumentError
    └── OutputError        a result cannot be written

The message of each says which file, key or argument is meant, what was found, what is accepted and
what to do next; the command line prints it as one line and exits with status 1.
"""

from __future__ import annotations

from collections.abc import Sequence


class LuminothError(Exception):
    """Base of all errors that are meant for a person; never raised itself."""


class ConfigError(LuminothError):
    """A configuration file, key, value or override is not acceptable."""


class DataError(LuminothError):
    """A data set, a record or an annotation is missing or malformed."""


class ImageError(DataError):
    """One picture or video cannot be read."""


class WorkerError(LuminothError):
    """A process that worked for this one or with it ended by itself, or does not answer."""


class CheckpointError(LuminothError):
    """A checkpoint is missing, incomplete or does not fit the model."""


class NonFiniteWeightsError(CheckpointError):
    """Weights that were to be saved are NaN or infinite.

    Attributes:
        names: which.
    """

    def __init__(self, message: str, names: Sequence[str]) -> None:
        super().__init__(message)
        self.names = names


class ModelError(LuminothError):
    """A model cannot be built with the given arguments."""


class TrainingError(LuminothError):
    """Training cannot start or cannot go on."""


class NonFiniteLossError(TrainingError):
    """A loss became NaN or infinite; names step, files, boxes and learning rate."""


class DownloadError(LuminothError):
    """The network, or a server on it, does not give what is to be fetched."""


class CloudError(LuminothError):
    """Google Cloud refuses or cannot do what it was asked, or cannot be reached.

    Attributes:
        status: of HTTP, where there was an answer.
        is_passing: the same may work a little later.
    """

    def __init__(self, message: str, *, status: int | None = None, is_passing: bool = False) -> None:
        super().__init__(message)
        self.status, self.is_passing = status, is_passing


class CloudArgumentError(CloudError):
    """What is wanted of Google Cloud was stated wrongly; nothing was asked of it."""


class OutputError(LuminothError):
    """A result cannot be written where it was asked for."""
