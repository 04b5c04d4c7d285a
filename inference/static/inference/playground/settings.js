// The form of parameters. An empty field is not sent, so that the service's default holds.

import { responseFormat, schemaProblem } from "./schema_text.js";

const ESCAPES = new Map([["\\n", "\n"], ["\\r", "\r"], ["\\t", "\t"], ["\\\\", "\\"]]);

/** @param {string} line */
const unescaped = (line) => line.replace(/\\[nrt\\]/g, (found) => ESCAPES.get(found) ?? found);

/** What is sent for the text of a field. @type {Record<string, (text: string) => string[] | object>} */
const READ = {
  stop: (text) => text.split("\n").filter(Boolean).map(unescaped),
  response_format: responseFormat,
};

/** @param {Element} field */
const descriptions = (field) => (field.getAttribute("aria-describedby") ?? "").split(" ").filter(Boolean);

/** @param {Element} field @param {string[]} ids */
const describedBy = (field, ids) => field.setAttribute("aria-describedby", ids.join(" "));

/** Blanks alone are no schema, but they may be a stop string. @param {HTMLInputElement | HTMLTextAreaElement} field */
const isEmpty = (field) => (field.name === "response_format" ? field.value.trim() : field.value) === "";

export class Settings {
  #form;
  #system;

  /** @param {HTMLFormElement} form */
  constructor(form) {
    this.#form = form;
    this.#system = /** @type {HTMLTextAreaElement} */ (form.querySelector("#system"));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => this.#clear(/** @type {HTMLElement} */ (event.target)));
  }

  /** @returns {import("./request.js").Message[]} */
  get systemMessages() {
    return this.#system.value.trim() ? [{ role: "system", content: this.#system.value }] : [];
  }

  /** @returns {import("./request.js").Parameters} */
  get parameters() {
    /** @type {import("./request.js").Parameters} */
    const parameters = {};
    for (const field of this.#fields) {
      if (isEmpty(field)) continue;
      if (field instanceof HTMLInputElement) parameters[field.name] = field.valueAsNumber;
      else parameters[field.name] = READ[field.name](field.value);
    }
    return parameters;
  }

  /** Whether every field has a value that can be sent; if not, the page says which one does not. */
  check() {
    return this.#checkSchema() && this.#checkNumbers();
  }

  #checkSchema() {
    const field = this.#named("response_format");
    if (!field || isEmpty(field)) return true;
    const problem = schemaProblem(field.value);
    if (!problem) return true;
    this.markRefused(field.name, problem);
    field.focus();
    return false;
  }

  #checkNumbers() {
    const wrong = this.#fields.find((field) => !field.validity.valid);
    if (wrong) this.#reveal(wrong);
    return wrong?.reportValidity() ?? true;
  }

  /** Mark the field with a value that is refused. @param {string} name Its path in the request. @param {string} message */
  markRefused(name, message) {
    const field = this.#named(name.split(/[.[]/)[0]);
    if (!field) return;
    this.#clear(field);
    const note = document.createElement("p");
    note.className = "refused";
    note.id = `${field.id}-refused`;
    note.textContent = message;
    field.setAttribute("aria-invalid", "true");
    describedBy(field, [...descriptions(field), note.id]);
    field.after(note);
    this.#reveal(field);
  }

  clearRefused() {
    for (const field of this.#fields) this.#clear(field);
  }

  /** @param {HTMLElement} field */
  #clear(field) {
    const note = document.getElementById(`${field.id}-refused`);
    if (!note) return;
    note.remove();
    field.removeAttribute("aria-invalid");
    describedBy(field, descriptions(field).filter((id) => id !== note.id));
  }

  /** @param {Element} field */
  #reveal(field) {
    for (let around = field.closest("details"); around; around = around.parentElement?.closest("details") ?? null) {
      around.open = true;
    }
  }

  /** @param {string} name */
  #named(name) {
    return this.#fields.find((field) => field.name === name);
  }

  /** @returns {(HTMLInputElement | HTMLTextAreaElement)[]} */
  get #fields() {
    return [...this.#form.querySelectorAll("[name]")].map((field) => /** @type {HTMLInputElement} */ (field));
  }
}
