// What was run and what came out: the first two sections.

const STATES = { complete: "good", "dry run": "quiet", interrupted: "warn", failed: "bad", killed: "bad", missing: "bad" };

function table(columns, rows) {
  return el("div.wide", { tabIndex: 0, role: "region", "aria-label": "table" }, el("table", {},
    el("thead", {}, el("tr", {}, columns.map(([name, kind]) => el("th", { scope: "col", className: kind ?? "" }, name)))),
    el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell, i) => el("td", { className: columns[i][1] ?? "" }, cell ?? "–")))))));
}

function distinct(report, name) { return [...new Set(report.runs.map((run) => run[name]).filter((value) => value !== null && value !== ""))]; }

function summarySection(report) {
  const scored = report.scorings[0], usable = report.runs.filter((run) => run.usable).length;
  const fact = (name, value, more) => el("div.fact", {}, el("dt", {}, name), el("dd", {}, value, more ? el("small", {}, more) : null));
  const refused = Object.values(report.data).reduce((sum, data) => sum + data.quarantine.length, 0);
  const list = (name) => distinct(report, name).join(", ") || "none";
  return el("section", { id: "runs" }, el("h1", {}, report.title),
    el("dl.facts", {},
      fact("runs that count", `${usable} of ${report.runs.length}`),
      fact("pairs scored", scored ? whole(scored.count) : "none", report.scorings.length > 1 ? `${report.scorings.length} scorings` : null),
      fact("records refused", whole(refused)),
      fact("scored by", list("scorer"), distinct(report, "weak").length ? `weak: ${list("weak")}` : null),
      fact("fine-tuned", list("target"), distinct(report, "train").length ? `recipe ${list("train")}` : null),
      fact("measured on", list("benchmark"), distinct(report, "partial").map((partial) => `${report.runs.filter((run) => run.partial === partial).length} of the runs: ${partial}`).join("; ") || null)),
    el("h2", {}, "Runs"), runsTable(report));
}

// A column that says the same of every run is left to the facts above.
function runsTable(report) {
  const { runs } = report, differ = (name) => new Set(runs.map((run) => run[name])).size > 1;
  const under = (text, more) => [text || "–", more ? el("div.quiet.small", {}, more) : null];
  const columns = [
    ["run", "", (run) => under(el("b", {}, run.label), differ("name") ? run.name : null)],
    ["status", "", state],
    ["seed", "number", (run) => whole(run.seed), differ("seed")],
    ["sweep", "", (run) => run.group, differ("group")],
    ["data", "", (run) => run.data, differ("data")],
    ["pairs", "number", (run) => whole(run.pairs)],
    ["selected", "number", (run) => whole(run.selected)],
    ["spoiled in data", "number", (run) => run.spoiled && percent(run.spoiled.in_data), runs.some((run) => run.spoiled)],
    ["in subset", "number", (run) => run.spoiled && percent(run.spoiled.in_subset), runs.some((run) => run.spoiled)],
    ["scorer", "", (run) => under(run.scorer, run.weak && `weak: ${run.weak}`), differ("scorer") || differ("weak")],
    ["target", "", (run) => run.target, differ("target")],
    ["recipe", "", (run) => run.train, differ("train")],
    ["benchmark", "", (run) => run.benchmark, differ("benchmark")],
    ["time", "number", (run) => duration(run.seconds.total)],
    ["settings", "", settings],
  ].filter(([, , , wanted]) => wanted !== false);
  return table(columns, runs.map((run) => columns.map(([, , cell]) => cell(run))));
}

function state(run) {
  return [el(`span.state.${STATES[run.status] ?? "warn"}`, {}, run.status),
    run.mark ? el("div.mark", {}, run.mark) : null, run.error ? el("div.small.clamp", { title: run.error }, run.error) : null];
}

