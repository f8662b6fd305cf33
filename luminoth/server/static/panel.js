// Beside the picture: the slider, the classes, the objects, where the time went, and what can be downloaded.

import { classColour } from "./colour.js";
import { byId, keepChildren, make, makeSvg, setAttribute } from "./dom.js";
import { match } from "./matching.js";
import { LEAST_PROB, currentItem, modelNamed, modelsFor, shown } from "./store.js";
import { renderTime } from "./time.js";
import { counted } from "./words.js";

const BINS = 38;

// Where the panel scrolls by itself. Elsewhere the page would, away from the picture.
const isBeside = window.matchMedia("(min-width: 60rem)");

export function createPanel(store, { light, zoomTo }) {
  const slider = byId("min-prob");
  slider.addEventListener("input", () => store.update({ minProb: Number(slider.value) }));
  byId("all-classes").addEventListener("click", () => store.update({ hidden: new Set() }));
  const lists = byId("lists");

  store.listen((state) => {
    const item = currentItem(state);
    if (!item) return;
    const results = modelsFor(state, item)
      .map((model) => ({ model, ...item.results.get(model) }))
      .filter((result) => result.objects);
    byId("item-name").textContent = item.name;
    const size = results[0]?.image;
    byId("item-size").textContent = size ? `${size.width} × ${size.height} pixels` : "";
    const objects = results.flatMap((result) => result.objects);
    renderSlider(state, objects, leastProb(state, item));
    renderChips(state, results);
    renderLists(state, results);
    renderTime(results);
    const isFailed = modelsFor(state, item).every((model) => item.results.get(model)?.status === "failed");
    for (const part of ["sure", "classes", "downloads"]) byId(part).hidden = isFailed;
    for (const button of byId("downloads").querySelectorAll("button")) button.disabled = !results.length;
    byId("save-all").hidden = state.items.length < 2;
  });

  function renderSlider(state, objects, least) {
    slider.min = least;
    slider.value = state.minProb;
    byId("min-prob-value").textContent = `${Math.round(state.minProb * 100)} %`;
    slider.setAttribute("aria-valuetext", `${Math.round(state.minProb * 100)} percent`);
    const counts = new Array(BINS).fill(0);
    for (const { prob } of objects) counts[binOf(prob, least)] += 1;
    const most = Math.max(1, ...counts);
    const bars = counts.map((count, bin) => ({ bin, height: count ? 3 + (21 * count) / most : 0 }));
    const create = ({ bin }) => makeSvg("rect", { x: bin * 10 + 1, width: 8, rx: 1.5 });
    keepChildren(byId("histogram"), bars, ({ bin }) => bin, create, (bar, { bin, height }) => {
      setAttribute(bar, "y", 24 - height);
      setAttribute(bar, "height", height);
      bar.classList.toggle("is-below", bin < binOf(state.minProb, least));
    });
  }

  /** The classes that are found, and those that are switched off; of two models, the count of each. */
  function renderChips(state, results) {
    const isSure = (found) => found.prob >= state.minProb;
    const objects = results.flatMap((result) => result.objects);
    const named = objects.filter((found) => isSure(found) || state.hidden.has(found.label)).map((found) => found.label);
    const labels = [...new Set(named)].sort();
    const countsOf = (label) =>
      results.map((result) => result.objects.filter((found) => found.label === label && isSure(found)).length);
    const toggle = (label) => {
      const hidden = new Set(store.state.hidden);
      if (!hidden.delete(label)) hidden.add(label);
      store.update({ hidden });
    };
    keepChildren(byId("chips"), labels, (label) => label, (label) => createChip(label, toggle), (chip, label) => {
      const button = chip.firstChild;
      button.setAttribute("aria-pressed", !state.hidden.has(label));
      button.lastChild.textContent = countsOf(label).join(" / ");
    });
    byId("all-classes").hidden = !state.hidden.size;
  }

  function renderLists(state, results) {
    const found = results.map((result) => shown(state, result.objects));
    const isPair = results.length === 2;
    const sections = results.map((result, place) => ({
      model: result.model,
      objects: found[place],
      shared: isPair ? match(found[place], found[1 - place]) : null,
      isTitled: isPair,
    }));
    keepChildren(lists, sections, ({ model }) => model, createList, fillList);
    byId("none").hidden = !results.length || found.some((objects) => objects.length);
    byId("none").textContent = results.some((result) => result.objects.length)
      ? "Nothing is surer than that. Move the slider to the left, or switch classes on."
      : "Nothing was found here.";
  }

  function createList({ model }) {
    const list = make("ol", { class: "objects", "aria-label": `Objects found by ${model}` });
    list.addEventListener("pointerleave", () => light.clear());
    list.addEventListener("focusout", () => light.clear());
    list.addEventListener("keydown", (event) => moveFocus(event, list));
    return make("section", {}, make("h3"), list);
  }

  function fillList(section, { model, objects, shared, isTitled }) {
    const [title, list] = section.children;
    title.hidden = !isTitled;
    title.textContent = `${model} · ${counted(objects.length, "object")}`;
    const create = ({ index }) => createRow(model, index);
    keepChildren(list, objects, ({ index }) => index, create, (row, object) => {
      fillRow(row, object, shared && !shared.has(object.index) ? "only here" : "");
    });
    if (!list.querySelector('[tabindex="0"]')) list.querySelector("button")?.setAttribute("tabindex", "0");
  }

  function createRow(model, index) {
    const objectNow = () => currentItem(store.state).results.get(model).objects[index];
    const button = make(
      "button",
      {
        type: "button",
        tabindex: "-1",
        onclick: () => zoomTo(model, objectNow().bbox),
        onpointerenter: () => light.set(model, index),
        onfocus: () => light.set(model, index),
      },
      make("span", { class: "swatch" }), make("span", { class: "label" }), make("small", { class: "only" }),
      make("span", { class: "meter" }, make("span")), make("span", { class: "prob" }),
    );
    return make("li", { "data-model": model }, button);
  }

  light.listen((lit) => {
    for (const row of lists.querySelectorAll("li")) {
      const isLit = lit?.model === row.dataset.model && String(lit.index) === row.dataset.key;
      row.classList.toggle("is-lit", isLit);
      if (isLit && isBeside.matches && !row.matches(":hover")) row.scrollIntoView({ block: "nearest" });
    }
  });

  return {
    /** Moves the focus to the row of an object. */
    focusRow(model, index) {
      const rows = [...lists.querySelectorAll("li")].filter((row) => row.dataset.model === model);
      const row = rows.find((each) => each.dataset.key === String(index));
      if (row) focusButton(row.firstChild);
    },
  };
}

