// The page: sections in order, and the one state that the pairs' section keeps.

const main = document.getElementById("page");
const report = await unpack().catch((error) => {
  main.textContent = `This report could not be unpacked (${error}). It needs Chrome 105, Firefox 113, Safari 16.4 or newer.`;
  throw error;
});
report.scorings = report.scorings.map((raw) => new Scoring(raw, report.data[raw.data]));
const narrow = matchMedia("(max-width: 720px)");

// The section that browses pairs and refused records.
class Browser {
  constructor(scoring, reader) {
    Object.assign(this, { scoring, reader, changed: () => {} });
    const sort = scoring.measures.includes("rmi") ? "rmi" : scoring.measures[0];
    this.asked = { search: "", kept: "all", subset: 0, noise: "", source: "", range: null, sort, descending: false };
    this.pairs = new VirtualList("pairs", narrow.matches ? 92 : 68, (pair) => this.row(pair), (pair) => this.open(pair));
    this.refused = new VirtualList("refused", 68, (refused) => refusedRow(refused), (refused) => this.openRefused(refused));
    this.search = el("input", { type: "search", id: "search", placeholder: "search queries, answers and ids  ( / )", "aria-label": "search the texts",
      autocomplete: "off", spellcheck: false, oninput: () => this.ask({ search: this.search.value }) });
    this.total = el("p.quiet", { role: "status", id: "count" });
    this.chips = el("div.chips");
    this.controls = el("div.controls", {}, this.filters());
    this.node = el("section", { id: "pairs" }, el("h2", {}, "Pairs"),
      el("div.controls", {}, switcher("what to list", [["pairs", "scored pairs"], ["refused", `refused (${whole(scoring.quarantine.length)})`]], "pairs", (what) => this.which(what)), this.search),
      this.controls, this.chips, this.total, el("div.card.flush", {}, this.pairs.node, this.refused.node));
    this.which("pairs");
  }

  filters() {
    const { scoring, asked } = this, nodes = [];
    if (scoring.subsets.length) {
      nodes.push(choice("show", [["all", "all pairs"], ["selected", "selected"], ["out", "left out"]], asked.kept, (kept) => this.ask({ kept })));
      nodes.push(choice("by", scoring.subsets.map((subset, i) => [i, subset.label]), 0, (subset) => this.ask({ subset: Number(subset) })));
    }
    if (scoring.noise) nodes.push(choice("noise", [["", "any"], ...scoring.kinds.map((kind) => [kind, kind])], "", (noise) => this.ask({ noise })));
    if (scoring.sources.length > 1) nodes.push(choice("source", [["", "any"], ...scoring.sources.map((source) => [source, oneLine(source, 0, 40)])], "", (source) => this.ask({ source })));
    const orders = [...scoring.measures.map((name) => [name, MEASURES[name][0]]), ...(scoring.subsets.length ? [["chosen", "the selector's rank"]] : []),
      ...(scoring.texts ? [["row", "row in the source"]] : [])];
    nodes.push(choice("sort by", orders, asked.sort, (sort) => this.ask({ sort })));
    nodes.push(choice("", [["up", "lowest first"], ["down", "highest first"]], "up", (way) => this.ask({ descending: way === "down" })));
    nodes.at(-1).querySelector("select").setAttribute("aria-label", "direction");
    return nodes;
  }

  which(what) {
    this.what = what;
    this.controls.hidden = what === "refused";
    this.pairs.node.hidden = what === "refused";
    this.refused.node.hidden = what === "pairs";
    this.ask({});
  }

  ask(change) {
    Object.assign(this.asked, change);
    const { asked, scoring } = this;
    this.words = wordsOf(asked.search);
    if (this.what === "pairs") {
      this.listed = scoring.listed(asked);
      this.pairs.show(this.listed);
      this.total.textContent = `${whole(this.listed.length)} of ${whole(scoring.count)} pairs`;
    } else {
      const found = scoring.quarantine.filter((one) => this.words.every((word) => `${one.reason}\n${one.record}`.toLowerCase().includes(word)));
      this.refused.show(found);
      this.total.textContent = `${whole(found.length)} of ${whole(scoring.quarantine.length)} refused records`;
    }
    this.reasons();
    this.changed();
  }

