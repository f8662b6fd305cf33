// What can be taken away: the objects that are shown as JSON, and the picture with their boxes.

import { tagText } from "./boxes.js";
import { classColour, textColour } from "./colour.js";
import { byId, save } from "./dom.js";
import { currentItem, modelsFor, shown } from "./store.js";

const GAP = 8; // pixels between two models' pictures

export function createDownloads(store, stage) {
  byId("save-json").addEventListener("click", () => {
    const item = currentItem(store.state);
    saveJson([item], `${stem(item)}.json`);
  });
  byId("save-all").addEventListener("click", () => saveJson(store.state.items, "objects.json"));
  byId("save-picture").addEventListener("click", () => {
    drawn(store.state, stage.views()).toBlob((blob) => save(blob, `${stem(currentItem(store.state))}-objects.png`));
  });

  function saveJson(items, name) {
    const records = items.flatMap((item) => recordsOf(store.state, item));
    // A list with a record on each line, as `lumi predict -f objects.json` writes it.
    const text = `[\n${records.map((record) => JSON.stringify(record)).join(",\n")}\n]\n`;
    save(new Blob([text], { type: "application/json" }), name);
  }
}

const stem = (item) => item.name.replace(/\.[^.]*$/, "");

/** A record for each model, and of a clip for each frame, with the objects that pass the slider and the classes. */
function recordsOf(state, item) {
  const objectsOf = (all) => shown(state, all).map(({ bbox, label, prob }) => ({ bbox, label, prob }));
  return modelsFor(state, item).flatMap((model) => {
    const result = item.results.get(model);
    if (!result?.objects) return [];
    const head = { file: item.name, model };
    if (result.frames) {
      return result.frames.map(({ frame, time, objects }) => ({ ...head, frame, time, objects: objectsOf(objects) }));
    }
    return [{ ...head, image: result.image, objects: objectsOf(result.objects) }];
  });
}

/** A canvas with the picture of each view in full size, beside each other. */
function drawn(state, views) {
  const sizes = views.map((view) => view.sizes().picture);
  const canvas = document.createElement("canvas");
  canvas.width = sizes.reduce((sum, { width }) => sum + width, GAP * (sizes.length - 1));
  canvas.height = Math.max(...sizes.map(({ height }) => height));
  const pencil = canvas.getContext("2d");
  let left = 0;
  views.forEach((view, place) => {
    const { width, height } = sizes[place];
    pencil.save();
    pencil.translate(left, 0);
    if (isDrawable(view.media)) pencil.drawImage(view.media, 0, 0, width, height);
    const objects = shown(state, currentItem(state).results.get(view.model)?.objects ?? []);
    // The surest is drawn last, over the others.
    for (const found of objects.reverse()) drawObject(pencil, found, Math.sqrt(width * height), width);
    pencil.restore();
    left += width + GAP;
  });
  return canvas;
}

const isDrawable = (media) => (media.naturalWidth ?? media.videoWidth) > 0;

/** Line and text as wide as `vis_objects` makes them for a picture of that size. */
function drawObject(pencil, found, side, pictureWidth) {
  const [xMin, yMin, xMax, yMax] = found.bbox;
  const line = Math.max(2, Math.round(side / 380));
  const size = Math.max(12, Math.round(side / 62));
  const colour = classColour(found.label);
  pencil.lineWidth = line;
  pencil.strokeStyle = colour;
  pencil.strokeRect(xMin + line / 2, yMin + line / 2, xMax - xMin - line, yMax - yMin - line);
  pencil.font = `600 ${size}px system-ui, sans-serif`;
  const pad = Math.round(size * 0.3);
  const width = pencil.measureText(tagText(found)).width + 2 * pad;
  const height = Math.round(size * 1.35);
  const x = Math.max(0, Math.min(xMin, pictureWidth - width));
  const y = yMin >= height ? yMin - height : yMin;
  pencil.fillStyle = colour;
  pencil.fillRect(x, y, width, height);
  pencil.fillStyle = textColour(colour);
  pencil.textBaseline = "middle";
  pencil.fillText(tagText(found), x + pad, y + height / 2 + 1);
}
