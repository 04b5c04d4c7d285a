// Where the user writes; each mode has its own draft. Enter sends and Shift+Enter starts a new line. The keyboard of a
// phone has no Shift+Enter, so Enter starts a new line there.

/** @typedef {import("./request.js").Mode} Mode */

/** @type {Record<Mode, {label: string, button: string}>} */
const WORDS = {
  chat: { label: "Message", button: "Send" },
  completion: { label: "Prompt", button: "Complete" },
};

const TOUCH = matchMedia("(pointer: coarse)");

export class Composer {
  #input = /** @type {HTMLTextAreaElement} */ (document.getElementById("prompt"));
  #label = /** @type {HTMLElement} */ (document.querySelector("label[for=prompt]"));
  #send = /** @type {HTMLButtonElement} */ (document.getElementById("send"));
  #stop = /** @type {HTMLButtonElement} */ (document.getElementById("stop-answer"));
  /** @type {Mode} */ #mode = "chat";
  /** @type {Record<Mode, string>} */ #drafts = { chat: "", completion: "" };

  /** @param {{send: () => void, stop: () => void}} actions */
  constructor({ send, stop }) {
    const form = /** @type {HTMLFormElement} */ (document.getElementById("composer"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send();
    });
    this.#input.addEventListener("keydown", (event) => {
      // While an input method composes a character, Enter accepts the character.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || TOUCH.matches) return;
      event.preventDefault();
      send();
    });
    this.#stop.addEventListener("click", stop);
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.isComposing && !document.querySelector("dialog[open]")) stop();
    });
  }

  get text() {
    return this.#input.value;
  }

  set text(text) {
    this.#input.value = text;
  }

  focus() {
    this.#input.focus();
  }

  /** @param {Mode} mode */
  show(mode) {
    this.#drafts[this.#mode] = this.text;
    this.#mode = mode;
    this.text = this.#drafts[mode];
    this.#label.textContent = this.#input.placeholder = WORDS[mode].label;
    this.#send.textContent = WORDS[mode].button;
  }

  /** @param {boolean} generating */
  showGenerating(generating) {
    const from = generating ? this.#send : this.#stop;
    const to = generating ? this.#stop : this.#send;
    // A button that disappears leaves the focus to the page's body: this one, or that of a replaced answer.
    const moves = document.activeElement === from || (generating && document.activeElement === document.body);
    from.hidden = true;
    to.hidden = false;
    if (moves) to.focus({ preventScroll: true });
  }

  /** Give a text back that could not be sent, before what has been written since. @param {Mode} mode @param {string} text */
  giveBack(mode, text) {
    const since = mode === this.#mode ? this.text : this.#drafts[mode];
    const both = since ? `${text}\n${since}` : text;
    this.#drafts[mode] = both;
    if (mode === this.#mode) this.text = both;
  }
}
