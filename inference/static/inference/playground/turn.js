// One turn on the page: the question, and the answer as it grows, with its figures and its buttons.

import { copyFor } from "./clipboard.js";
import { Figures } from "./figures.js";
import { jsonTree } from "./json_tree.js";

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
  #fitsSchema;
  /** @type {HTMLElement | null} */ #tree = null;
  #answer = made("div", "answer");
  #figures = made("p", "figures", "Waiting for the first token");
  #buttons = made("div", "buttons");
  #raw = pressable("Raw text", () => this.#showTree(this.#body.element.hidden === false));

  /**
   * @param {object} options
   * @param {string} options.question
   * @param {boolean} options.showQuestion Whether it stands above the answer, or the body has it.
   * @param {string} options.model
   * @param {import("./answer_text.js").Body} options.body
   * @param {boolean} options.fitsSchema Whether the answer is JSON, which a tree shows once it is complete.
   * @param {(turn: Turn) => void} options.regenerate
   */
  constructor({ question, showQuestion, model, body, fitsSchema, regenerate }) {
    this.question = question;
    this.#fitsSchema = fitsSchema;
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
    const copy = pressable("Copy", (button) => {
      if (!isSecureContext) this.#showTree(false); // there the text itself is copied, which must be visible for it
      copyFor(button, this.answer, body.element);
    });
    const again = pressable("Regenerate", () => regenerate(this));
    again.classList.add("regenerate");
    this.#raw.setAttribute("aria-pressed", "false");
    this.#raw.hidden = true;
    this.#buttons.append(this.#raw, copy, again);
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
    this.#tree = this.#fitsSchema ? jsonTree(this.answer) : null;
    if (!this.#tree) return;
    this.#body.element.after(this.#tree);
    this.#raw.hidden = false;
    this.#showTree(true);
  }

  /** Show the tree or the raw text, if there is a tree. @param {boolean} asTree */
  #showTree(asTree) {
    if (!this.#tree) return;
    this.#tree.hidden = !asTree;
    this.#body.element.hidden = asTree;
    this.#raw.setAttribute("aria-pressed", String(!asTree));
  }
}