/** Below it the chosen models report nothing. */
const leastProb = (state, item) =>
  Math.max(LEAST_PROB, Math.min(...modelsFor(state, item).map((name) => modelNamed(state, name)?.min_prob ?? 0)));

const binOf = (prob, least) =>
  Math.min(BINS - 1, Math.max(0, Math.floor(((prob - least) / (1 - least)) * BINS + 1e-6)));

function createChip(label, toggle) {
  const swatch = make("span", { class: "swatch" });
  swatch.style.background = classColour(label);
  const properties = { type: "button", class: "chip", onclick: () => toggle(label) };
  return make("li", {}, make("button", properties, swatch, label, make("span", { class: "count" })));
}

function fillRow(row, { label, prob }, note) {
  const [swatch, name, only, meter, percent] = row.firstChild.children;
  swatch.style.background = classColour(label);
  name.textContent = label;
  only.textContent = note;
  meter.firstChild.style.width = `${prob * 100}%`;
  percent.textContent = `${(prob * 100).toFixed(0)} %`;
}

/** One row of a list can be reached by Tab; arrow keys go on from there. */
function moveFocus(event, list) {
  const buttons = [...list.querySelectorAll("button")];
  const place = buttons.indexOf(document.activeElement);
  const goals = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: buttons.length - 1 };
  const goal = buttons[goals[event.key]];
  if (!goal) return;
  event.preventDefault();
  focusButton(goal);
}

function focusButton(button) {
  for (const other of button.closest("ol").querySelectorAll("button")) other.setAttribute("tabindex", "-1");
  button.setAttribute("tabindex", "0");
  button.focus({ preventScroll: true });
}
