// How a pair's text is shown: as it is, with what hides in it made visible, and its code coloured.

// Control and format characters (they can reorder or hide text), and halves of surrogate pairs. Joiners stay: scripts need them.
const HIDDEN = /(?![\n\t\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}]/gu;
const LONGEST_COLOURED = 60000; // characters; beyond it code is shown plain

const words = (text) => new Set(text.split(" "));
const FAMILIES = [
  {
    names: /^(py|python\d*|rb|ruby|sh|bash|shell|zsh|yaml|yml|toml|r|perl|pl|make|makefile|dockerfile|elixir|julia|nim)$/, comment: "#[^\\n]*",
    keywords: words("and as assert async await begin break case class continue def del do done elif else elsif end ensure esac except export False fi finally for " +
      "from function global if import in is lambda local match module next nil None nonlocal not or pass raise require rescue return self then True try unless until " +
      "when while with yield true false null"),
  },
  {
    names: /^(sql|mysql|postgresql|sqlite|plsql|lua|haskell|hs|ada|vhdl|elm)$/, comment: "--[^\\n]*", anyCase: true,
    keywords: words("add all alter and any as asc avg between by case check column constraint count create cross database default delete desc distinct do drop else " +
      "elseif end exists foreign from full function group having if in index inner insert int integer into is join key left like limit local max min nil not null " +
      "offset on or order outer primary references return right select set sum table then union unique update values varchar view when where while with"),
  },
  { names: /^(html|xml|svg|vue|htm|xhtml)$/, comment: "<!--[\\s\\S]*?(?:-->|$)", markup: true, keywords: new Set() },
  {
    names: /./, comment: "//[^\\n]*|/\\*[\\s\\S]*?(?:\\*/|$)",
    keywords: words("abstract async await bool boolean break byte case catch char class const constexpr continue crate default defer delete do double else enum export " +
      "extends extern false final finally float fn for foreach from func function go goto if impl implements import in include inline instanceof int interface let long " +
      "loop match mod module mut namespace new nil null nullptr of override package private protected protocol pub public range return self short signed sizeof static " +
      "string String struct super switch template this throw throws trait true try type typedef typename typeof undefined union unsigned use using val var virtual void " +
      "volatile when where while yield"),
  },
];
const STRINGS = '"""[\\s\\S]*?(?:"""|$)|\'\'\'[\\s\\S]*?(?:\'\'\'|$)|"(?:\\\\.|[^"\\\\\\n])*"?|\'(?:\\\\.|[^\'\\\\\\n])*\'?|`(?:\\\\.|[^`\\\\])*`?';

