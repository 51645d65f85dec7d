// One canvas: a scatter plot, or a histogram with its pairs as points below it. Every point is a pair and opens it.

const SHAPES = ["circle", "circle", "square", "triangle", "diamond", "cross"];
const OUTSIDE = 0.005; // share of the pairs at each end that may lie beyond the axis, where the range would else be empty

function ticks(low, high, most) {
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const count = Math.floor(high / step + 1e-9) - Math.ceil(low / step - 1e-9) + 1;
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return Array.from({ length: count }, (_, i) => (Math.ceil(low / step - 1e-9) + i) * step)
    .map((value) => [value, (Math.abs(value) < step / 2 ? 0 : value).toFixed(digits).replace("-", "−")]);
}

// [low, high] of an axis: everything, unless a few outliers would squeeze the rest into less than half of it.
function span(values, fixed) {
  if (fixed) return fixed;
  const sorted = values.filter((value) => Number.isFinite(value)).sort();
  if (!sorted.length) return [0, 1];
  let [low, high] = [sorted[0], sorted.at(-1)];
  const [near, far] = [quantile(sorted, OUTSIDE), quantile(sorted, 1 - OUTSIDE)];
  if (far > near && high - low > 2 * (far - near)) [low, high] = [near, far];
  const pad = (high - low || 1) * 0.03;
  return [low - pad, high + pad];
}

class Plot {
  // onopen(pair) when a point is chosen, onrange(low, high, last) when a bar is.
  constructor(onopen, onrange) {
    this.canvas = el("canvas", { tabIndex: 0, role: "img" });
    this.tip = el("div.tip", { hidden: true });
    this.ring = el("div.ring", { hidden: true });
    this.node = el("div.plot", {}, this.canvas, this.ring, this.tip);
    Object.assign(this, { onopen, onrange, near: -1, opened: -1 });
    new ResizeObserver(() => this.draw()).observe(this.node);
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => this.leave());
    this.canvas.addEventListener("blur", () => this.leave());
    this.canvas.addEventListener("click", (event) => { this.point(event); this.choose(); });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  // spec: x, y (null: a histogram of x), labels, tell(pair) -> nodes of the tip, behind and front(context, plot); groups: of (index of
  // each pair's group, 0 in the background), colours.
  show(spec, groups) {
    Object.assign(this, { spec, groups });
    this.canvas.setAttribute("aria-label", `${spec.name}. Arrow keys go from pair to pair, Enter opens one.`);
    this.order = [...spec.x.keys()].filter((i) => Number.isFinite(spec.x[i]) && (!spec.y || Number.isFinite(spec.y[i])));
    this.order.sort((a, b) => spec.x[a] - spec.x[b]);
    this.leave();
    this.draw();
  }

  draw() {
    const width = this.node.clientWidth;
    if (!this.spec || !width) return;
    const height = Math.round(Math.min(540, Math.max(340, width * 0.56))), scale = devicePixelRatio;
    Object.assign(this.canvas, { width: width * scale, height: height * scale });
    this.canvas.style.height = `${height}px`;
    const context = this.canvas.getContext("2d"), style = getComputedStyle(this.node);
    context.scale(scale, scale);
    context.font = `12px ${style.fontFamily}`;
    this.colour = (name) => style.getPropertyValue(`--${name}`);
    this.box = { left: 52, right: width - 16, top: 30, bottom: height - 46 };
    this.place();
    this.axes(context);
    this.spec.behind?.(context, this);
    if (!this.spec.y) this.bars(context);
    for (let group = 0; group < this.groups.colours.length; group++) this.points(context, group);
    this.spec.front?.(context, this);
    this.circle(this.opened);
  }

