// The camera: one frame after the other is sent, and always the newest.

import { ApiError, predict } from "./api.js";
import { makeThumbnail } from "./items.js";
import { LEAST_PROB, currentItem, modelNamed, modelsFor } from "./store.js";

const LARGEST_SIDE = 1280; // pixels that are sent
const PAUSE = 1000; // milliseconds after an error

export function createLive(store, stage, asking) {
  let running = null; // the item whose loop runs

  store.listen((state) => {
    const item = currentItem(state);
    if (item?.kind !== "camera") return;
    const [view] = stage.views();
    if (view?.media.paused) view.media.play().catch(() => {});
    if (running !== item) loop(item);
  });

  async function loop(item) {
    running = item;
    while (currentItem(store.state) === item) {
      const [model] = modelsFor(store.state, item);
      const isReady = store.state.server === "up" && modelNamed(store.state, model)?.state === "ready";
      const frame = isReady ? await grab(stage.views()[0]?.media) : null;
      if (!frame) {
        await pause(100);
        continue;
      }
      if (!item.thumbnail) makeThumbnail(store, item, frame);
      try {
        const answer = await predict(model, frame, "frame.jpg", LEAST_PROB);
        item.results.set(model, { status: "done", ...answer });
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        asking.failed(item, model, error);
        store.update();
        await pause((error.retryAfter ?? 0) * 1000 || PAUSE);
      }
      store.update();
    }
    if (running === item) running = null;
  }
}

/** What a video shows now, as a JPEG; null before its first frame. */
async function grab(video) {
  if (!video?.videoWidth) return null;
  const scale = Math.min(1, LARGEST_SIDE / Math.max(video.videoWidth, video.videoHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => { canvas.toBlob(resolve, "image/jpeg", 0.85); });
}

const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });
