// Which plots there are, what lies behind their points, and how the points are coloured.

const PLOTS = {
  distribution: {
    text: "RMI", needs: ["rmi"], x: "rmi", xlabel: "RMI (nats per token)", ylabel: "pairs", name: "Distribution of RMI", behind: zero,
    note: (scoring) => {
      const rmi = scoring.columns.rmi.filter((value) => !Number.isNaN(value)).sort();
      return `Median ${number(quantile(rmi, 0.5))}; half of the pairs lie between ${number(quantile(rmi, 0.25))} and ${number(quantile(rmi, 0.75))}. ` +
        `Below zero, where the answer makes the query harder to predict: ${whole(below(rmi, 0))}. Each dot under the bars is a pair.`;
    },
  },
  heteroscedastic: {
    text: "RMI vs log PPL(Q)", needs: ["rmi", "log_ppl_q", "decile"], x: "log_ppl_q", y: "rmi", xlabel: "log PPL(Q) (nats per token)",
    ylabel: "RMI (nats per token)", name: "RMI against log PPL(Q)", behind: deciles, front: medians,
    note: () => "Vertical lines: deciles of PPL(Q). In each, the line is the median of RMI and the shade its 50 to 75% band, which stratified selection " +
      "keeps at a budget of 25%: simple queries (left) have little to gain from their answer, so one cut for all would throw them away.",
  },
  ifd: {
    text: "RMI vs IFD", needs: ["rmi", "ifd"], x: "ifd", y: "rmi", xlabel: "IFD = NLL(A|Q) / NLL(A)", ylabel: "RMI (nats per token)",
    name: "RMI against IFD", behind: zero,
    note: (scoring) => `Spearman's rank correlation is ${number(spearman(scoring.columns.ifd, scoring.columns.rmi), 3)} over ${whole(scoring.count)} pairs.`,
  },
  disagreement: {
    text: "strong vs weak", needs: ["rank", "weak_rank"], x: "weak_rank", y: "rank", xspan: [-0.02, 1.02], yspan: [-0.02, 1.02],
    xlabel: "stratified rank of RMI, weak model", ylabel: "stratified rank of RMI, strong model", name: "Strong against weak rank", behind: regions,
    note: (scoring) => `Strong: ${scoring.scorer}; weak: ${scoring.weak}. Above the upper line Diff is over 0.1, the paper's Diff-High: only the strong model sees ` +
      "that query and answer belong together. Top right Sum is high, bottom left low.",
  },
};

// Vertical and horizontal lines at zero, where they lie inside.
function zero(context, plot) {
  context.strokeStyle = plot.colour("axis");
  context.setLineDash([4, 4]);
  if (!plot.spec.y && plot.xspan[0] < 0 && plot.xspan[1] > 0) line(context, plot.toX(0), plot.box.top, plot.toX(0), plot.box.bottom);
  if (plot.spec.y && plot.yspan[0] < 0 && plot.yspan[1] > 0) line(context, plot.box.left, plot.toY(0), plot.box.right, plot.toY(0));
  context.setLineDash([]);
}

// Of each decile of PPL(Q): its ends on the axis, and where the median and the upper quartile of RMI lie, in pixels.
function quartiles(plot) {
  const { x, y, decile } = plot.spec, inside = [];
  for (const i of plot.order) if (!Number.isNaN(decile[i])) (inside[decile[i]] ??= []).push(i);
  return inside.filter(Boolean).map((pairs, bin, all) => {
    const sorted = Float64Array.from(pairs, (i) => y[i]).sort();
    return { left: plot.toX(x[pairs[0]]), right: plot.toX(x[bin + 1 < all.length ? all[bin + 1][0] : pairs.at(-1)]),
      middle: plot.toY(quantile(sorted, 0.5)), upper: plot.toY(quantile(sorted, 0.75)) };
  });
}

function deciles(context, plot) {
  zero(context, plot);
  plot.quartiles = quartiles(plot);
  context.fillStyle = plot.colour("band");
  for (const { left, right, middle, upper } of plot.quartiles) context.fillRect(left, upper, right - left, middle - upper);
  context.strokeStyle = plot.colour("axis");
  context.setLineDash([2, 4]);
  for (const { left } of plot.quartiles.slice(1)) line(context, left, plot.box.top, left, plot.box.bottom);
  context.setLineDash([]);
}

// The medians stand before the points, with a rim that keeps them apart.
function medians(context, plot) {
  for (const [width, colour] of [[5, "card"], [2, "ink"]]) {
    Object.assign(context, { lineWidth: width, strokeStyle: plot.colour(colour) });
    for (const { left, right, middle } of plot.quartiles) line(context, left, middle, right, middle);
  }
  context.lineWidth = 1;
}

