// One turn on the page: the question, and the answer as it grows, with its figures and its buttons.

import { copyFor } from "./clipboard.js";
import { Figures } from "./figures.js";

/** @param {string} tag @param {string} className @param {string} [text] */
function made(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

/** @param {string} label @param {(button: HTMLButtonElement) => void} press */
function pressable(label, press) {
  const button = /** @type {HTMLButtonElement} */ (made("button", "quiet", label));
  button.type = "button";
  button.addEventListener("click", () => press(button));
  return button;
}

export class Turn {
  element = made("li", "turn");
  answer = "";
  figures = new Figures();
  #body;
  #answer = made("div", "answer");
  #figures = made("p", "figures", "Waiting for the first token");
  #buttons = made("div", "buttons");

  /**
   * @param {object} options
   * @param {string} options.question
   * @param {boolean} options.showQuestion Whether it stands above the answer, or the body has it.
   * @param {string} options.model
   * @param {import("./answer_text.js").Body} options.body
   * @param {(turn: Turn) => void} options.regenerate
   */
  constructor({ question, showQuestion, model, body, regenerate }) {
    this.question = question;
    this.#body = body;
    if (showQuestion) {
      const asked = made("div", "question");
      asked.append(made("h2", "unseen", "You"), made("div", "text", question));
      this.element.append(asked);
    }
    body.element.classList.add("text");
    this.#answer.append(made("h2", "who", model), body.element, this.#figures, this.#buttons);
    this.#answer.setAttribute("aria-busy", "true");
    this.element.append(this.#answer);
    const copy = pressable("Copy", (button) => copyFor(button, this.answer, body.element));
    const again = pressable("Regenerate", () => regenerate(this));
    again.classList.add("regenerate");
    this.#buttons.append(copy, again);
    this.#buttons.hidden = true;
  }

  /**
   * What a later request of the conversation says of this turn.
   *
   * @returns {import("./request.js").Message[]}
   */
  get messages() {
    return [
      { role: "user", content: this.question },
      { role: "assistant", content: this.answer },
    ];
  }

  /** @param {import("./service.js").Piece} piece */
  add(piece) {
    this.figures.add(piece);
    if (!piece.text) return;
    if (!this.answer) this.#figures.textContent = [...this.figures.words(), "generating"].join(" · ");
    this.answer += piece.text;
    this.#body.append(piece.text);
  }

  /** @param {string} [why] Why the answer ended before it was complete. */
  finish(why) {
    if (why) this.figures.endedEarly(why);
    this.#body.finish();
    if (!this.answer) this.#body.element.append(made("em", "nothing", "The answer is empty."));
    this.#answer.setAttribute("aria-busy", "false");
    this.#figures.textContent = this.figures.words().join(" · ");
    this.#buttons.hidden = false;
  }
}
