"use strict";

// Copying a secret, and taking it off the page when the page is left.

async function copy(text) {
  // navigator.clipboard exists on https and localhost only; the admin may be served by plain http in a network.
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (!copied) throw new Error("copying was refused");
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

// A browser may keep the page in memory for the back button: without the secret, then.
window.addEventListener("pagehide", () => {
  for (const shown of document.querySelectorAll(".key-shown")) shown.textContent = "no longer shown";
});