  // Positions of all points in pixels; those beyond the axis stand on its edge.
  place() {
    const { x, y, xspan, yspan } = this.spec, { left, right, top, bottom } = this.box;
    const [x0, x1] = (this.xspan = span(x, xspan));
    const clamp = (value) => Math.min(1, Math.max(0, value));
    this.toX = (value) => left + clamp((value - x0) / (x1 - x0)) * (right - left);
    this.X = Float64Array.from(x, this.toX);
    this.beyond = this.order.filter((i) => x[i] < x0 || x[i] > x1).length;
    if (y) {
      const [y0, y1] = (this.yspan = span(y, yspan));
      this.toY = (value) => bottom - clamp((value - y0) / (y1 - y0)) * (bottom - top);
      this.Y = Float64Array.from(y, this.toY);
      this.beyond += this.order.filter((i) => y[i] < y0 || y[i] > y1).length;
    } else {
      this.floor = bottom - Math.round((bottom - top) * 0.24);
      const strip = bottom - this.floor - 16; // golden-ratio steps spread neighbours apart, the same way each time
      this.Y = Float64Array.from(x, (_, i) => this.floor + 11 + ((i * 0.6180339887) % 1) * strip);
      this.count();
    }
  }

  count() {
    const [low, high] = this.xspan, bins = Math.max(12, Math.min(60, Math.round(Math.sqrt(this.order.length) * 1.6)));
    this.edges = Array.from({ length: bins + 1 }, (_, i) => low + (i * (high - low)) / bins);
    this.counts = this.groups.colours.map(() => new Float64Array(bins));
    for (const i of this.order) {
      const bin = Math.min(bins - 1, Math.max(0, Math.floor(((this.spec.x[i] - low) / (high - low)) * bins)));
      this.counts[this.groups.of[i]][bin] += 1;
    }
    this.totals = this.edges.slice(1).map((_, bin) => this.counts.reduce((sum, count) => sum + count[bin], 0));
    const most = Math.max(...this.totals) * 1.06;
    this.yspan = [0, most];
    this.toY = (value) => this.floor - (value / most) * (this.floor - this.box.top);
  }

  axes(context) {
    const { left, right, top, bottom } = this.box, low = this.spec.y ? bottom : this.floor;
    context.textBaseline = "middle";
    context.strokeStyle = this.colour("line");
    context.lineWidth = 1;
    context.fillStyle = this.colour("muted");
    context.textAlign = "center";
    for (const [value, text] of ticks(...this.xspan, (right - left) / 90)) {
      line(context, this.toX(value), bottom, this.toX(value), bottom + 4);
      context.fillText(text, this.toX(value), bottom + 14);
    }
    context.textAlign = "right";
    for (const [value, text] of ticks(...this.yspan, (low - top) / 56)) {
      line(context, left, this.toY(value), right, this.toY(value));
      context.fillText(text, left - 8, this.toY(value));
    }
    context.strokeStyle = this.colour("axis");
    line(context, left, bottom, right, bottom);
    context.fillStyle = this.colour("ink");
    context.fillText(this.spec.xlabel, right, bottom + 34);
    context.textAlign = "left";
    context.fillText(this.spec.ylabel, 8, 12);
  }

  bars(context) {
    const gap = this.toX(this.edges[1]) - this.toX(this.edges[0]) > 4 ? 1 : 0;
    const order = [...this.groups.colours.keys()].slice(1).concat(0); // the background group on top of the others
    for (let bin = 0; bin + 1 < this.edges.length; bin++) {
      let under = 0;
      for (const group of order) {
        const count = this.counts[group][bin], [x, y] = [this.toX(this.edges[bin]), this.toY(under + count)];
        context.fillStyle = this.colour(this.groups.colours[group]);
        context.globalAlpha = group ? 0.9 : 0.55;
        context.fillRect(x, y, this.toX(this.edges[bin + 1]) - x - gap, this.toY(under) - y);
        under += count;
      }
    }
    context.globalAlpha = 1;
    context.strokeStyle = this.colour("axis");
    line(context, this.box.left, this.floor, this.box.right, this.floor);
  }

  points(context, group) {
    const few = this.order.length < 1500, radius = few ? 3.2 : 1.5;
    context.fillStyle = context.strokeStyle = this.colour(this.groups.colours[group]);
    context.globalAlpha = few ? (group ? 0.85 : 0.6) : group ? 0.5 : 0.35;
    for (const i of this.order) if (this.groups.of[i] === group) mark(context, this.groups.shapes?.[group] ?? SHAPES[group], this.X[i], this.Y[i], radius + (group ? 0.4 : 0));
    context.globalAlpha = 1;
  }

