// The pictures, clips and cameras that the page has: how they come and go.

import { currentItem } from "./store.js";

const THUMBNAIL = 192; // pixels of the longer side
const VIDEO_NAME = /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g)$/i;

let lastId = 0;

/** Adds files, and shows the first of them. */
export function addFiles(store, files) {
  const items = [...files].map((file) => createItem({
    kind: file.type.startsWith("video/") || VIDEO_NAME.test(file.name) ? "clip" : "picture",
    name: file.name || "picture",
    file,
    url: URL.createObjectURL(file),
  }));
  if (!items.length) return;
  store.update({ items: [...store.state.items, ...items], currentId: items[0].id });
  for (const item of items) if (item.kind === "picture") makeThumbnail(store, item, item.file);
}

export function addCamera(store, stream) {
  const item = createItem({ kind: "camera", name: "Camera", stream });
  store.update({ items: [...store.state.items, item], currentId: item.id });
}

function createItem(properties) {
  lastId += 1;
  return { id: lastId, thumbnail: null, results: new Map(), ...properties };
}

export function removeItem(store, item) {
  const { items, currentId } = store.state;
  const place = items.indexOf(item);
  const left = items.filter((other) => other !== item);
  const next = left[Math.min(place, left.length - 1)]?.id ?? null;
  for (const url of [item.url, item.thumbnail]) if (url) URL.revokeObjectURL(url);
  for (const track of item.stream?.getTracks() ?? []) track.stop();
  item.isRemoved = true;
  store.update({ items: left, currentId: currentId === item.id ? next : currentId });
}

/** Shows the item that many places further, if there is one. */
export function step(store, by) {
  const { items } = store.state;
  const next = items[items.indexOf(currentItem(store.state)) + by];
  if (next) store.update({ currentId: next.id });
}

/**
 * A small copy, upright, so that a hundred large photographs do not have to stay decoded.
 *
 * @param source a Blob, or a video that shows a frame
 */
export async function makeThumbnail(store, item, source) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(source);
  } catch {
    item.isUnreadable = true; // by this browser; the server may read more formats
    store.update();
    return;
  }
  const scale = Math.min(1, THUMBNAIL / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  canvas.toBlob((blob) => {
    if (item.isRemoved || !blob) return;
    item.thumbnail = URL.createObjectURL(blob);
    store.update();
  }, "image/jpeg", 0.8);
}