  // What narrows the list beside the menus: a range chosen on a plot, or the reasons of refusal.
  reasons() {
    const chip = (text, onclick) => el("button.chip", { type: "button", onclick }, text);
    if (this.what === "pairs") {
      const { range } = this.asked, side = (value) => (Number.isFinite(value) ? number(value) : "…");
      this.chips.replaceChildren(...(range ? [chip(`${MEASURES[range.column][0]} ${side(range.low)} to ${side(range.high)}  ✕`, () => this.ask({ range: null }))] : []));
      return;
    }
    const counts = new Map();
    for (const { reason } of this.scoring.quarantine) {
      const kind = (reason ?? "no reason").split(/\d|"/)[0].trim(); // up to its first number: what differs in it only is one kind
      counts.set(kind, 1 + (counts.get(kind) ?? 0));
    }
    const most = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 12);
    this.chips.replaceChildren(...most.map(([reason, count]) => chip(`${oneLine(reason)}: ${whole(count)}`, () => {
      this.search.value = `"${reason}"`;
      this.ask({ search: this.search.value });
    })));
  }

  row(pair) {
    const { scoring, words } = this, sort = this.asked.sort in MEASURES ? this.asked.sort : scoring.measures[0];
    const place = el("span.place");
    place.style.setProperty("--at", percent(scoring.percentile(pair, sort)));
    return [el("span.value", { title: MEASURES[sort][1] }, el("span", {}, number(scoring.columns[sort][pair])), place),
      el("span.snippets", {}, el("span.first", {}, snippet(scoring.text(pair, "query"), words) || scoring.ids[pair]), el("span.second", {}, snippet(scoring.text(pair, "answer"), words))),
      el("span.badges", {}, badges(scoring, pair, false))];
  }

  open(pair) {
    this.current = pair;
    const at = this.what === "pairs" ? this.listed.indexOf(pair) : -1;
    if (at >= 0) this.pairs.go(at);
    plots?.plot.open(pair);
    history.replaceState(null, "", `#pair=${this.scoring.ids[pair]}`);
    this.reader.show(pairNodes(this.scoring, pair), at < 0 ? "" : `${whole(at + 1)} of ${whole(this.listed.length)} in the list`, this.words);
  }

  openRefused(refused) {
    const { items } = this.refused;
    this.current = refused;
    this.refused.go(items.indexOf(refused));
    this.reader.show(refusedNodes(refused), `${whole(items.indexOf(refused) + 1)} of ${whole(items.length)} refused`, this.words);
  }

  move(step) {
    const items = this.what === "pairs" ? this.listed : this.refused.items;
    const next = items[Math.max(0, Math.min(items.length - 1, items.indexOf(this.current) + step))];
    if (next !== undefined) (this.what === "pairs" ? this.open(next) : this.openRefused(next));
  }
}

// The part of a text in which the first found word stands, else its beginning.
function snippet(text, words) {
  const at = words.length ? Math.min(...words.map((word) => text.toLowerCase().indexOf(word)).filter((place) => place >= 0)) : 0;
  const from = Number.isFinite(at) && at > 90 ? at - 50 : 0;
  return (from ? "… " : "") + oneLine(text, from);
}

function refusedRow(refused) {
  return [el("span.value", {}, el("span.quiet.small", {}, "row"), el("span", {}, whole(refused.row))),
    el("span.snippets", {}, el("span.first", {}, oneLine(refused.reason ?? "no reason")), el("span.second", {}, oneLine(refused.record ?? "")))];
}

