"""Toytown: small street scenes with known boxes, drawn on the spot, to try everything on."""

from luminoth.data.toytown.dataset import FORMATS, ToytownSummary, write_toytown
from luminoth.data.toytown.scene import CLASSES, DEFAULT_SIZE, draw_scene
from luminoth.data.toytown.video import VIDEO_SIZE, check_video_arguments, count_frames, write_toytown_video
from luminoth.data.toytown.visibility import SceneObject

__all__ = [
    "CLASSES",
    "DEFAULT_SIZE",
    "FORMATS",
    "VIDEO_SIZE",
    "SceneObject",
    "ToytownSummary",
    "check_video_arguments",
    "count_frames",
    "draw_scene",
    "write_toytown",
    "write_toytown_video",
]
