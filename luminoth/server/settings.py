"""What whoever starts a server decides."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Limits, and who may ask.

    Attributes:
        max_upload_bytes: largest body of a request.
        max_pixels: most pixels of a picture or of a frame, looked at before it is decoded.
        max_images: most pictures in one request.
        max_frames: most frames of a clip that are looked at.
        timeout: seconds after which a request whose pictures still wait is given up.
        min_prob: the lowest probability that is reported when a request does not say.
        api_keys: those that may ask the API; empty: everybody.
        cors_origins: pages of these origins may ask from a browser; `*` is any.
    """

    max_upload_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    max_images: int = 32
    max_frames: int = 10_000
    timeout: float = 30.0
    min_prob: float = 0.5
    api_keys: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
