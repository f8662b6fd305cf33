"""Where what `lumi predict` finds goes: records, drawn pictures and videos, objects as pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luminoth.cli.predict_options import RESULTS_NAME, Wanted
from luminoth.errors import OutputError

if TYPE_CHECKING:
    import numpy as np

    from luminoth.inference.crops import Crops
    from luminoth.inference.live import LiveReader
    from luminoth.inference.output_names import OutputNames
    from luminoth.inference.results import Format, ResultFile, ResultStream
    from luminoth.inference.resume import Earlier
    from luminoth.inference.sources import MediaFile, MediaList
    from luminoth.inference.video import Frame, VideoReader
    from luminoth.inference.video_writer import SoundTrack, VideoWriter

# How many pictures or frames wait to be drawn and encoded, and of how many pixels: 64 million are 192 MB.
_WAITING_PICTURES = 4
_WAITING_FRAMES = 8
_MOST_WAITING_PIXELS = 64_000_000
_PICTURE_THREADS = 2
# How opaque the inside of boxes is coloured, of 255. In videos it would flicker.
_PICTURE_FILL, _FRAME_FILL = 30, 0


class Outputs:
    """Everything that is written about pictures and videos; a context manager.

    Records are written at once; drawing and encoding goes on in other threads.

    Args:
        wanted: the options.
        files: the pictures and videos; their files are not overwritten.
        class_names: all classes that the detector knows.
        earlier: what is kept of an earlier run's records.
    """

    def __init__(
        self, wanted: Wanted, files: MediaList, class_names: Sequence[str], earlier: Earlier | None = None
    ) -> None:
        self._wanted = wanted
        self._names: OutputNames | None = None
        self._crops: Crops | None = None
        self._make_folders(files)
        self._results = _open_results(wanted, class_names, earlier)
        self._stack = ExitStack()

    def __enter__(self) -> Outputs:
        from luminoth.inference.background import InBackground

        self._stack.enter_context(self._results)
        self._pictures = self._stack.enter_context(
            InBackground(_WAITING_PICTURES, _PICTURE_THREADS, _MOST_WAITING_PIXELS)
        )
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def skip(self, file: MediaFile) -> None:
        """Leaves a file's names to what an earlier run has made of it."""
        if self._names is not None:
            self._names.path_for(file.relative, _drawn_ending(file))
        if self._crops is not None:
            self._crops.begin(file.relative, is_video=file.kind != "image")

    def picture(self, file: MediaFile, pixels: np.ndarray, objects: list[dict[str, Any]]) -> None:
        """Writes what was found in a picture.

        Args:
            file: the picture.
            pixels: uint8 RGB [H, W, 3]; not to be used any more.
            objects: as `Detections.to_dicts` gives them.
        """
        self._results.write({"file": file.name, "objects": objects})
        if self._names is None and self._crops is None:
            return
        drawn = None if self._names is None else self._names.path_for(file.relative, _drawn_ending(file))
        begin = None if self._crops is None else self._crops.begin(file.relative, is_video=False)
        self._pictures(self._save_picture, drawn, begin, pixels, objects, weight=pixels.size // 3)

    @contextmanager
    def video(
        self, file: MediaFile, reader: VideoReader | LiveReader, path: Path | None, on_notice: Callable[[str], None]
    ) -> Iterator[_VideoOutputs]:
        """What to write the frames of a video with.

        Args:
            file: the video.
            reader: what its frames come from.
            path: where its sound is; None: it has none.
            on_notice: gets a line for what is missing in the drawn copy.
        """
        from luminoth.inference.background import InBackground

        drawn = None if self._names is None else self._names.path_for(file.relative, ".mp4")
        begin = None if self._crops is None else self._crops.begin(file.relative, is_video=True)
        film = None if drawn is None else _Film(drawn, reader, path, self._wanted)
        with ExitStack() as stack:
            if film is not None:
                stack.enter_context(film)
            # Ends before the film is finished.
            background = stack.enter_context(InBackground(_WAITING_FRAMES, most_weight=_MOST_WAITING_PIXELS))
            yield _VideoOutputs(file, self._results, film, self._crops, begin, background)
        if film is not None and film.sound_damage:
            on_notice(f"{file.name}: the sound of its copy is not whole ({film.sound_damage})")

    def _make_folders(self, files: MediaList) -> None:
        from luminoth.inference.crops import Crops
        from luminoth.inference.output_names import OutputNames, make_folder

        wanted = self._wanted
        for folder in (wanted.media_dir, wanted.crops_dir):
            if folder is not None:
                make_folder(folder)
        if wanted.media_dir is not None:
            self._names = OutputNames(wanted.media_dir, files.holds, reserved=(RESULTS_NAME,))
        if wanted.crops_dir is not None:
            self._crops = Crops(wanted.crops_dir, wanted.crop_margin)

    def _save_picture(self, drawn: Path | None, begin: Any, pixels: Any, objects: list[dict[str, Any]]) -> None:
        from PIL import Image

        from luminoth.inference.crops import save_picture

        if begin is not None:
            self._crops.save(begin, pixels, objects)
        if drawn is None:
            return
        try:
            drawn.parent.mkdir(parents=True, exist_ok=True)
            save_picture(Image.fromarray(draw(pixels, objects, self._wanted, fill=_PICTURE_FILL)), drawn)
        except OSError as error:
            raise OutputError(f"{drawn}: cannot be written ({error.strerror or error})") from error


def draw(pixels: np.ndarray, objects: list[dict[str, Any]], wanted: Wanted, fill: int) -> np.ndarray:
    """A picture [H, W, 3] with boxes drawn on it, in place where it may be written to."""
    import numpy as np

    from luminoth.inference.draw import draw_objects

    pixels = pixels if pixels.flags.writeable else np.array(pixels)
    if wanted.labels_only:  # the surest is drawn last, which is told by the order where there are no probabilities
        objects = [{key: found[key] for key in found if key != "prob"} for found in reversed(objects)]
    objects = [found | {"note": f"#{found['track']}"} if "track" in found else found for found in objects]
    draw_objects(pixels, objects, fill=fill, line_width=wanted.line_width, font_scale=wanted.font_scale)
    return pixels


class _Film:
    """The drawn copy of a video, which is there from its first frame on; a context manager."""

    def __init__(self, path: Path, reader: VideoReader | LiveReader, sound_path: Path | None, wanted: Wanted) -> None:
        self._path, self._reader, self._sound_path, self._wanted = path, reader, sound_path, wanted
        self._video: VideoWriter | None = None
        self._sound: SoundTrack | None = None

    @property
    def sound_damage(self) -> str | None:
        """Why its sound is not whole; None: it is, or there is none."""
        return self._sound and self._sound.damage

    def __enter__(self) -> _Film:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._video is None:
            return
        with self._video:
            if error[0] is None and self._wanted.end is None:
                self._video.write_rest_of_sound()

    def write(self, frame: Frame, objects: list[dict[str, Any]]) -> None:
        """Adds a frame, which is drawn on."""
        if self._video is None:
            self._video = self._open(frame)
        drawn = draw(frame.pixels, objects, self._wanted, fill=_FRAME_FILL)
        self._draw_count_lines(drawn)
        self._video.write(drawn, frame.time)

    def _draw_count_lines(self, pixels: np.ndarray) -> None:
        from luminoth.inference.draw import draw_line

        for x_start, y_start, x_end, y_end in self._wanted.count_lines:
            draw_line(pixels, (x_start, y_start), (x_end, y_end), line_width=self._wanted.line_width)

    def _open(self, frame: Frame) -> VideoWriter:
        from luminoth.inference.video_writer import SoundTrack, VideoWriter

        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written ({error.strerror or error})") from error
        if self._sound_path is not None:
            self._sound = SoundTrack(self._sound_path, self._reader.origin + frame.time)
        return VideoWriter(self._path, self._reader.rate / self._wanted.stride, self._sound)


class _VideoOutputs:
    """Writes what was found in the frames of one video."""

    def __init__(
        self,
        file: MediaFile,
        results: ResultFile | ResultStream,
        film: _Film | None,
        crops: Crops | None,
        begin: Any,
        background: Any,
    ) -> None:
        self._file, self._results, self._film = file, results, film
        self._crops, self._begin, self._background = crops, begin, background

    def frame(self, frame: Frame, objects: list[dict[str, Any]]) -> None:
        """Writes a frame; its pixels are not to be used any more."""
        self._results.write({"file": self._file.name, "frame": frame.index, "time": frame.time, "objects": objects})
        if self._film is not None or self._crops is not None:
            self._background(self._save, frame, objects, weight=frame.pixels.size // 3)

    def _save(self, frame: Frame, objects: list[dict[str, Any]]) -> None:
        if self._crops is not None:
            self._crops.save(self._begin, frame.pixels, objects, frame.index)
        if self._film is not None:
            self._film.write(frame, objects)


def _drawn_ending(file: MediaFile) -> str:
    from luminoth.inference.output_names import picture_ending

    return picture_ending(file.relative) if file.kind == "image" else ".mp4"


def _open_results(wanted: Wanted, class_names: Sequence[str], earlier: Earlier | None) -> ResultFile | ResultStream:
    from luminoth.inference.results import ResultFile, ResultStream

    written = _format(wanted, class_names)
    if wanted.results_path is not None:
        keep = None if earlier is None else (earlier.keep_bytes, earlier.has_records)
        return ResultFile(wanted.results_path, written, keep)

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    return ResultStream(write, written)


def _format(wanted: Wanted, class_names: Sequence[str]) -> Format:
    from luminoth.inference import results

    name = format_of(wanted)
    if name == "coco":
        return results.CocoResults(class_names)
    if name == "csv":
        return results.Csv((*(["track"] if wanted.tracks else []), *(["crossed"] if wanted.count_lines else [])))
    return {"json": results.JsonDocument, "jsonl": results.JsonLines}[name]()


def format_of(wanted: Wanted) -> str:
    """The format that is asked for, or that the ending of the file says."""
    from luminoth.inference.results import format_name

    return wanted.format or format_name(wanted.results_path)
