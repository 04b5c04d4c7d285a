// The turns of a chat, or the one turn of a completion, in order and on the page.

/** @typedef {import("./turn.js").Turn} Turn */

/** How far from its end a reader may be for the page to follow the answer, in pixels. */
const NEAR = 60;

export class Transcript {
  #section;
  #list;
  #empty;
  /** @type {Turn[]} */ #turns = [];

  /** @param {HTMLElement} section */
  constructor(section) {
    this.#section = section;
    this.#list = /** @type {HTMLElement} */ (section.querySelector("ol"));
    this.#empty = /** @type {HTMLElement} */ (section.querySelector(".empty"));
  }

  get turns() {
    return [...this.#turns];
  }

  get last() {
    return this.#turns.at(-1);
  }

  /** @param {Turn[]} turns */
  show(turns) {
    this.#turns = turns;
    this.#list.replaceChildren(...turns.map((turn) => turn.element));
    this.#empty.hidden = turns.length > 0;
    this.#scrolling.scrollTop = this.#scrolling.scrollHeight;
  }

  /** Make a change and stay at the end, if the reader is there. @param {() => void} change */
  following(change) {
    if (this.#section.hidden) return change();
    const scrolling = this.#scrolling;
    const follows = scrolling.scrollHeight - scrolling.scrollTop - scrolling.clientHeight < NEAR;
    change();
    if (follows) scrolling.scrollTop = scrolling.scrollHeight;
  }

  /** In a wide window the section scrolls, in a narrow one the page. */
  get #scrolling() {
    const own = getComputedStyle(this.#section).overflowY === "auto";
    return own ? this.#section : /** @type {HTMLElement} */ (document.scrollingElement);
  }
}
