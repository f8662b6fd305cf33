// The row of small pictures: which one is looked at, and what became of the others.

import { byId, keepChildren, make, setAttribute } from "./dom.js";
import { removeItem, step } from "./items.js";
import { currentItem, modelsFor, shown, summary } from "./store.js";
import { counted } from "./words.js";

export function createStrip(store) {
  const strip = byId("strip");
  const list = byId("thumbnails");

  list.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by) step(store, by);
    else if (event.key === "Delete") removeItem(store, currentItem(store.state));
    else return;
    event.preventDefault();
    keepFocus();
  });

  /** On the current picture, or where the next one comes from; once the page shows what has changed. */
  function keepFocus() {
    setTimeout(() => (list.querySelector("[aria-current]") ?? document.querySelector("[data-choose]")).focus());
  }

  store.listen((state) => {
    strip.hidden = !state.items.length;
    keepChildren(list, state.items, (item) => item.id, create, (element, item) => fill(element, item, state));
  });

  function create(item) {
    const picture = make("img", { alt: "", draggable: "false" });
    const badge = make("span", { class: "badge" });
    const show = () => store.update({ currentId: item.id });
    const remove = () => {
      removeItem(store, item);
      keepFocus();
    };
    return make("li", {},
      make("button", { type: "button", class: "thumbnail", onclick: show }, picture, badge),
      make("button", { type: "button", class: "remove", "aria-label": `Remove ${item.name}`, onclick: remove }, "×"));
  }

  function fill(element, item, state) {
    const [show, remove] = element.children;
    const [picture, badge] = show.children;
    const isCurrent = item.id === state.currentId;
    const wasCurrent = show.getAttribute("aria-current") === "true";
    const { text, told, kind } = stateOf(item, state);
    setAttribute(picture, "src", item.thumbnail);
    picture.hidden = !item.thumbnail;
    badge.textContent = text;
    setAttribute(badge, "class", `badge is-${kind}`);
    setAttribute(show, "aria-current", isCurrent ? "true" : null);
    setAttribute(show, "aria-label", `${item.name}: ${told}`);
    setAttribute(show, "title", item.name);
    // Tab stops at the current picture alone; arrow keys reach the others.
    for (const button of [show, remove]) setAttribute(button, "tabindex", isCurrent ? "0" : "-1");
    if (isCurrent && !wasCurrent) element.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}

function stateOf(item, state) {
  if (item.kind === "camera") return { text: "live", told: "live", kind: "live" };
  const [model] = modelsFor(state, item);
  const result = item.results.get(model);
  if (item.kind === "clip") return { text: "▶", told: "a clip", kind: "clip" };
  if (result?.status === "failed") return { text: "!", told: "failed", kind: "failed" };
  if (result?.status !== "done") return { text: "…", told: "waiting", kind: "waiting" };
  const objects = shown(state, result.objects);
  const told = `${counted(objects.length, "object")}, ${summary(objects)}`;
  return { text: String(objects.length), told, kind: "done" };
}
