// The form of parameters. An empty field is not sent, so that the service's default holds.

const ESCAPES = new Map([["\\n", "\n"], ["\\r", "\r"], ["\\t", "\t"], ["\\\\", "\\"]]);

/** @param {string} line */
const unescaped = (line) => line.replace(/\\[nrt\\]/g, (found) => ESCAPES.get(found) ?? found);

/** @param {Element} field */
const descriptions = (field) => (field.getAttribute("aria-describedby") ?? "").split(" ").filter(Boolean);

/** @param {Element} field @param {string[]} ids */
const describedBy = (field, ids) => field.setAttribute("aria-describedby", ids.join(" "));

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
      if (field.value === "") continue;
      if (field instanceof HTMLInputElement) parameters[field.name] = field.valueAsNumber;
      else parameters[field.name] = field.value.split("\n").filter(Boolean).map(unescaped);
    }
    return parameters;
  }

  /** Whether every field has a value that can be sent; if not, the browser says which one does not. */
  check() {
    const wrong = this.#fields.find((field) => !field.validity.valid);
    if (wrong) this.#reveal(wrong);
    return wrong?.reportValidity() ?? true;
  }

  /** Mark the field that the service refused. @param {string} name @param {string} message */
  markRefused(name, message) {
    const field = this.#fields.find((one) => one.name === name);
    if (!field) return;
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

  /** @returns {(HTMLInputElement | HTMLTextAreaElement)[]} */
  get #fields() {
    return [...this.#form.querySelectorAll("[name]")].map((field) => /** @type {HTMLInputElement} */ (field));
  }
}
