/**
 * Where a prompt weighs words: `(some words)0.5`, `word(1.5)` and `(some words:1.3)`.
 *
 * The grammar is the service's own (deployments/models/prompt.py, which says why it is so); a test holds the two
 * together. No DOM.
 */

const MOST_WEIGHT = 2;
const NUMBER = String.raw`-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)`;
const END = String.raw`(?![.,][0-9])(?=[\s,.;:!?()\[\]{}"'\\…、。，；：！？]|$)`;
const PARENTHESIS = /\\[()]|[()]/g;
const NUMBER_OF_WORD = new RegExp(String.raw`\((${NUMBER})\)${END}`, "y");
const NUMBER_OF_GROUP = new RegExp(`(${NUMBER})${END}`, "y");
const NUMBER_IN_GROUP = /(?:(?<![0-9]):(-?[0-9]+)|:(-?[0-9]*\.[0-9]+))$/;
const WORD_AT_END = /[^\s(),;]*$/;
const PUNCTUATION = /^[!-/:-@[-`{-~]*$/;

/** @typedef {{text: string, weight: number, syntax: boolean}} Stretch - `syntax` is not read by the model */
/** @typedef {{start: number, end: number, opens?: number, closes?: boolean}} Mark */

/**
 * @param {string} prompt
 * @returns {Stretch[]} which, put together, are the prompt
 */
export function stretches(prompt) {
  const parts = [];
  const factors = [1];
  let position = 0;
  const add = (end, syntax) => {
    const weight = Math.min(MOST_WEIGHT, factors[factors.length - 1]);
    if (end > position) parts.push({ text: prompt.slice(position, end), weight, syntax });
    position = end;
  };
  for (const mark of marksOf(prompt).sort((one, other) => one.start - other.start)) {
    add(mark.start, false);
    if (mark.opens !== undefined) factors.push(Math.min(Number.MAX_VALUE, factors[factors.length - 1] * mark.opens));
    add(mark.end, true); // a parenthesis and a number belong to what they weigh
    if (mark.closes) factors.pop();
  }
  add(prompt.length, false);
  return parts;
}

/** @param {string} prompt @returns {Mark[]} */
function marksOf(prompt) {
  const marks = [];
  const open = []; // where each group's parenthesis stands, and where the word before it starts
  let read = 0; // the end of the last parenthesis or weight
  for (const found of prompt.matchAll(PARENTHESIS)) {
    const at = found.index;
    let end = at + found[0].length;
    if (found[0] === "(") {
      open.push([at, startOfWord(prompt.slice(read, at), at)]);
    } else if (found[0] !== ")") {
      marks.push({ start: at, end: at + 1 });
    } else if (open.length) {
      const [start, word] = open.pop();
      const ofWord = word < start ? matchAt(NUMBER_OF_WORD, prompt, start) : null;
      const inside = NUMBER_IN_GROUP.exec(prompt.slice(read, at));
      const ofGroup = matchAt(NUMBER_OF_GROUP, prompt, end);
      const textEnd = inside ? read + inside.index : at;
      if (ofWord) {
        marks.push({ start: word, end: word, opens: weightOf(ofWord[1]) }, { start, end, closes: true });
      } else if ((inside || ofGroup) && (read > start + 1 || prompt.slice(read, textEnd).trim())) {
        const inner = inside ? weightOf(inside[1] ?? inside[2]) : 1;
        const outer = ofGroup ? weightOf(ofGroup[1]) : 1;
        if (ofGroup) end += ofGroup[0].length;
        marks.push({ start, end: start + 1, opens: inner * outer }, { start: textEnd, end, closes: true });
      }
    }
    read = end;
  }
  return marks;
}

function startOfWord(text, end) {
  const word = WORD_AT_END.exec(text)[0];
  return PUNCTUATION.test(word) ? end : end - word.length;
}

function matchAt(pattern, text, index) {
  pattern.lastIndex = index;
  return pattern.exec(text);
}

function weightOf(number) {
  return Math.min(MOST_WEIGHT, Math.max(0, Number(number)));
}