function duration(seconds) {
  if (seconds === undefined || seconds === null) return "–";
  return seconds < 120 ? `${seconds.toFixed(0)} s` : seconds < 7200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

// A run's configuration, keys and seconds, unfolded on request.
function settings(run) {
  const more = el("details", {}, el("summary", {}, "show"));
  more.addEventListener("toggle", () => {
    if (more.childElementCount > 1) return;
    const { config, keys, seconds } = run;
    more.append(el("pre.code", { tabIndex: 0 }, coloured(JSON.stringify({ run: run.run, started: run.started, seconds, config, keys }, null, 2), "json")));
  });
  return more;
}

function resultsSection(report) {
  const section = el("section", { id: "results" }, el("h2", {}, "Results"));
  const keys = [...new Map(report.results.map((row) => [`${row.benchmark}: ${row.metric}`, row])).keys()];
  if (!keys.length) return el("section", { id: "results" }, el("h2", {}, "Results"), el("p.quiet", {}, "No model was evaluated in these runs."));
  const first = keys.find((one) => one.includes("pass@1")) ?? keys[0], several = distinct(report, "benchmark").length > 1;
  const body = el("div.card");
  const show = (wanted) => {
    const of = (rows) => rows.filter((row) => `${row.benchmark}: ${row.metric}` === wanted);
    body.replaceChildren(forest(of(report.results), report), ...differences(of(report.comparisons)));
  };
  section.append(switcher("metric", keys.map((one) => [one, several ? one : one.split(": ")[1]]), first, show), body);
  show(first);
  return section;
}

// A table that draws each value with its 95% interval; the dashed line is the base model.
function forest(rows, report) {
  const ends = rows.flatMap((row) => [row.low ?? row.value, row.high ?? row.value]).filter((value) => value !== null);
  if (!ends.length) return el("p.quiet", {}, "Nothing could be measured.");
  const [low, high] = [Math.min(...ends), Math.max(...ends)], pad = (high - low || Math.abs(high) || 1) * 0.06;
  const at = (value) => percent((value - low + pad) / (high - low + 2 * pad), 2);
  const baseOf = (row) => rows.find((other) => other.base && other.tasks === row.tasks && other.value !== null);
  const whisker = (row) => svg("svg", { class: "forest", "aria-hidden": "true" },
    ...(baseOf(row) ? [svg("line", { x1: at(baseOf(row).value), x2: at(baseOf(row).value), y1: -8, y2: 32, class: "base" })] : []),
    ...(row.low === null ? [] : [svg("line", { x1: at(row.low), x2: at(row.high), y1: 12, y2: 12, class: "interval" })]),
    ...(row.value === null ? [] : [svg("circle", { cx: at(row.value), cy: 12, r: 5, class: row.base ? "value base" : "value" })]));
  return el("div", {}, table([["model"], ["value", "number breaks"], ["95% interval", "draws"], ["count", "number"], ["tasks", "number"]], rows.map((row) => [
    [row.model, row.base ? el("div.quiet.small", {}, row.models) : null, row.mark ? el("div.mark", {}, row.mark) : null], bounds(row.text), whisker(row),
    row.of === null ? null : `${whole(row.count)} / ${whole(row.of)}`, whole(row.tasks)])),
  el("p.note", {}, `Dots with 95% intervals; the dashed line is the base model on the same tasks. ${distinct(report, "target").join(", ")}; ${distinct(report, "data").join(", ")}.`));
}

// `value [low, high]`, which may break before the bracket and nowhere else.
function bounds(text) {
  const at = text.indexOf(" [");
  return at < 0 ? text : [el("b", {}, text.slice(0, at)), " ", el("span.bounds", {}, text.slice(at + 1))];
}

function differences(rows) {
  if (!rows.length) return [];
  return [el("h3", {}, "Task by task"), table([["model"], ["less"], ["difference", "number"], ["won / lost / tied", "number"], ["p", "number"], ["tasks", "number"]],
    rows.map((row) => [row.model, row.against, row.difference.replaceAll("-", "−"), row.tally, row.p, whole(row.tasks)])),
  el("p.note", {}, "Shares in points. p is two-sided; no correction for the number of models compared.")];
}
