// Puts the page together.

import { useKey } from "./api.js";
import { Asking } from "./asking.js";
import { createClips } from "./clip.js";
import { byId } from "./dom.js";
import { createDownloads } from "./downloads.js";
import { createIntake } from "./intake.js";
import { createLight } from "./light.js";
import { createLive } from "./live.js";
import { createModels } from "./models.js";
import { createPanel } from "./panel.js";
import { createStage } from "./stage.js";
import { createStore, currentItem, modelNamed, modelsFor, shown, summary } from "./store.js";
import { createStrip } from "./strip.js";
import { counted } from "./words.js";

const SPEAK_AFTER = 500; // milliseconds of rest, so that a moving slider is not spoken of at every step
const COMPLAINT_SECONDS = 8;

const store = createStore();
const light = createLight();
const asking = new Asking(store);

store.listen(showPage);
createModels(store);
const stage = createStage(store, { light, asking, onPick: (model, index) => panel.focusRow(model, index) });
const panel = createPanel(store, { light, zoomTo: stage.zoomTo });
createStrip(store);
createClips(store, stage, asking);
createLive(store, stage, asking);
createDownloads(store, stage);
createIntake(store, complain);
store.listen(speak);
asking.watchModels();

function showPage(state) {
  byId("start").hidden = state.items.length > 0;
  byId("work").hidden = !state.items.length;
  byId("key-form").hidden = state.server !== "locked";
  showBanner(state);
}

/** One line about the server, while there is something to say. */
function showBanner(state) {
  const [name] = state.chosen;
  const model = modelNamed(state, name);
  let text = "";
  if (state.server === "gone") {
    text = navigator.onLine
      ? "The server does not answer. This page goes on as soon as it is back."
      : "You are offline. This page goes on as soon as you are back.";
  } else if (model?.state === "loading") {
    text = `${name} is being loaded. You can already choose pictures.`;
  } else if (model?.state === "failed") {
    text = `${name} could not be loaded; the server's log says why.`;
  }
  const banner = byId("banner");
  if (banner.textContent !== text) banner.textContent = text;
  banner.hidden = !text;
  banner.classList.toggle("is-error", state.server === "gone" || model?.state === "failed");
}

let complaintTimer = null;

function complain(text) {
  byId("complaint").textContent = text;
  byId("complaint").hidden = false;
  clearTimeout(complaintTimer);
  complaintTimer = setTimeout(() => { byId("complaint").hidden = true; }, COMPLAINT_SECONDS * 1000);
}

let speakTimer = null;

/** Tells a screen reader what is found, once it stays. Clips and cameras change all the time, and are not spoken of. */
function speak(state) {
  clearTimeout(speakTimer);
  const item = currentItem(state);
  if (item?.kind !== "picture") return;
  speakTimer = setTimeout(() => {
    const answered = modelsFor(state, item).filter((model) => item.results.get(model)?.objects);
    const text = answered.map((model) => sentence(state, item, model)).join(" ");
    const status = byId("status");
    if (status.textContent !== text) status.textContent = text;
  }, SPEAK_AFTER);
}

function sentence(state, item, model) {
  const objects = shown(state, item.results.get(model).objects);
  const which = objects.length ? `: ${summary(objects)}` : "";
  return `${model} found ${counted(objects.length, "object")} in ${item.name}${which}.`;
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(byId("key").value);
  for (const item of store.state.items) asking.retry(item);
  asking.watchModels();
});
