"use strict";

// Copies a secret, and removes it from the page when the user leaves.

async function copy(text) {
  // navigator.clipboard exists only on https and localhost, but the admin may be served over plain http.
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (!copied) throw new Error("the browser refused to copy");
}

document.addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll("button[data-copy]")) {
    const source = document.getElementById(button.dataset.copy);
    const label = button.textContent;
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await copy(source.textContent);
        button.textContent = "Copied";
      } catch {
        window.getSelection().selectAllChildren(source);
        button.textContent = "Press Ctrl+C";
      }
      setTimeout(() => { button.textContent = label; }, 2000);
    });
  }
});

// A browser may keep the page in memory for the back button, so the secret is removed first.
window.addEventListener("pagehide", () => {
  for (const shown of document.querySelectorAll(".key-shown")) shown.textContent = "no longer shown";
});
