// Elements are made here and nowhere else. Children are nodes or text, so what a pair says is never read as markup.
"use strict";

function el(kind, props, ...children) {
  const [tag, ...classes] = kind.split(".");
  const node = document.createElement(tag || "div");
  if (classes.length) node.className = classes.join(" ");
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// A labelled choice: options are [value, text].
function choice(label, options, value, onchange) {
  const select = el("select", { onchange: () => onchange(select.value) },
    options.map(([key, text]) => el("option", { value: key }, text)));
  select.value = value;
  return el("label.choice", {}, label ? el("span", {}, label) : null, select);
}

// A row of buttons of which one is pressed.
function switcher(label, options, value, onchange) {
  const buttons = options.map(([key, text]) => el("button", {
    type: "button", "aria-pressed": String(key === value), "data-key": key,
    onclick: () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other.dataset.key === key));
      onchange(key);
    },
  }, text));
  return el("div.switcher", { role: "group", "aria-label": label }, buttons);
}

const number = (value, digits = 2) => (value === null || Number.isNaN(value) ? "–" : value.toFixed(digits).replace("-", "−"));
const whole = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en"));
const percent = (value, digits = 1) => `${(100 * value).toFixed(digits)}%`;
