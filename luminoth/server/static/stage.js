// The middle of the page: the current item, once for each model that is chosen.

import { byId, make } from "./dom.js";
import { match } from "./matching.js";
import { currentItem, modelNamed, modelsFor, shown, summary } from "./store.js";
import { createView } from "./view.js";
import { Viewport } from "./viewport.js";
import { counted, explain } from "./words.js";

const HELP = "Plus and minus zoom, arrow keys move, 0 shows all.";

/** @param onPick called with (model, index) when a box is clicked */
export function createStage(store, { light, asking, onPick }) {
  const views = byId("views");
  const level = byId("zoom-level");
  let open = []; // the views
  let openFor = ""; // what they were made for
  let viewport = new Viewport();

  function render(state) {
    const item = currentItem(state);
    const wanted = item ? `${item.id} ${modelsFor(state, item).join("\n")}` : "";
    if (wanted !== openFor) rebuild(state, item, wanted);
    for (const view of open) fill(state, item, view);
  }

  function rebuild(state, item, wanted) {
    const isSameItem = item && openFor.startsWith(`${item.id} `);
    for (const view of open) view.close();
    light.clear();
    if (!isSameItem) viewport = new Viewport();
    viewport = Object.assign(new Viewport(), { zoom: viewport.zoom, x: viewport.x, y: viewport.y });
    viewport.listen(() => { level.textContent = `${Math.round(viewport.zoom * 100)} %`; });
    openFor = wanted;
    open = modelsFor(state, item).slice(0, item ? 2 : 0).map((model) =>
      createView({ model, media: mediaOf(item), viewport, light, onPick: (index) => onPick(model, index) }));
    views.replaceChildren(...open.map((view) => view.element));
    views.classList.toggle("is-pair", open.length > 1);
    level.textContent = `${Math.round(viewport.zoom * 100)} %`;
  }

  function fill(state, item, view) {
    const result = item.results.get(view.model);
    const objects = result?.objects ? shown(state, result.objects) : [];
    const found = result?.objects ? `: ${summary(objects)} found by ${view.model}` : "";
    const caption = result?.objects ? `${view.model} · ${counted(objects.length, "object")}` : view.model;
    view.show(objects, result?.image ?? null, `${item.name}${found}. ${HELP}`, caption);
    view.showNote(noteFor(state, item, view.model, result));
  }

  /** What stands over a picture that has no answer yet, or will have none. */
  function noteFor(state, item, name, result) {
    if (result?.status === "done") {
      if (!item.isUnreadable) return null;
      return words("This browser cannot show this file", "The server could read it: its objects can be saved as JSON.");
    }
    const model = modelNamed(state, name);
    if (model?.state === "failed") return words(`${name} could not be loaded`, "The server's log says why.");
    if (result?.status === "failed" || result?.status === "busy") {
      const { title, text, canRetry } = explain(result.error, item.name);
      const button = canRetry && make("button", { type: "button", onclick: () => asking.retry(item) }, "Try again now");
      return words(title, text, button, result.status === "failed");
    }
    if (item.kind !== "picture") return null;
    if (model?.state === "loading") return working(`Loading ${name} …`);
    return working("Looking …");
  }

  light.listen((lit) => {
    for (const view of open) view.light(lit ? litIn(view.model, lit) : new Set());
  });

  /** The object itself, and in the other model's view the same object. */
  function litIn(name, lit) {
    if (lit.model === name) return new Set([lit.index]);
    const { state } = store;
    const { results } = currentItem(state);
    const [own, other] = [lit.model, name].map((model) => shown(state, results.get(model)?.objects ?? []));
    const index = match(own, other).get(lit.index);
    return new Set(index === undefined ? [] : [index]);
  }

  const zoom = (factor) => {
    if (!open.length) return;
    const { view, picture } = open[0].sizes();
    viewport.zoomAt(factor, { x: view.width / 2, y: view.height / 2 }, view, picture);
  };
  byId("zoom-in").addEventListener("click", () => zoom(1.6));
  byId("zoom-out").addEventListener("click", () => zoom(1 / 1.6));
  byId("zoom-fit").addEventListener("click", () => viewport.fit());

  store.listen(render);
  return {
    views: () => open,
    /** Shows an object large; once more shows the whole picture. */
    zoomTo(model, bbox) {
      const view = open.find((each) => each.model === model);
      if (!view) return;
      if (viewport.zoom > 1) viewport.fit();
      else viewport.zoomTo(bbox, view.sizes().view, view.sizes().picture);
    },
  };
}

function mediaOf(item) {
  if (item.kind === "picture") return make("img", { src: item.url, alt: "", draggable: "false" });
  const video = make("video", { playsinline: true, loop: item.kind === "clip" });
  video.muted = true;
  if (item.kind === "clip") video.src = item.url;
  else video.srcObject = item.stream;
  return video;
}

const words = (title, text, button = null, isError = false) =>
  make("div", { class: isError ? "words is-error" : "words", role: isError ? "alert" : null },
    make("strong", {}, title), make("p", {}, text), button);

const working = (text) => make("div", { class: "words is-working" }, make("span", { class: "spinner" }), text);
