// How long an answer took, and how many tokens it has.

const count = new Intl.NumberFormat("en");
const rate = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const seconds = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** What each reason to end means to a reader. */
const ENDS = new Map([["stop", "complete"], ["length", "cut off at max tokens"]]);

/** @param {number} number @param {string} noun */
const counted = (number, noun) => `${count.format(number)} ${noun}${number === 1 ? "" : "s"}`;

/** The figures of one answer; all times are those of `performance.now`, in milliseconds. */
export class Figures {
  #sentAt = performance.now();
  /** @type {number | null} */ #firstAt = null;
  /** @type {number | null} */ #lastAt = null;
  /** @type {import("./service.js").Usage | null} */ #usage = null;
  #end = "";

  /** @param {import("./service.js").Piece} piece */
  add(piece) {
    if (piece.text || piece.finishReason) {
      this.#lastAt = performance.now();
      this.#firstAt ??= this.#lastAt;
    }
    if (piece.finishReason) this.#end = ENDS.get(piece.finishReason) ?? piece.finishReason;
    this.#usage = piece.usage ?? this.#usage;
  }

  /** @param {string} why */
  endedEarly(why) {
    this.#end = why;
  }

  /** Tokens per second after the first one, which is the only one that waits for the prompt. */
  get tokensPerSecond() {
    if (!this.#usage || this.#firstAt === null || this.#lastAt === null) return null;
    const more = this.#usage.completion_tokens - 1;
    const took = this.#lastAt - this.#firstAt;
    return more > 0 && took > 0 ? (1000 * more) / took : null;
  }

  /** @returns {string[]} */
  words() {
    const words = [];
    if (this.#usage) words.push(counted(this.#usage.completion_tokens, "token"));
    if (this.tokensPerSecond !== null) words.push(`${rate.format(this.tokensPerSecond)} tokens/s`);
    if (this.#firstAt !== null) words.push(`first token after ${seconds.format((this.#firstAt - this.#sentAt) / 1000)} s`);
    if (this.#usage) words.push(`prompt ${counted(this.#usage.prompt_tokens, "token")}`);
    if (this.#end) words.push(this.#end);
    return words;
  }
}
