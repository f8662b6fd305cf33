// Decides what the server is asked next. What is missing follows from the store: an item without a result of a chosen
// model. So nothing is ever queued that has to be taken back when models, pictures or the server change.

import { ApiError, listModels, predict } from "./api.js";
import { LEAST_PROB, currentItem, modelNamed, modelsFor } from "./store.js";

const AT_ONCE = 2; // while one picture is in the network, the next one travels
const MODELS_EVERY = { starting: 700, gone: 1500 }; // milliseconds
const BUSY_WAIT = 2; // seconds, where the server names none

export class Asking {
  #store;
  #running = 0;
  #timer = null;

  constructor(store) {
    this.#store = store;
    store.listen(() => this.#next());
    window.addEventListener("online", () => this.watchModels());
  }

  /** Asks for the models, and again until all are loaded. */
  async watchModels() {
    clearTimeout(this.#timer);
    const { state, update } = this.#store;
    let again = null;
    try {
      const models = await listModels();
      const names = models.map((model) => model.name);
      const chosen = state.chosen.filter((name) => names.includes(name));
      if (state.server !== "up") this.#forget((result) => result.status === "failed" && result.error.status === 0);
      update({ server: "up", models, chosen: chosen.length ? chosen : names.slice(0, 1) });
      if (models.some((model) => model.state === "loading")) again = MODELS_EVERY.starting;
    } catch (error) {
      if (error.status === 401 || error.status === 403) {
        update({ server: "locked" });
      } else {
        update({ server: "gone" });
        again = MODELS_EVERY.gone;
      }
    }
    if (again) this.#timer = setTimeout(() => this.watchModels(), again);
  }

  /** Asks again where an answer was an error. */
  retry(item) {
    for (const [model, { status }] of item.results) {
      if (status === "busy" || status === "failed") item.results.delete(model);
    }
    this.#store.update();
  }

  #forget(isMeant) {
    for (const item of this.#store.state.items) {
      for (const [model, result] of item.results) if (isMeant(result)) item.results.delete(model);
    }
  }

  #next() {
    while (this.#running < AT_ONCE) {
      const missing = this.#firstMissing();
      if (!missing) return;
      this.#ask(...missing);
    }
  }

  /** The picture that is looked at comes first. */
  #firstMissing() {
    const { state } = this.#store;
    if (state.server !== "up") return null;
    const current = currentItem(state);
    for (const item of current ? [current, ...state.items] : state.items) {
      if (item.kind !== "picture") continue;
      for (const model of modelsFor(state, item)) {
        if (!item.results.has(model) && modelNamed(state, model)?.state === "ready") return [item, model];
      }
    }
    return null;
  }

  async #ask(item, model) {
    this.#running += 1;
    item.results.set(model, { status: "asking" });
    try {
      const answer = await predict(model, item.file, item.name, LEAST_PROB);
      item.results.set(model, { status: "done", ...answer });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.failed(item, model, error);
    } finally {
      this.#running -= 1;
      this.#store.update();
    }
  }

  /** Keeps an error as the result. One that passes is forgotten, so that it is asked again, when it may have passed. */
  failed(item, model, error) {
    if (error.status === 503) {
      const wait = error.retryAfter ?? BUSY_WAIT;
      item.results.set(model, { status: "busy", error, until: Date.now() + wait * 1000 });
      setTimeout(() => {
        if (item.results.get(model)?.status === "busy") this.retry(item);
      }, wait * 1000);
      return;
    }
    item.results.set(model, { status: "failed", error });
    if (error.status === 0) this.watchModels();
    if (error.status === 401) this.#store.update({ server: "locked" });
  }
}
