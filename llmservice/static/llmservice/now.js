"use strict";

// Refreshes the figures of the page "Now" until the reader pauses it.

const figures = document.getElementById("now-figures");
const age = document.getElementById("now-age");
const pause = document.getElementById("now-pause");
const everyS = Number(figures.dataset.everyS);
let paused = false;

// The reader would lose what has the focus or is selected.
function inUse() {
  const selected = window.getSelection();
  const selects = !selected.isCollapsed && figures.contains(selected.anchorNode);
  return selects || figures.contains(document.activeElement);
}

async function refresh() {
  if (paused || document.hidden || inUse()) return;
  try {
    const answer = await fetch(figures.dataset.address, { signal: AbortSignal.timeout(10000) });
    // An account that has been logged out is sent to the login page.
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    const text = await answer.text();
    if (paused || inUse()) return;
    figures.innerHTML = text;
    age.textContent = `As of ${new Date().toLocaleTimeString()}`;
  } catch {
    age.textContent = "The service does not answer, or you are logged out.";
  }
}

async function keepFresh() {
  await refresh();
  setTimeout(keepFresh, 1000 * everyS);
}

pause.addEventListener("click", () => {
  paused = !paused;
  pause.textContent = paused ? "Resume" : "Pause";
  if (!paused) refresh();
});
age.textContent = `Refreshed every ${everyS} seconds`;
document.getElementById("now-refresh").hidden = false;
setTimeout(keepFresh, 1000 * everyS);