// Text as nodes: plain strings, and a marked span for each hidden character.
function shown(text) {
  const nodes = [];
  let from = 0;
  for (const found of text.replaceAll("\r\n", "\n").matchAll(HIDDEN)) {
    const code = found[0].codePointAt(0), name = `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
    nodes.push(found.input.slice(from, found.index));
    nodes.push(el("span.hidden-character", { title: `the invisible character ${name}` }, code < 32 ? String.fromCodePoint(0x2400 + code) : name));
    from = found.index + found[0].length;
  }
  nodes.push(text.replaceAll("\r\n", "\n").slice(from));
  return nodes.filter((node) => node !== "");
}

// One line for a list: white space folded, hidden characters dropped to a dot.
function oneLine(text, from = 0, length = 220) {
  return text.slice(from, from + length * 2).replace(/\s+/g, " ").replace(HIDDEN, "·").trimStart().slice(0, length);
}

// [{code, language, text}]: fenced blocks of Markdown and what lies between them; a text without a fence may be code itself.
function blocks(text) {
  const found = [];
  let lines = [], fence = null, language = "";
  const close = (code) => {
    if (lines.length && (code || lines.some((line) => line.trim()))) found.push({ code, language, text: lines.join("\n") });
    lines = [];
  };
  for (const line of text.split("\n")) {
    const mark = line.match(/^\s*(`{3,}|~{3,})\s*([\w+#.-]*)/);
    if (fence === null && mark) {
      close(false);
      [fence, language] = [mark[1], mark[2].toLowerCase()];
    } else if (fence !== null && mark && mark[1].startsWith(fence) && !mark[2]) {
      close(true);
      [fence, language] = [null, ""];
    } else lines.push(line);
  }
  close(fence !== null);
  if (found.length === 1 && !found[0].code && looksLikeCode(found[0].text)) found[0].code = true;
  return found;
}

const CODE_LINE = /^\s*(?:def |class |import |from \w+ import|for .*[:{(]|if .*[:{]|while .*[:{]|return\b|function\b|const |let |var |public |private |#include|package |func |fn |<\/?[a-z][\w-]*[\s>]|\/\/|\/\*|@\w+|\w+ = |\w+\(.*\)|SELECT\b|INSERT\b|UPDATE\b|DELETE\b|CREATE\b|print|echo |\$)|[{};]\s*$|^\s{4,}\S/;

function looksLikeCode(text) {
  const lines = text.split("\n").filter((line) => line.trim());
  return lines.filter((line) => CODE_LINE.test(line)).length >= 0.6 * lines.length && lines.length > 0;
}

function family(language, code) {
  if (language) return FAMILIES.find((one) => one.names.test(language));
  if (/^\s*<[!a-z]/i.test(code)) return FAMILIES[2];
  if (/^\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|WITH)\b/i.test(code)) return FAMILIES[1];
  if (/^\s*#(?!include|define|if|pragma)|\bdef \w+|^\s*(import|from) \w+|\bprint\(|:\s*$/m.test(code) && !/[;{]\s*$/m.test(code)) return FAMILIES[0];
  return FAMILIES[3];
}

// Code as nodes, coloured by kind of token.
function coloured(code, language) {
  if (code.length > LONGEST_COLOURED) return shown(code);
  const kind = family(language, code);
  const tag = kind.markup ? "|(</?[A-Za-z][\\w:-]*|/?>)" : "|($^)";
  const token = new RegExp(`(${kind.comment})|(${STRINGS})${tag}|(\\b\\d[\\w.]*)|([A-Za-z_]\\w*)(\\s*\\()?`, "g");
  const nodes = [];
  let from = 0;
  const put = (name, text) => nodes.push(name ? el(`span.${name}`, {}, shown(text)) : shown(text));
  for (const found of code.matchAll(token)) {
    put("", code.slice(from, found.index));
    const [all, comment, text, markup, digits, word] = found;
    if (comment) put("comment", comment);
    else if (text) put("string", text);
    else if (markup) put("keyword", markup);
    else if (digits) put("number", digits);
    else {
      const keyword = kind.keywords.has(kind.anyCase ? word.toLowerCase() : word);
      put(keyword ? "keyword" : found[6] && !kind.markup ? "call" : "", word);
      put("", found[6] ?? "");
    }
    from = found.index + all.length;
  }
  put("", code.slice(from));
  return nodes.flat();
}

// A pair's text for reading: prose as it is written, code in blocks.
function reading(text) {
  if (!text) return [el("p.quiet", {}, "(empty)")];
  return blocks(text).map((block) => (block.code
    ? el("pre.code", { tabIndex: 0 }, el("code", {}, coloured(block.text, block.language)))
    : el("div.prose", {}, shown(block.text.replace(/^\n+|[ \t\n]+$/g, "")))));
}

// Marks the words of a search wherever they stand under `node`, without touching the document.
function markWords(node, words) {
  if (!globalThis.CSS?.highlights) return;
  const ranges = [];
  const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.toLowerCase();
    if (text.length !== walker.currentNode.data.length) continue; // İ and its like: positions would not fit
    for (const word of words) {
      for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
        const range = new Range();
        range.setStart(walker.currentNode, at);
        range.setEnd(walker.currentNode, at + word.length);
        ranges.push(range);
      }
    }
  }
  CSS.highlights.set(`found-in-${node.id}`, new Highlight(...ranges));
}