// Both ends of a measure side by side: what a selector throws away at either side is what it has to be judged by.
function extremesSection(scoring, open) {
  const asked = { measure: scoring.measures.includes("rmi") ? "rmi" : scoring.measures[0], kept: "all", from: 0 }, each = 3;
  const body = el("div.ends"), where = el("span.quiet");
  const draw = () => {
    const [lowest, highest] = scoring.extremes(asked.measure, asked.kept === "all" ? "all" : "selected", Number(asked.kept));
    const name = MEASURES[asked.measure][0];
    asked.from = Math.max(0, Math.min(asked.from, lowest.length - 1));
    where.textContent = `${whole(asked.from + 1)} to ${whole(Math.min(asked.from + each, lowest.length))} from each end`;
    body.replaceChildren(...[["lowest", lowest], ["highest", highest]].map(([end, pairs]) => el(`div.end.${end}`, {}, el("h3", {}, `${end} ${name}`),
      pairs.slice(asked.from, asked.from + each).map((pair) => el("article.card", {},
        el("header", {}, el("b", {}, `${name} ${number(scoring.columns[asked.measure][pair])}`), badges(scoring, pair, false),
          el("button.plain", { type: "button", onclick: () => open(pair) }, "open")),
        el("div.excerpt", { tabIndex: 0 }, texts(scoring, pair)))))));
  };
  const step = (by, text) => el("button", { type: "button", onclick: () => { asked.from += by; draw(); } }, text);
  const among = [["all", "all pairs"], ...scoring.subsets.map((subset, i) => [String(i), `selected by ${subset.label}`])];
  const section = el("section", { id: "extremes" }, el("h2", {}, "Both extremes"),
    el("p.lead", {}, "The pairs at either end, side by side. Low RMI: the answer says little about its query. Very high RMI: it may just repeat it. Read a few: does the order make sense?"),
    el("div.controls", {}, choice("measure", scoring.measures.map((name) => [name, MEASURES[name][0]]), asked.measure, (measure) => { Object.assign(asked, { measure, from: 0 }); draw(); }),
      choice("among", among, "all", (kept) => { Object.assign(asked, { kept, from: 0 }); draw(); }), el("div.switcher", {}, step(-each, "‹ nearer the end"), step(each, "further in ›")), where), body);
  draw();
  return section;
}

let plots = null, browser = null;

function showScoring(at) {
  const scoring = report.scorings[at], reader = new Reader((step) => browser.move(step), () => {
    plots?.plot.open(-1);
    history.replaceState(null, "", "#");
  });
  browser = new Browser(scoring, reader);
  const open = (pair) => browser.open(pair);
  const list = (range) => { browser.ask({ range }); browser.node.scrollIntoView({ behavior: "smooth" }); };
  plots = scoring.measures.includes("rmi") ? plotsSection(scoring, { open, list, listed: () => browser.listed }) : null;
  browser.changed = () => plots?.listChanged();
  document.getElementById("reader")?.remove();
  document.getElementById("scoring").replaceChildren(...[plots, extremesSection(scoring, open), browser.node].filter(Boolean));
  document.body.append(reader.node);
}

function scoringChoice() {
  if (report.scorings.length < 2) return null;
  return choice("pairs", report.scorings.map((scoring, i) => [i, scoring.name]), 0, (at) => showScoring(Number(at)));
}

// Opens a pair of the shown scoring by its id.
function openById(id) { browser.open(browser.scoring.position.get(id)); }

const sections = [["runs", "Runs"], ["results", "Results"], ["leakage", "Leakage"], ["composition", "Composition"], ...(report.scorings.length ? [["plots", "Plots"], ["extremes", "Extremes"], ["pairs", "Pairs"]] : [])];
main.before(el("nav", { "aria-label": "sections" }, el("b", {}, "QAQ"), sections.map(([id, text]) => el("a", { href: `#${id}` }, text)), scoringChoice()));
main.replaceChildren(
  summarySection(report), resultsSection(report), el("div", { id: "leaking" }), compositionSection(report), el("div", { id: "scoring" }),
  report.scorings.length ? "" : el("p.quiet", {}, "These logs hold no scores, so there is nothing to browse."));
if (report.scorings.length) showScoring(0);
document.getElementById("leaking").replaceWith(leakageSection(report, openById)); // last: it asks which pairs can be opened

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") browser?.reader.close();
  if (event.key !== "/" || event.target.closest?.("input, select, textarea") || !browser) return;
  event.preventDefault();
  browser.search.focus();
});

const linked = location.hash.match(/^#pair=(\w+)$/);
if (linked && browser?.scoring.position.has(linked[1])) browser.open(browser.scoring.position.get(linked[1]));
performance.mark("ready");
document.documentElement.dataset.ready = "true";
