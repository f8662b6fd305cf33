"""Addresses: `gs://BUCKET/path`, where `/` divides the path as if there were folders."""

from __future__ import annotations

from typing import TypeGuard

_SCHEME = "gs://"


def is_address(place: object) -> TypeGuard[str]:
    """Whether something names a place in a bucket, rather than a path on this machine."""
    return isinstance(place, str) and place.startswith(_SCHEME)


def join(address: str, *names: str) -> str:
    """The address below another one."""
    return "/".join([address.rstrip("/"), *names])


def name_of(address: str) -> str:
    """The last part of an address."""
    return address.rstrip("/").rpartition("/")[2]


def parent_of(address: str) -> str:
    """The address without its last part."""
    return address.rstrip("/").rpartition("/")[0]
