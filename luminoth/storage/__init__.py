"""Files in buckets of Cloud Storage, named by `gs://` addresses, through TensorFlow's own client.

    is_address("gs://my-bucket/tf")                          True
    read_bytes("gs://my-bucket/tf/classes.json")
    download({"gs://my-bucket/tf/val.tfrecords": path}, "gs://my-bucket/tf")

What reads and writes by seeking, appending and renaming works on copies on this disk: of records see
`luminoth/data/record_files.py`, of runs `luminoth/checkpoints/in_bucket.py`. Everything here raises `OSError`, as for
files of this machine. TensorFlow is imported when an address is first used.
"""

from luminoth.storage.addresses import is_address, join, name_of, parent_of
from luminoth.storage.copies import (
    ChangedError,
    copies_told,
    download,
    keep_copy,
    local_root,
    stands_for,
    stat_all,
    with_addresses,
)
from luminoth.storage.objects import Stat, exists, list_names, read_bytes, remove, stat, upload

__all__ = [
    "ChangedError",
    "Stat",
    "copies_told",
    "download",
    "exists",
    "is_address",
    "join",
    "keep_copy",
    "list_names",
    "local_root",
    "name_of",
    "parent_of",
    "read_bytes",
    "remove",
    "stands_for",
    "stat",
    "stat_all",
    "upload",
    "with_addresses",
]
