// A list of any length of which only the rows in sight are on the page. Arrow keys, Page, Home and End move, Enter opens.

class VirtualList {
  // height of a row in pixels; row(item) -> nodes; onopen(item).
  constructor(name, height, row, onopen) {
    Object.assign(this, { height, row, onopen, items: [], active: 0, drawn: new Map() });
    this.inner = el("div.rows");
    this.node = el("div.list", { tabIndex: 0, role: "listbox", "aria-label": name, id: `list-${name}` }, this.inner);
    this.node.addEventListener("scroll", () => this.draw(), { passive: true });
    this.node.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.node);
  }

  show(items) {
    this.items = items;
    this.active = 0;
    this.node.scrollTop = 0;
    this.inner.style.height = `${items.length * this.height}px`;
    this.inner.replaceChildren();
    this.drawn.clear();
    this.draw();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.node.scrollTop / this.height) - 5);
    const last = Math.min(this.items.length, Math.ceil((this.node.scrollTop + this.node.clientHeight) / this.height) + 5);
    for (const [at, node] of this.drawn) {
      if (at >= first && at < last) continue;
      node.remove();
      this.drawn.delete(at);
    }
    for (let at = first; at < last; at++) if (!this.drawn.has(at)) this.put(at);
    this.node.setAttribute("aria-activedescendant", this.drawn.has(this.active) ? this.rowId(this.active) : "");
  }

  rowId(at) { return `${this.node.id}-${at}`; }

  put(at) {
    const node = el("div.row", { role: "option", id: this.rowId(at), "aria-posinset": at + 1, "aria-setsize": this.items.length,
      "aria-selected": String(at === this.active), onclick: () => { this.go(at); this.onopen(this.items[at]); } }, this.row(this.items[at]));
    node.style.transform = `translateY(${at * this.height}px)`;
    node.style.height = `${this.height}px`;
    this.drawn.set(at, node);
    this.inner.append(node);
  }

  // Makes a row the active one and brings it into sight.
  go(at) {
    this.drawn.get(this.active)?.setAttribute("aria-selected", "false");
    this.active = Math.max(0, Math.min(this.items.length - 1, at));
    const top = this.active * this.height, { scrollTop, clientHeight } = this.node;
    if (top < scrollTop) this.node.scrollTop = top;
    else if (top + this.height > scrollTop + clientHeight) this.node.scrollTop = top + this.height - clientHeight;
    this.draw();
    this.drawn.get(this.active)?.setAttribute("aria-selected", "true");
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.node.clientHeight / this.height) - 1);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.items.length, End: this.items.length }[event.key];
    if (event.key === "Enter" && this.items.length) this.onopen(this.items[this.active]);
    if (!step) return;
    event.preventDefault();
    this.go(this.active + step);
  }
}
