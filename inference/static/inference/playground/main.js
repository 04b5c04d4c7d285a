// The playground: wires what the user does to requests, and their answers to the page.

import { ChatText, ContinuedText } from "./answer_text.js";
import { setUpCodeDialog } from "./code_dialog.js";
import { Composer } from "./composer.js";
import { FailureNote } from "./failure_note.js";
import { ServiceError } from "./failures.js";
import { KeyField } from "./key_field.js";
import { chatRequest, completionRequest } from "./request.js";
import { generate } from "./service.js";
import { Settings } from "./settings.js";
import { StateOfService } from "./state.js";
import { Transcript } from "./transcript.js";
import { Turn } from "./turn.js";

/** @typedef {import("./request.js").Mode} Mode */

const NARROW = "(max-width: 860px)";
/** A longer answer is not read out as a whole: it cannot be navigated in an announcement. */
const READ_OUT_CHARACTERS = 600;
/** What the code shows before anything was written. */
const SAMPLES = { chat: "What is the capital of France?", completion: "The capital of France is" };

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

const model = document.body.dataset.model ?? "";
const settings = new Settings(/** @type {HTMLFormElement} */ (byId("settings")));
const key = new KeyField(byId("settings"));
const failure = new FailureNote(byId("failure"));
const state = new StateOfService(byId("service-state"));
const composer = new Composer({ send, stop });
const transcripts = { chat: new Transcript(byId("chat")), completion: new Transcript(byId("completion")) };
/** @type {Mode} */
let mode = "chat";
/** @type {AbortController | null} */
let running = null;

/** @param {string} words */
function announce(words) {
  byId("announcements").textContent = words;
}

/** The request for this text after these turns. @param {string} text @param {Turn[]} turns */
function requestFor(text, turns) {
  if (mode === "completion") return completionRequest(model, text, settings.parameters);
  const before = turns.flatMap((turn) => turn.messages);
  return chatRequest(model, [...settings.systemMessages, ...before, { role: "user", content: text }], settings.parameters);
}

function send() {
  if (running || !composer.text.trim()) return;
  generateAnswer({ question: composer.text, before: mode === "chat" ? transcripts.chat.turns : [], isNew: true });
}

function stop() {
  running?.abort();
}

/** @param {Turn} turn */
function regenerate(turn) {
  if (running) return;
  const before = transcripts[mode].turns.filter((other) => other !== turn);
  generateAnswer({ question: turn.question, before, isNew: false });
}

/**
 * Send the question after these turns and show the answer.
 *
 * @param {object} options
 * @param {string} options.question
 * @param {Turn[]} options.before
 * @param {boolean} options.isNew Whether it comes from the composer, or had an answer already.
 */
async function generateAnswer({ question, before, isNew }) {
  failure.clear();
  settings.clearRefused();
  if (!settings.check()) return;
  if (!key.value) return key.demand();
  const asked = mode;
  const isMessage = isNew && asked === "chat"; // a prompt stays in the composer
  const transcript = transcripts[asked];
  const shownBefore = transcript.turns;
  const request = requestFor(question, before);
  const controller = (running = new AbortController());
  const body = asked === "chat" ? new ChatText() : new ContinuedText(question);
  const fitsSchema = "response_format" in request.body;
  const turn = new Turn({ question, showQuestion: asked === "chat", model, body, fitsSchema, regenerate });
  transcript.show([...before, turn]);
  if (isMessage) composer.text = "";
  composer.showGenerating(true);
  announce("Generating.");
  let ended = "";
  try {
    for await (const piece of generate(request, key.value, controller.signal)) {
      transcript.following(() => turn.add(piece));
    }
  } catch (error) {
    ended = controller.signal.aborted ? "stopped" : "failed";
    if (ended === "failed") fail(/** @type {Error} */ (error));
  }
  running = null;
  composer.showGenerating(false);
  if (!transcript.turns.includes(turn)) return; // cleared meanwhile
  if (ended && !turn.answer) {
    // Nothing has come of it: everything is as before, and the text can be sent again.
    transcript.show(shownBefore);
    if (isMessage) composer.giveBack("chat", question);
  } else {
    transcript.following(() => turn.finish(ended));
  }
  if (ended !== "failed") announce(ended ? "Stopped." : endOf(turn));
}

/** @param {Turn} turn */
function endOf(turn) {
  const size = turn.figures.words()[0];
  if (turn.answer.length > READ_OUT_CHARACTERS) return `The answer is complete, ${size}.`;
  return `Answer: ${turn.answer || "empty"}. ${size}.`;
}

/** @param {Error} error */
function fail(error) {
  announce("");
  failure.show(error);
  if (!(error instanceof ServiceError)) state.look();
  else if (error.status === 401) key.refuse(error.message);
  else if (error.status === 503) state.look();
  else if (error.param) settings.markRefused(error.param, error.message);
}

/** What Send would send now; without a new text, the last one again. */
function currentRequest() {
  if (!settings.check()) return null;
  const { turns, last } = transcripts[mode];
  if (composer.text.trim()) return requestFor(composer.text, turns);
  return last ? requestFor(last.question, turns.slice(0, -1)) : requestFor(SAMPLES[mode], []);
}

function showMode() {
  const chosen = /** @type {HTMLInputElement} */ (document.querySelector("[name=mode]:checked"));
  mode = /** @type {Mode} */ (chosen.value);
  for (const part of document.querySelectorAll("[data-mode]")) {
    /** @type {HTMLElement} */ (part).hidden = /** @type {HTMLElement} */ (part).dataset.mode !== mode;
  }
  composer.show(mode);
  failure.clear();
}

byId("modes").addEventListener("change", showMode);
byId("clear").addEventListener("click", () => {
  transcripts[mode].show([]);
  stop();
  failure.clear();
  announce("Cleared.");
});
for (const example of document.querySelectorAll(".example")) {
  example.addEventListener("click", () => {
    composer.text = example.textContent ?? "";
    composer.focus();
  });
}
setUpCodeDialog(currentRequest);
showMode(); // a browser may have kept the choice over a reload
if (matchMedia(NARROW).matches) byId("parameters").removeAttribute("open");
