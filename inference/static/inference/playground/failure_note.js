// Says why a request failed, above the composer.

import { ServiceError } from "./failures.js";

const CLOCK = /** @type {const} */ ({ hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** @param {number} seconds */
function momentIn(seconds) {
  const moment = new Date(Date.now() + 1000 * seconds);
  const today = moment.toDateString() === new Date().toDateString();
  return moment.toLocaleString("en-GB", { ...(today ? {} : { weekday: "long" }), ...CLOCK });
}

/** @param {ServiceError} error */
function details({ status, code, requestId }) {
  return [status && `Status ${status}`, code, requestId && `request ${requestId}`].filter(Boolean).join(" · ");
}

export class FailureNote {
  #element;

  /** @param {HTMLElement} element */
  constructor(element) {
    this.#element = element;
  }

  /** @param {Error} error */
  show(error) {
    const lines = [error.message];
    if (error instanceof ServiceError) {
      if (error.retryAfterS !== null) lines.push(`You can try again at ${momentIn(error.retryAfterS)}.`);
      lines.push(details(error));
    }
    const paragraphs = lines.filter(Boolean).map((line) => {
      const paragraph = document.createElement("p");
      paragraph.textContent = line;
      return paragraph;
    });
    this.#element.replaceChildren(...paragraphs);
    this.#element.hidden = false;
  }

  clear() {
    this.#element.hidden = true;
    this.#element.replaceChildren();
  }
}
