// The dialog that shows the current request as code.

import { copyFor } from "./clipboard.js";
import { SNIPPETS } from "./snippets.js";

/**
 * @param {() => import("./request.js").ApiRequest | null} currentRequest null if a field is wrong.
 */
export function setUpCodeDialog(currentRequest) {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("code"));
  const shown = /** @type {HTMLElement} */ (document.getElementById("code-text"));
  const languages = /** @type {HTMLElement} */ (document.getElementById("languages"));
  const copy = /** @type {HTMLButtonElement} */ (document.getElementById("code-copy"));
  /** @type {import("./request.js").ApiRequest | null} */
  let request = null;

  function show() {
    const chosen = /** @type {HTMLInputElement} */ (languages.querySelector(":checked"));
    copy.textContent = "Copy";
    if (request) shown.textContent = SNIPPETS[chosen.value](request, location.origin);
  }
  languages.addEventListener("change", show);
  document.getElementById("code-open")?.addEventListener("click", () => {
    request = currentRequest();
    if (!request) return;
    show();
    dialog.showModal();
  });
  document.getElementById("code-close")?.addEventListener("click", () => dialog.close());
  copy.addEventListener("click", () => copyFor(copy, shown.textContent ?? "", shown));
}
