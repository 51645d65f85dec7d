// What is in the pairs: how much of the benchmarks they hold, and what selections are made of.

// TLI of all pairs and of each selection; below it the test items that are leaked most, beside the query that leaks them.
function leakageSection(report, open) {
  const { tli, worst } = report.leakage, section = el("section", { id: "leakage" }, el("h2", {}, "Leakage"));
  if (!tli.length) {
    section.append(el("p.quiet", {}, "Leakage of benchmarks was not measured in these runs."));
    return section;
  }
  const benchmarks = [...new Set(tli.map((row) => row.benchmark))], rows = new Map();
  for (const row of tli) rows.set(`${row.of} ${row.data}`, [...(rows.get(`${row.of} ${row.data}`) ?? []), row]);
  const tasks = (benchmark) => tli.find((row) => row.benchmark === benchmark && row.tasks !== null)?.tasks;
  section.append(
    el("p.lead", {}, "Test leakage indicator (XCoder): of each test item the largest share of its 4- and 5-grams that one pair's text holds, on average over the items; below it the pairs its filter would drop. Fewer pairs can only leak less: compare selections of one size."),
    el("div.card", {}, table([["pairs of"], ["pairs", "number"], ...benchmarks.map((one) => [tasks(one) ? `${one}, ${whole(tasks(one))} items` : one, "number breaks"])],
      [...rows.values()].map((own) => [el(own[0].all ? "b" : "span", {}, own[0].of), whole(own.find((row) => row.pairs !== null)?.pairs), ...benchmarks.map((one) => indicator(own.find((row) => row.benchmark === one)))])),
    [...new Set(tli.map((row) => row.note))].filter(Boolean).map((note) => el("p.note", {}, note))));
  if (worst.length) section.append(...worstLeaks(worst, open));
  else section.append(el("p.quiet", {}, "The logs hold no text of a leaked test item."));
  return section;
}

function indicator(row) {
  if (!row) return null;
  return [row.tli === null ? "–" : percent(row.tli, 2), row.leaking === null ? null : el("div.quiet.small", {}, `${whole(row.leaking)} pairs`)];
}

function worstLeaks(worst, open) {
  const asked = { benchmark: worst[0].benchmark, of: "", search: "" }, body = el("div.leaks", { tabIndex: 0, role: "region", "aria-label": "worst leaks" });
  const total = el("span.quiet", { role: "status", id: "leaks-count" }), all = (name) => [...new Set(worst.flatMap((one) => one[name]))].map((value) => [value, oneLine(value, 0, 60)]);
  const draw = () => {
    const words = wordsOf(asked.search);
    const found = worst.filter((one) => one.benchmark === asked.benchmark && (asked.of === "" || one.of.includes(asked.of))
      && words.every((word) => `${one.test}\n${one.query ?? ""}\n${one.id}\n${one.task_id}`.toLowerCase().includes(word)));
    total.textContent = `${whole(found.length)} of ${whole(worst.filter((one) => one.benchmark === asked.benchmark).length)} items shown`;
    body.replaceChildren(...found.map((one) => leak(one, open)));
    body.scrollTop = 0;
  };
  const ask = (changes) => { Object.assign(asked, changes); draw(); };
  const search = el("input", { type: "search", placeholder: "search test items and queries", "aria-label": "search the leaks", autocomplete: "off", spellcheck: false, oninput: () => ask({ search: search.value }) });
  draw();
  return [el("h3", {}, "The test items that are leaked most"), el("div.controls", {},
    choice("benchmark", all("benchmark"), asked.benchmark, (benchmark) => ask({ benchmark })), choice("found in", [["", "anything"], ...all("of")], "", (of) => ask({ of })), search, total), body];
}

// A test item and the query that holds most of it, side by side.
function leak(one, open) {
  const known = browser?.scoring.position.has(one.id);
  return el("article.card", {}, el("header", {}, el("b", {}, `${percent(one.similarity, 0)} of ${oneLine(one.task_id)}`), one.of.map((of) => el("span.badge", {}, of)),
    known ? el("button.plain", { type: "button", onclick: () => open(one.id) }, "open the pair") : null),
  el("div.ends", {}, el("div.end", {}, el("h4", {}, "Test item"), el("div.excerpt", { tabIndex: 0 }, reading(one.test))),
    el("div.end", {}, el("h4", {}, `Pair ${one.id ?? ""}`), el("div.excerpt", { tabIndex: 0 },
      one.query === null ? el("p.quiet", {}, "The logs hold no text of this pair.") : reading(one.query)))));
}

// Share of each value of a facet in the pool and in every selection.
function compositionSection(report) {
  const section = el("section", { id: "composition" }, el("h2", {}, "Composition"));
  if (!report.composition.length) {
    section.append(el("p.quiet", {}, "What the selections are made of was not measured in these runs."));
    return section;
  }
  const body = el("div.card");
  let pool = report.composition[0], facet = "topic";
  const facets = el("div"), draw = () => {
    const held = pool.facets.find((one) => one.facet === facet) ?? pool.facets[0];
    facets.replaceChildren(switcher("facet", pool.facets.map((one) => [one.facet, one.facet]), held.facet, (chosen) => { facet = chosen; draw(); }));
    body.replaceChildren(facetTable(held, pool));
  };
  const pools = report.composition.length > 1 ? choice("pool", report.composition.map((one, i) => [i, one.name]), 0, (i) => { pool = report.composition[i]; draw(); }) : null;
  section.append(el("p.lead", {}, "What each selector takes, against all pairs it could choose from. Bars: share of the selection over share of the pool, to the right more, to the left less, ending at twice and at half; hollow where one in twenty random draws would be as far off."),
    el("div.controls", {}, facets, pools), body);
  draw();
  return section;
}

function facetTable(held, pool) {
  const columns = [[held.facet], ["pool", "number"], ["pairs", "number"], ...pool.selections.map((one) => [one.label, "number leans"])];
  return el("div", {}, table(columns, held.values.map((value) => [value.value, percent(value.pool / pool.pairs), whole(value.pool),
    ...value.selected.map((count, i) => leaning(count / (pool.selections[i].pairs || 1), value.pool / pool.pairs, value.chance[i]))])),
  el("p.note", {}, `${pool.name}. Languages and topics follow rules (conf/composition): right for most pairs, not for all.`));
}

// A share and how it stands to the pool's.
function leaning(share, usual, chance) {
  const far = Math.max(-1, Math.min(1, Math.log2(share / usual))), width = Math.abs(far) * 24;
  const kind = `${far < 0 ? "less" : "more"}${chance ? " chance" : ""}`;
  return [percent(share), svg("svg", { class: "lean", viewBox: "0 0 52 12", "aria-hidden": "true" },
    svg("line", { x1: 26, x2: 26, y1: 0, y2: 12 }), svg("rect", { class: kind, x: far < 0 ? 26 - width : 26, y: 2, width, height: 8 }))];
}
