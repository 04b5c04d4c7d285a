// JSON as a tree that can be folded. What a model wrote is only ever inserted as text, never as HTML.

/** Deeper parts are shown as JSON: nobody unfolds them one by one, and pages this deep are slow. */
const DEEPEST = 24;

/** A number as it is written; JavaScript rounds long ones. */
class NumberAsWritten {
  /** @param {string} source */
  constructor(source) {
    this.source = source;
  }

  toJSON() {
    return Number(this.source);
  }
}

/** @param {string} className @param {string} text */
function span(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}

/** @param {number} count @param {string} one @param {string} several */
const counted = (count, one, several) => `${count} ${count === 1 ? one : several}`;

/** @param {unknown} value @returns {Node[]} */
function leaf(value) {
  if (value instanceof NumberAsWritten) return [span("number", value.source)];
  const kind = typeof value === "string" ? "string" : "word";
  return [span(kind, JSON.stringify(value))];
}

/**
 * What stands for a value after its name.
 *
 * @param {Node[]} name
 * @param {unknown} value
 * @param {number} depth
 * @returns {Node[]}
 */
function shown(name, value, depth) {
  const isLeaf = value === null || typeof value !== "object" || value instanceof NumberAsWritten || depth === DEEPEST;
  if (isLeaf || Object.keys(value).length === 0) return [...name, ...leaf(value)];
  const items = Object.entries(value);
  const size = Array.isArray(value) ? counted(items.length, "item", "items") : counted(items.length, "field", "fields");
  const details = document.createElement("details");
  details.open = true;
  const summary = document.createElement("summary");
  summary.append(...name, span("size", size));
  const list = document.createElement("ul");
  for (const [key, item] of items) {
    const row = document.createElement("li");
    row.append(...shown([span("name", key), ": "], item, depth + 1));
    list.append(row);
  }
  details.append(summary, list);
  return [details];
}

/**
 * The tree of a JSON text; null for a text that is no JSON object or list, where a tree shows no more than the text.
 *
 * @param {string} text
 * @returns {HTMLElement | null}
 */
export function jsonTree(text) {
  let value;
  try {
    value = JSON.parse(text, (_, part, context) =>
      typeof part === "number" ? new NumberAsWritten(context?.source ?? String(part)) : part);
  } catch {
    return null;
  }
  if (value === null || typeof value !== "object" || value instanceof NumberAsWritten) return null;
  const tree = document.createElement("div");
  tree.className = "tree";
  tree.append(...shown([], value, 0));
  return tree;
}
