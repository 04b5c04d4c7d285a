// Shows a text as it grows. What a model wrote is only ever inserted as text, never as HTML.

/**
 * @typedef {object} Body What shows the text of an answer.
 * @property {HTMLElement} element
 * @property {(text: string) => void} append
 * @property {() => void} finish No more text follows.
 */

/** A line that may become a fence once the rest of it arrives. */
const PERHAPS_FENCE = /^ {0,3}(`{0,2}|```[^`]*)$/;
const OPENING = /^ {0,3}```[^`]*$/;
const CLOSING = /^ {0,3}```+\s*$/;

/** The answer in a chat: text, with fenced code in blocks. @implements {Body} */
export class ChatText {
  element = document.createElement("div");
  /** The beginning of a line that may be a fence. */
  #held = "";
  #startsLine = true;
  #inCode = false;
  /** @type {Text | null} */ #block = null;

  /** @param {string} text */
  append(text) {
    let rest = this.#held + text;
    this.#held = "";
    while (rest) {
      const end = rest.indexOf("\n") + 1;
      const part = end ? rest.slice(0, end) : rest;
      if (this.#startsLine && !end && PERHAPS_FENCE.test(part)) {
        this.#held = part;
        return;
      }
      this.#add(part);
      rest = rest.slice(part.length);
    }
  }

  finish() {
    if (this.#held) this.#add(this.#held);
    this.#held = "";
  }

  /** @param {string} part A line or a piece of one. */
  #add(part) {
    const isFence = this.#startsLine && (this.#inCode ? CLOSING : OPENING).test(part.replace(/\n$/, ""));
    this.#startsLine = part.endsWith("\n");
    if (isFence) {
      this.#inCode = !this.#inCode;
      this.#block = null;
      return;
    }
    this.#block ??= this.#open();
    this.#block.appendData(part);
  }

  #open() {
    const block = document.createElement(this.#inCode ? "pre" : "div");
    if (this.#inCode) block.tabIndex = 0; // it may scroll
    const text = document.createTextNode("");
    block.append(text);
    this.element.append(block);
    return text;
  }
}

/** A completion: the prompt, and the text that continues it, character by character. @implements {Body} */
export class ContinuedText {
  element = document.createElement("div");
  #text = document.createTextNode("");

  /** @param {string} prompt */
  constructor(prompt) {
    const given = document.createElement("span");
    given.className = "given";
    given.textContent = prompt;
    const continued = document.createElement("span");
    continued.className = "continued";
    continued.append(this.#text);
    this.element.append(given, continued);
  }

  /** @param {string} text */
  append(text) {
    this.#text.appendData(text);
  }

  finish() {}
}