  // What lies under the pointer: the nearest pair within 14 pixels, or a bar.
  point(event) {
    const box = this.canvas.getBoundingClientRect(), [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let [near, best] = [-1, 14 * 14];
    for (const i of this.order) {
      const far = (this.X[i] - x) ** 2 + (this.Y[i] - y) ** 2;
      if (far < best) [near, best] = [i, far];
    }
    if (!this.spec.y && y < this.floor) return this.overBar(x);
    this.over(near);
  }

  overBar(x) {
    const bins = this.edges.length - 1, { left, right } = this.box;
    const bin = Math.floor(((x - left) / (right - left)) * bins);
    if (bin < 0 || bin >= bins) return this.leave();
    this.leave();
    this.bin = bin;
    const rest = this.groups.names.slice(1).map((name, g) => `${whole(this.counts[g + 1][bin])} ${name}`);
    this.tell([el("b", {}, `${whole(this.totals[bin])} pairs`), ` with RMI ${number(this.edges[bin])} to ${number(this.edges[bin + 1])}`,
      ...rest.map((text) => el("div", {}, text)), el("div.quiet", {}, "click to list them")], (this.toX(this.edges[bin]) + this.toX(this.edges[bin + 1])) / 2, this.toY(this.totals[bin]));
  }

  over(pair) {
    if (pair < 0) return this.leave();
    this.bin = -1;
    this.near = pair;
    this.circle(pair);
    this.tell(this.spec.tell(pair), this.X[pair], this.Y[pair]);
  }

  tell(nodes, x, y) {
    this.canvas.style.cursor = "pointer";
    this.tip.replaceChildren(...nodes);
    this.tip.hidden = false;
    const left = Math.min(Math.max(4, x - this.tip.offsetWidth / 2), this.node.clientWidth - this.tip.offsetWidth - 4);
    const above = y - this.tip.offsetHeight - 12;
    this.tip.style.transform = `translate(${left}px, ${above > 0 ? above : y + 14}px)`;
  }

  leave() {
    Object.assign(this, { near: -1, bin: -1 });
    this.tip.hidden = true;
    this.canvas.style.cursor = "";
    this.circle(this.opened);
  }

  // Rings the pair under the pointer, else the one that is open (-1: none).
  circle(pair) {
    this.ring.hidden = !(this.X && Number.isFinite(this.X[pair] + this.Y[pair]));
    if (!this.ring.hidden) this.ring.style.transform = `translate(${this.X[pair]}px, ${this.Y[pair]}px)`;
  }

  open(pair) {
    this.opened = pair;
    this.leave();
  }

  choose() {
    if (this.near >= 0) this.onopen(this.near);
    else if (this.bin >= 0) this.onrange(this.bin ? this.edges[this.bin] : -Infinity, this.bin + 2 < this.edges.length ? this.edges[this.bin + 1] : Infinity);
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: 10, ArrowDown: -10 }[event.key];
    if (event.key === "Enter") return this.choose();
    if (!step) return;
    event.preventDefault();
    const at = this.order.indexOf(this.near);
    this.over(this.order[at < 0 ? this.order.length >> 1 : Math.min(this.order.length - 1, Math.max(0, at + step))]);
  }
}

function line(context, x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

function mark(context, shape, x, y, r) {
  context.beginPath();
  if (shape === "circle") context.arc(x, y, r, 0, 2 * Math.PI);
  else if (shape === "square") context.rect(x - r, y - r, 2 * r, 2 * r);
  else {
    const corners = { triangle: [[0, -1.3], [1.2, 0.9], [-1.2, 0.9]], diamond: [[0, -1.4], [1.2, 0], [0, 1.4], [-1.2, 0]],
      cross: [[-1.2, -0.4], [-0.4, -1.2], [1.2, 0.4], [0.4, 1.2]] }[shape];
    corners.forEach(([dx, dy], i) => context[i ? "lineTo" : "moveTo"](x + r * dx, y + r * dy));
    context.closePath();
  }
  context.fill();
}
