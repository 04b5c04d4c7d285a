// Copies a text, and says on the button whether it worked.

const SAID_FOR_MS = 2000;

/**
 * @param {HTMLButtonElement} button Its label is “Copy”.
 * @param {string} text
 * @param {Element} shown Where the text stands on the page: it is selected if the browser does not let the page copy.
 */
export async function copyFor(button, text, shown) {
  button.textContent = (await copied(text, shown)) ? "Copied" : "Press Ctrl+C";
  setTimeout(() => { button.textContent = "Copy"; }, SAID_FOR_MS);
}

/** @param {string} text @param {Element} shown */
async function copied(text, shown) {
  // navigator.clipboard exists only on https and localhost, but the service may be used over plain http.
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection()?.selectAllChildren(shown);
    return document.execCommand("copy");
  }
}
