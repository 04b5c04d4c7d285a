// The key: in the field of this page and nowhere else.

import { contextLength } from "./service.js";

/** @typedef {import("./failures.js").ServiceError} ServiceError */

/** Whether a failure says something about the key, and not about the service. @param {number | undefined} status */
const isOfTheKey = (status) => status === 401 || status === 403;

/** A key that may only generate is accepted, but is not told of the model. */
const ACCEPTED_WITHOUT_MODELS = "scope_missing";

export class KeyField {
  #input;
  #note;
  #firstNote;

  /** @param {HTMLElement} around */
  constructor(around) {
    this.#input = /** @type {HTMLInputElement} */ (around.querySelector("#key"));
    this.#note = /** @type {HTMLElement} */ (around.querySelector("#key-note"));
    this.#firstNote = this.#note.textContent;
    const show = /** @type {HTMLButtonElement} */ (around.querySelector("#key-show"));
    show.addEventListener("click", () => {
      const shown = this.#input.classList.toggle("secret") === false;
      show.setAttribute("aria-pressed", String(shown));
    });
    this.#input.addEventListener("change", () => this.#try());
    this.#input.addEventListener("input", () => this.#say(this.#firstNote));
    // A browser may keep the page for the back button.
    addEventListener("pagehide", () => {
      this.#input.value = "";
      this.#say(this.#firstNote);
    });
  }

  get value() {
    return this.#input.value.trim();
  }

  /** Ask for the key. */
  demand() {
    this.#say("Enter your API key first.", "wrong");
    this.#input.focus();
  }

  /** Say that the service refused the key. @param {string} message */
  refuse(message) {
    this.#say(message, "wrong");
  }

  async #try() {
    const key = this.value;
    if (!key) return;
    let [text, kind] = ["", "good"];
    try {
      text = `Accepted. The model's context has ${(await contextLength(key)).toLocaleString("en")} tokens.`;
    } catch (error) {
      const { message, status, code } = /** @type {ServiceError} */ (error);
      if (code === ACCEPTED_WITHOUT_MODELS) text = "Accepted.";
      else [text, kind] = [message, isOfTheKey(status) ? "wrong" : ""];
    }
    if (key === this.value) this.#say(text, kind);
  }

  /** @param {string | null} text @param {string} [kind] */
  #say(text, kind = "") {
    // A live region speaks on each change, so nothing is set that is there already.
    if (this.#note.textContent !== text) this.#note.textContent = text;
    this.#note.dataset.kind = kind;
    this.#input.setAttribute("aria-invalid", String(kind === "wrong"));
  }
}
