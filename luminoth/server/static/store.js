// What the page knows, in one place. Parts read it and are called after it changed; none keeps a copy.

/**
 * @typedef {object} Found  one object: bbox [x_min, y_min, x_max, y_max] in pixels of the upright picture, label, prob
 *
 * @typedef {object} Result  what is known of one item and one model
 * @property {"asking" | "busy" | "failed" | "done"} status
 * @property {Found[]} objects  the surest first, down to LEAST_PROB
 * @property {{width: number, height: number}} image
 * @property {{upload: number, queue: number, network: number, total: number, whole: number}} seconds  see api.js
 * @property {ApiError} error  where it failed
 *
 * @typedef {object} Item  a picture, a clip or the camera
 * @property {number} id
 * @property {"picture" | "clip" | "camera"} kind
 * @property {string} name
 * @property {Blob} file
 * @property {string} url  of the file, for an element
 * @property {string | null} thumbnail
 * @property {Map<string, Result>} results  by name of model
 */

// The API is asked once, for all that is surer than this; the slider then filters what is here.
export const LEAST_PROB = 0.05;

export function createStore() {
  const state = {
    models: [], // as in `GET /api/models`
    server: "starting", // "starting" until it first answers, "up", "gone"
    chosen: [], // one name of a model, or two to compare
    items: [],
    currentId: null,
    minProb: 0.5,
    hidden: new Set(), // classes that are switched off
  };
  const listeners = [];
  let isTold = true;

  /** Changes fields, and tells the listeners once, after all changes that are made together. */
  function update(change = {}) {
    Object.assign(state, change);
    if (!isTold) return;
    isTold = false;
    queueMicrotask(() => {
      isTold = true;
      for (const listener of listeners) listener(state);
    });
  }

  return { state, update, listen: (listener) => listeners.push(listener) };
}

export const currentItem = (state) => state.items.find((item) => item.id === state.currentId) ?? null;

/** The models that look at an item: a clip and the camera are shown to the first alone. */
export const modelsFor = (state, item) => (item?.kind === "picture" ? state.chosen : state.chosen.slice(0, 1));

export const modelNamed = (state, name) => state.models.find((model) => model.name === name);

/** Those surer than the slider says, of classes that are switched on, each with its place in `objects`. */
export function shown(state, objects) {
  return objects
    .map((found, index) => ({ ...found, index }))
    .filter((found) => found.prob >= state.minProb && !state.hidden.has(found.label));
}

/** "3 car, 1 person", the most frequent first; "nothing" without any. */
export function summary(objects) {
  const counts = new Map();
  for (const { label } of objects) counts.set(label, (counts.get(label) ?? 0) + 1);
  const parts = [...counts].sort((one, other) => other[1] - one[1]).map(([label, count]) => `${count} ${label}`);
  return parts.join(", ") || "nothing";
}
