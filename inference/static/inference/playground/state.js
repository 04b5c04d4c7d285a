// What the service does now, in the head of the page: kept up to date while somebody looks at the page.

const READY_EVERY_MS = 30_000;
const OTHERWISE_EVERY_MS = 3_000;

/** @typedef {{state: "ready" | "waiting" | "dead", words: string}} State */

/** @returns {Promise<State>} */
async function currentState() {
  try {
    const ready = await fetch("/ready", { cache: "no-store", credentials: "omit" });
    if (ready.ok) return { state: "ready", words: "Ready" };
    const { detail } = await ready.json();
    const health = await fetch("/health", { cache: "no-store", credentials: "omit" });
    return { state: health.ok ? "waiting" : "dead", words: detail };
  } catch {
    return { state: "dead", words: "The service cannot be reached." };
  }
}

export class StateOfService {
  #element;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;

  /** @param {HTMLElement} element */
  constructor(element) {
    this.#element = element;
    document.addEventListener("visibilitychange", () => this.look());
    this.look();
  }

  async look() {
    clearTimeout(this.#timer);
    if (document.hidden) return;
    const { state, words } = await currentState();
    // A live region speaks on each change, so nothing is set that is there already.
    if (this.#element.textContent !== words) this.#element.textContent = words;
    this.#element.dataset.state = state;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.look(), state === "ready" ? READY_EVERY_MS : OTHERWISE_EVERY_MS);
  }
}
