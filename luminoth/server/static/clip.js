// A clip: its frames are looked at from the first on while it can already be played, and boxes follow the picture.

import { ApiError, predictClip } from "./api.js";
import { byId } from "./dom.js";
import { makeThumbnail } from "./items.js";
import { LEAST_PROB, currentItem, modelNamed, modelsFor } from "./store.js";

export function createClips(store, stage, asking) {
  const controls = byId("clip-controls");
  const play = byId("clip-play");
  const seek = byId("clip-seek");
  let video = null;

  store.listen((state) => {
    const item = currentItem(state);
    controls.hidden = item?.kind !== "clip";
    if (controls.hidden) {
      video = null;
      return;
    }
    const [view] = stage.views();
    if (view && view.media !== video) follow(view, item);
    const [model] = modelsFor(state, item);
    if (!item.results.has(model) && state.server === "up" && modelNamed(state, model)?.state === "ready") {
      look(item, model);
    }
    showProgress(item.results.get(model));
  });

  /** Asks for the objects of all frames. */
  async function look(item, model) {
    const result = { status: "done", isAsking: true, frames: [], objects: [], image: null };
    item.results.set(model, result);
    const stop = new AbortController();
    let told = 0;
    try {
      for await (const frame of predictClip(model, item.file, item.name, LEAST_PROB, stop.signal)) {
        if (item.isRemoved) stop.abort();
        result.frames.push(frame);
        if (performance.now() - told < 200) continue;
        told = performance.now();
        showFrame(item, result);
      }
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (item.isRemoved) return;
      if (!result.frames.length) {
        asking.failed(item, model, error);
        store.update();
        return;
      }
      result.error = error;
    }
    result.isAsking = false;
    showFrame(item, result);
  }

  /** Keeps the boxes those of the frame that is seen. */
  function follow(view, item) {
    const own = view.media;
    video = own;
    const show = () => own === video && showFrame(item, item.results.get(view.model));
    for (const name of ["timeupdate", "seeked", "play", "pause", "loadeddata"]) own.addEventListener(name, show);
    const onFrame = () => {
      show();
      if (own === video) own.requestVideoFrameCallback(onFrame);
    };
    own.requestVideoFrameCallback?.(onFrame);
    if (!item.thumbnail) own.addEventListener("loadeddata", () => makeThumbnail(store, item, own), { once: true });
    own.addEventListener("error", () => {
      item.isUnreadable = true;
      store.update();
    });
  }

  function showFrame(item, result) {
    if (video && currentItem(store.state) === item && result?.frames) {
      if (video.videoWidth) result.image = { width: video.videoWidth, height: video.videoHeight };
      result.objects = frameAt(result.frames, video.currentTime, !result.isAsking)?.objects ?? [];
    }
    store.update();
  }

  function showProgress(result) {
    const isPlaying = Boolean(video && !video.paused);
    play.textContent = isPlaying ? "Pause" : "Play";
    const duration = video?.duration || 0;
    seek.max = duration;
    seek.value = video?.currentTime ?? 0;
    seek.setAttribute("aria-valuetext", `${Number(seek.value).toFixed(1)} seconds`);
    const done = result?.frames?.at(-1)?.time ?? 0;
    const share = duration ? Math.min(100, Math.round((100 * done) / duration)) : 0;
    byId("clip-progress").textContent = result?.isAsking
      ? `${result.frames.length} frames looked at (${share} %)`
      : result?.error && result.frames.length
        ? `Ended after ${result.frames.length} frames: ${result.error.message}`
        : `${Number(seek.value).toFixed(1)} of ${duration.toFixed(1)} s`;
  }

  play.addEventListener("click", () => {
    if (video.paused) video.play();
    else video.pause();
  });
  seek.addEventListener("input", () => { video.currentTime = Number(seek.value); });
}

/**
 * The last of the frames, which come in order, that is not after a time; null when that one is not known yet.
 *
 * @param isWhole whether these are all frames, the last of which is seen to the end
 */
export function frameAt(frames, time, isWhole) {
  let low = 0;
  let high = frames.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (frames[middle].time <= time + 0.001) low = middle + 1;
    else high = middle;
  }
  return low < frames.length || isWhole ? (frames[low - 1] ?? null) : null;
}
