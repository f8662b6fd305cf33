"""Every error Luminoth raises on purpose.

    LuminothError
    ├── ConfigError        a configuration file, key or override is wrong
    ├── DataError          a data set, record or annotation is wrong
    │   └── ImageError     one picture or video cannot be read
    ├── WorkerError        a process that worked for this one ended by itself
    ├── CheckpointError    a checkpoint is missing, incomplete or does not fit
    ├── ModelError         a model cannot be built as asked
    ├── TrainingError      training cannot go on
    │   └── NonFiniteLossError
    ├── DownloadError      the network does not give what is to be fetched
    └── OutputError        a result cannot be written

The message of each says which file, key or argument is meant, what was found, what is accepted and
what to do next; the command line prints it as one line and exits with status 1.
"""


class LuminothError(Exception):
    """Base of all errors that are meant for a person; never raised itself."""


class ConfigError(LuminothError):
    """A configuration file, key, value or override is not acceptable."""


class DataError(LuminothError):
    """A data set, a record or an annotation is missing or malformed."""


class ImageError(DataError):
    """One picture or video cannot be read."""


class WorkerError(LuminothError):
    """A process that worked for this one ended by itself, most likely for want of memory."""


class CheckpointError(LuminothError):
    """A checkpoint is missing, incomplete or does not fit the model."""


class ModelError(LuminothError):
    """A model cannot be built with the given arguments."""


class TrainingError(LuminothError):
    """Training cannot start or cannot go on."""


class NonFiniteLossError(TrainingError):
    """A loss became NaN or infinite; names step, files, boxes and learning rate."""


class DownloadError(LuminothError):
    """The network, or a server on it, does not give what is to be fetched."""


class OutputError(LuminothError):
    """A result cannot be written where it was asked for."""
