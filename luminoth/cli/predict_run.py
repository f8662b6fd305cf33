"""Goes through the files of `lumi predict`: reading, network and writing overlap, and little is held at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from luminoth.cli.predict_options import Wanted
from luminoth.cli.predict_outputs import Outputs
from luminoth.cli.predict_progress import Display, VideoDisplay
from luminoth.errors import ImageError

if TYPE_CHECKING:
    import numpy as np

    from luminoth.inference.detector import Detector
    from luminoth.inference.fetch import LocalFile
    from luminoth.inference.live import LiveReader
    from luminoth.inference.sources import MediaFile
    from luminoth.inference.tiling import TiledDetector
    from luminoth.inference.tracking import Following
    from luminoth.inference.video import Frame, VideoReader
    from luminoth.types import Detections

T = TypeVar("T")

# Pictures that wait before the network; several batches, since only pictures of one shape share a batch, but of no
# more pixels than these: 64 million are 192 MB.
_BATCHES_AHEAD = 2
_MOST_PIXELS_AHEAD = 64_000_000
_READING_THREADS = 2
_FETCHING_THREADS = 4
_FETCHED_AHEAD = 8


@dataclass
class Run:
    """One run of the command.

    Attributes:
        detector: a `Detector`, or a `TiledDetector` over one.
        sure_scores: [C], what an object of each class must reach to be reported.
        folder: for what is fetched.
        done: files finished.
        failed: files that could not be read, or not to their end.
    """

    wanted: Wanted
    detector: Detector | TiledDetector
    sure_scores: np.ndarray
    outputs: Outputs
    display: Display
    folder: Path
    done: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)

    def predict(self, files: Iterable[MediaFile]) -> None:
        """Does all files.

        Raises:
            ImageError: with `strict`, the first one that cannot be read.
            OutputError: a result cannot be written.
        """
        with closing(self._brought_here(files)) as local_files:
            for kind, run in groupby(local_files, key=lambda local: local.file.kind):
                if kind == "image":
                    self._predict_images(run)
                else:
                    for local in run:
                        self._predict_video(local)

    # --- What there is to find: how pictures become objects -------------------------------------------------

    def _find(self, pictures: list[Any]) -> list[Detections]:
        """What is found in pictures, within the bounds that the options set."""
        return [self._bounded(found) for found in self.detector.detect(pictures)]

    def _bounded(self, found: Detections) -> Detections:
        return found.select((found.scores <= self.wanted.max_prob).nonzero()[0][: self.wanted.max_detections])

    def _objects_of_frames(self, pictures: list[Any], following: Following | None) -> list[list[dict[str, Any]]]:
        """The objects in frames, with the number that each keeps where they are followed."""
        if following is None:
            return [found.to_dicts() for found in self._find(pictures)]
        from luminoth.inference.tracking import Tracker

        lowest = min(Tracker.DOUBTFUL_SCORE, self.wanted.min_prob)
        return [following.follow(self._bounded(found)) for found in self.detector.detect(pictures, min_score=lowest)]

    def _open_following(self, reader: VideoReader | LiveReader) -> Following | None:
        """What follows the objects of a video, if that is wanted."""
        if not self.wanted.tracks:
            return None
        from luminoth.inference.tracking import CountLine, Following

        lines = [CountLine(line[:2], line[2:]) for line in self.wanted.count_lines]
        return Following(float(reader.rate) / self.wanted.stride, self.sure_scores, lines)

    # --- Pictures ---------------------------------------------------------------------------------------------

    def _predict_images(self, files: Iterator[LocalFile]) -> None:
        from luminoth.inference.background import map_ahead

        first = next(files)
        self.display.begin_images(first.file)
        decoded = map_ahead(
            self._decoded,
            chain([first], files),
            threads=_READING_THREADS,
            depth=_BATCHES_AHEAD * self.wanted.batch_size + _READING_THREADS,
            weigh=_pixels_of,
            most_weight=_MOST_PIXELS_AHEAD,
        )
        with closing(decoded):
            for group in _in_groups(decoded, _BATCHES_AHEAD * self.wanted.batch_size, _MOST_PIXELS_AHEAD):
                self._predict_group(group)

    def _predict_group(self, group: list[tuple[LocalFile, Any]]) -> None:
        pictures = [(local, pixels) for local, pixels in group if not isinstance(pixels, ImageError)]
        found = iter(self._find([pixels for _, pixels in pictures]) if pictures else ())
        for local, pixels in group:
            if isinstance(pixels, ImageError):
                self._fail(pixels)
            else:
                self.outputs.picture(local.file, pixels, next(found).to_dicts())
                self.done += 1
            self.display.advance(1)

    def _decoded(self, local: LocalFile) -> tuple[LocalFile, Any]:
        """A file with its pixels, or with the error that says why it has none."""
        from luminoth.image import read_image

        try:
            if local.path is None:
                return local, local.problem
            return local, read_image(local.path, name=local.file.name, max_pixels=self.wanted.max_pixels)
        except ImageError as error:
            return local, error
        finally:
            local.discard()

    # --- Videos -----------------------------------------------------------------------------------------------

    def _predict_video(self, local: LocalFile) -> None:
        with self.display.video(local.file) as shown:
            try:
                if local.problem is not None:
                    raise local.problem
                self._open_and_predict(local, shown)
                self.done += 1
            except ImageError as error:
                self._fail(error)
            finally:
                local.discard()

    def _open_and_predict(self, local: LocalFile, shown: VideoDisplay) -> None:
        from luminoth.inference.live import LiveReader
        from luminoth.inference.video import VideoReader

        wanted, file = self.wanted, local.file
        if file.kind == "live":
            with LiveReader(file, end=wanted.end, stride=wanted.stride, on_notice=shown.say) as reader:
                try:
                    self._predict_frames(local, reader, shown)
                except KeyboardInterrupt:  # the only way in which it ends
                    shown.say(f"{file.name}: ended by Ctrl-C after {shown.frames} frames")
        else:
            with VideoReader(
                local.path, name=file.name, start=wanted.start, end=wanted.end, stride=wanted.stride
            ) as reader:
                self._predict_frames(local, reader, shown)

    def _predict_frames(self, local: LocalFile, reader: VideoReader | LiveReader, shown: VideoDisplay) -> None:
        is_live = local.file.kind == "live"
        shown.begin(reader.frame_count)
        following = self._open_following(reader)
        with ExitStack() as stack:
            if following is not None:  # tells what was counted also when it is interrupted
                stack.callback(_tell_counts, following, local.file.name, shown)
            outputs = stack.enter_context(self.outputs.video(local.file, reader, local.path, shown.say))
            frames = stack.enter_context(closing(self._frames_ahead(reader, is_live)))
            for group in _in_groups(frames, 1 if is_live else self.wanted.batch_size):
                found = self._objects_of_frames([frame.pixels for frame in group], following)
                for frame, objects in zip(group, found, strict=True):
                    outputs.frame(frame, objects)
                shown.advance(len(group))
        shown.finish()

    def _frames_ahead(self, reader: VideoReader | LiveReader, is_live: bool) -> Iterator[Frame]:
        """Frames of a file, read in another thread; of a camera always the latest one."""
        from luminoth.inference.background import newest, read_ahead

        if is_live:
            return newest(reader, stop=reader.stop)
        height, width = reader.picture_size
        depth = min(_BATCHES_AHEAD * self.wanted.batch_size, _MOST_PIXELS_AHEAD // max(height * width, 1))
        return read_ahead(reader, max(depth, 1))

    # --- All files ----------------------------------------------------------------------------------------------

    def _brought_here(self, files: Iterable[MediaFile]) -> Iterator[LocalFile]:
        """The files in their order, fetched ahead where they are elsewhere."""
        from luminoth.inference.background import map_ahead

        return map_ahead(self._bring_here, enumerate(files), threads=_FETCHING_THREADS, depth=_FETCHED_AHEAD)

    def _bring_here(self, numbered: tuple[int, MediaFile]) -> LocalFile:
        from luminoth.inference.fetch import LocalFile, bring_here

        number, file = numbered
        if self.wanted.offline and file.needs_network:
            return LocalFile(file, None, ImageError(f"{file.name}: is not on this machine, and --offline was given"))
        return LocalFile(file, None) if file.kind == "live" else bring_here(file, self.folder, number)

    def _fail(self, error: ImageError) -> None:
        if self.wanted.strict:
            raise error
        self.display.say(f"Error: {error}")
        self.failed += 1


def _tell_counts(following: Following, name: str, shown: VideoDisplay) -> None:
    """How many objects a video showed, and how many crossed each line."""
    shown.say(f"{name}: {_in_words(following.counts.by_class()) or 'no objects'}")
    for number, line in enumerate(following.lines, start=1):
        right, left = (_in_words(counts) or "none" for counts in line.by_direction().values())
        shown.say(f"{name}: line {number}: to the right {right}; to the left {left}")


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _pixels_of(local: LocalFile) -> int:
    from luminoth.image import stated_pixels

    return 0 if local.path is None else stated_pixels(local.path)


def _in_groups(items: Iterable[T], most: int, most_pixels: float = float("inf")) -> Iterator[list[T]]:
    """Lists of up to `most` items; what came before an error is yielded before the error is raised."""
    group: list[T] = []
    failure = None
    pixels = 0
    try:
        for item in items:
            group.append(item)
            if most_pixels < float("inf"):
                pixels += getattr(item[1], "size", 0) // 3
            if len(group) == most or pixels >= most_pixels:
                yield group
                group, pixels = [], 0
    except ImageError as error:
        failure = error
    if group:
        yield group
    if failure is not None:
        raise failure
