"""Files in a bucket of Cloud Storage."""

from __future__ import annotations

from typing import Any

from luminoth.cloud.access import Cloud
from luminoth.cloud.failures import explained
from luminoth.errors import CloudError


def open_bucket(cloud: Cloud, name: str) -> Any:
    """A bucket that exists.

    Raises:
        CloudError: it does not, or may not be seen.
    """
    with explained(f"looking for the bucket gs://{name}"):
        bucket = cloud.storage.lookup_bucket(name)
    if bucket is None:
        raise CloudError(f"gs://{name}: there is no such bucket; name the one of the run with --bucket")
    return bucket


def ensure_bucket(cloud: Cloud, name: str) -> tuple[Any, bool]:
    """(bucket, whether it was created). A new one lies in the region of the jobs, and rights count for all of it.

    Raises:
        CloudError: it can neither be seen nor created.
    """
    with explained(f"looking for the bucket gs://{name}"):
        bucket = cloud.storage.lookup_bucket(name)
    if bucket is not None:
        return bucket, False
    bucket = cloud.storage.bucket(name)
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    try:
        with explained(f"creating the bucket gs://{name} in {cloud.region}"):
            return cloud.storage.create_bucket(bucket, location=cloud.region), True
    except CloudError as error:
        if error.status == 409:
            raise CloudError(f"gs://{name}: the name is taken by another project; choose another --bucket") from error
        raise


def upload(bucket: Any, path: str, content: bytes) -> None:
    """Writes a file, in place of one of that name.

    Raises:
        CloudError: it cannot be written.
    """
    from google.cloud.storage.retry import DEFAULT_RETRY

    with explained(f"uploading gs://{bucket.name}/{path}"):
        # The same bytes may be sent again: a lost connection is no reason to give up.
        bucket.blob(path).upload_from_string(content, content_type="application/octet-stream", retry=DEFAULT_RETRY)


def read_file(bucket: Any, path: str) -> bytes | None:
    """The content of a file; None: there is none.

    Raises:
        CloudError: it cannot be read.
    """
    with explained(f"reading gs://{bucket.name}/{path}"):
        blob = bucket.get_blob(path)
        return None if blob is None else blob.download_as_bytes()


def exists(bucket: Any, path: str) -> bool:
    """Whether there is a file of that name.

    Raises:
        CloudError: that cannot be seen.
    """
    with explained(f"looking for gs://{bucket.name}/{path}"):
        return bucket.blob(path).exists()