function regions(context, plot) {
  const at = (weak, strong) => [plot.toX(weak), plot.toY(strong)];
  context.fillStyle = plot.colour("band");
  context.beginPath();
  for (const [weak, strong] of [[0, 0.1], [0, 1], [0.9, 1]]) context.lineTo(...at(weak, strong));
  context.fill();
  context.strokeStyle = plot.colour("axis");
  context.setLineDash([4, 4]);
  line(context, ...at(0, 0.1), ...at(0.9, 1));
  line(context, ...at(0.1, 0), ...at(1, 0.9));
  context.setLineDash([]);
  context.fillStyle = plot.colour("ink");
  for (const [text, weak, strong, align] of [["Diff high", 0.02, 0.97, "left"], ["Sum high", 0.98, 0.97, "right"], ["Sum low", 0.02, 0.03, "left"], ["Diff low", 0.98, 0.03, "right"]]) {
    context.textAlign = align;
    context.fillText(text, ...at(weak, strong));
  }
}

const NOISE_COLOURS = ["noise1", "noise2", "noise3", "noise4", "noise5"];

// {of, colours, names, shapes} of "none", "noise", "listed" or the number of a subset.
function colouring(scoring, by, listed) {
  const of = new Uint8Array(scoring.count), rest = "rest";
  if (by === "none") return { of, colours: ["all"], names: ["pairs"] };
  if (by === "noise") {
    const kinds = scoring.kinds.filter((kind) => kind !== "clean");
    scoring.noise.forEach((kind, pair) => { of[pair] = 1 + kinds.indexOf(kind); });
    return { of, colours: [rest, ...kinds.map((_, i) => NOISE_COLOURS[i % NOISE_COLOURS.length])], names: ["clean", ...kinds],
      shapes: ["circle", ...kinds.map((_, i) => SHAPES[1 + (i % 5)])] };
  }
  if (by === "listed") {
    for (const pair of listed) of[pair] = 1;
    return { of, colours: [rest, "accent"], names: ["other pairs", "in the list below"] };
  }
  for (const pair of scoring.subsets[by].order) of[pair] = 1;
  return { of, colours: [rest, "accent"], names: ["left out", "selected"] };
}

// The section with all plots of a scoring; `open(pair)`, `list(range)`, `listed()` are the page's.
function plotsSection(scoring, { open, list, listed }) {
  const there = Object.entries(PLOTS).filter(([, plot]) => plot.needs.every((name) => scoring.columns[name]));
  const asked = { plot: there[0][0], by: scoring.subsets.length ? "0" : scoring.noise ? "noise" : "none" };
  const plot = new Plot(open, (low, high) => list({ column: "rmi", low, high, last: high === Infinity }));
  const legend = el("ul.legend"), note = el("p.note");
  const draw = () => {
    const spec = PLOTS[asked.plot], column = (name) => (name ? scoring.columns[name] : undefined);
    const groups = colouring(scoring, asked.by, asked.by === "listed" ? listed() : []);
    plot.show({ ...spec, x: column(spec.x), y: column(spec.y), decile: column("decile"), tell: (pair) => glance(scoring, pair) }, groups);
    const counts = groups.colours.map((_, group) => groups.of.reduce((sum, one) => sum + (one === group), 0));
    legend.replaceChildren(...groups.names.map((name, group) => el("li", {}, key(groups, group), `${whole(counts[group])} ${name}`)));
    note.textContent = spec.note(scoring) + (plot.beyond ? ` ${whole(plot.beyond)} outliers are drawn on the edge.` : "");
  };
  const colours = [...scoring.subsets.map((subset, i) => [String(i), `selected by ${subset.label}`]),
    ...(scoring.noise ? [["noise", "planted noise"]] : []), ["listed", "in the list below"], ["none", "nothing"]];
  const section = el("section", { id: "plots" }, el("h2", {}, "Plots"),
    el("div.controls", {}, switcher("plot", there.map(([name, one]) => [name, one.text]), asked.plot, (name) => { asked.plot = name; draw(); }),
      choice("colour", colours, asked.by, (by) => { asked.by = by; draw(); })),
    el("div.card", {}, legend, plot.node, note));
  section.listChanged = () => { if (asked.by === "listed") draw(); };
  section.plot = plot;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
  return section;
}

// A legend's sign, drawn as on the plot.
function key(groups, group) {
  const canvas = el("canvas.key", { width: 28, height: 28 }), context = canvas.getContext("2d");
  requestAnimationFrame(() => {
    context.fillStyle = getComputedStyle(canvas).getPropertyValue(`--${groups.colours[group]}`);
    mark(context, groups.shapes?.[group] ?? SHAPES[group], 14, 14, 8);
  });
  return canvas;
}

// A pair in a few lines, for a tip.
function glance(scoring, pair) {
  const values = ["rmi", "rank", "ifd"].filter((name) => scoring.columns[name]);
  return [el("div.numbers", {}, values.map((name) => `${MEASURES[name][0]} ${number(scoring.columns[name][pair])}`).join(" · ")),
    el("div.clamp", {}, oneLine(scoring.text(pair, "query")) || scoring.ids[pair]),
    scoring.noise && scoring.noise[pair] !== "clean" ? el("div.badge.noise", {}, scoring.noise[pair]) : null,
    el("div.quiet", {}, "click to read")].filter(Boolean);
}
