// Where the time went, from sending a picture to its answer: a bar for each model.

import { byId, keepChildren, make } from "./dom.js";
import { duration } from "./words.js";

/** @param results those that are shown, with their `model` */
export function renderTime(results) {
  const timed = results.filter((result) => result.seconds?.whole);
  byId("time").hidden = !timed.length;
  keepChildren(byId("times"), timed, ({ model }) => model, createBar, (row, { model, seconds }) => {
    const parts = partsOf(seconds);
    const [bar, text] = row.children;
    keepChildren(bar, Object.keys(parts), (name) => name, (name) => make("span", { class: name }), (stretch, name) => {
      stretch.style.flexGrow = parts[name] / seconds.whole;
    });
    const told = Object.entries(parts).map(([name, value]) => `${name} ${duration(value)}`);
    bar.setAttribute("aria-label", told.join(", "));
    text.replaceChildren(
      make("strong", {}, `${timed.length > 1 ? `${model} ` : ""}${duration(seconds.whole)}`),
      ...Object.keys(parts).map((name, place) => make("span", { class: `legend ${name}` }, told[place])),
    );
  });
}

/** Seconds of each stretch. */
function partsOf({ upload, queue, network, total }) {
  return { upload, waiting: queue, network, decoding: Math.max(0, total - queue - network) };
}

const createBar = () => make("div", {}, make("div", { class: "stretches", role: "img" }), make("p"));
