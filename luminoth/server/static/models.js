// The choice of the model, and of another one beside it.

import { classColour } from "./colour.js";
import { byId, keepChildren, make } from "./dom.js";
import { currentItem } from "./store.js";

const MOST_CLASSES = 24; // that are named before there is a picture
const STATES = { loading: " (loading)", failed: " (not loaded)", ready: "" };

export function createModels(store) {
  const first = byId("model");
  const second = byId("other-model");
  first.addEventListener("change", () => {
    const [, other] = store.state.chosen;
    store.update({ chosen: other && other !== first.value ? [first.value, other] : [first.value] });
  });
  second.addEventListener("change", () => {
    const [name] = store.state.chosen;
    store.update({ chosen: second.value ? [name, second.value] : [name] });
  });

  let isFirst = true;
  store.listen((state) => {
    const [name, other] = state.chosen;
    if (!name) return;
    if (isFirst) {
      isFirst = false;
      store.update({ minProb: state.models.find((model) => model.name === name).default_prob ?? state.minProb });
    }
    byId("models").hidden = false;
    showClasses(state.models.find((model) => model.name === name));
    const option = (model) => ({ value: model.name, text: model.name + STATES[model.state] });
    fillSelect(first, state.models.map(option), name);
    const others = state.models.filter((model) => model.name !== name).map(option);
    fillSelect(second, [{ value: "", text: "no other" }, ...others], other ?? "");
    byId("compare").hidden = state.models.length < 2;
    const item = currentItem(state);
    second.disabled = Boolean(item && item.kind !== "picture");
    second.title = second.disabled ? "Only pictures can be compared" : "";
  });
}

function fillSelect(select, options, value) {
  const create = (each) => make("option", { value: each.value });
  keepChildren(select, options, (each) => each.value, create, (option, { text }) => {
    if (option.textContent !== text) option.textContent = text;
  });
  if (select.value !== value) select.value = value;
}

/** What a model can find, in the colours that it will have. */
function showClasses({ name, classes }) {
  byId("knows").hidden = !classes.length;
  byId("knows-title").textContent = `${name} finds`;
  const more = classes.length - MOST_CLASSES;
  const names = more > 0 ? [...classes.slice(0, MOST_CLASSES), `and ${more} more`] : classes;
  keepChildren(byId("knows-classes"), names, (each) => each, (each) => {
    const swatch = make("span", { class: "swatch" });
    swatch.style.background = classColour(each);
    return make("li", {}, classes.includes(each) && swatch, each);
  }, () => {});
}
