// The pane in which a pair, or a refused record, is read.

class Reader {
  // move(step) goes to the next or previous entry of the list it was opened from; closed() tells the page.
  constructor(move, closed) {
    this.body = el("div.reading", { id: "reading" });
    this.where = el("span.quiet");
    this.closer = el("button.plain", { type: "button", "aria-label": "close (Escape)", title: "close (Escape)", onclick: () => this.close() }, "✕");
    const step = (by, sign, name) => el("button.plain", { type: "button", "aria-label": name, title: name, onclick: () => move(by) }, sign);
    this.node = el("aside", { id: "reader", role: "dialog", "aria-label": "pair", tabIndex: -1, hidden: true },
      el("header", {}, step(-1, "‹", "previous (left arrow)"), step(1, "›", "next (right arrow)"), this.where, this.closer), this.body);
    this.closed = closed;
    this.node.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by && !event.target.closest("pre")) move(by);
    });
  }

  show(nodes, where, words) {
    if (this.node.hidden) this.from = document.activeElement;
    this.body.replaceChildren(...nodes);
    this.where.textContent = where;
    if (this.node.hidden) this.toggle(true);
    this.node.scrollTop = 0;
    this.node.focus({ preventScroll: true });
    markWords(this.body, words);
  }

  // Where it covers the page, the page behind it is out of reach.
  toggle(open) {
    const covers = open && matchMedia("(max-width: 999px)").matches;
    inPlace(() => {
      this.node.hidden = !open;
      document.body.classList.toggle("reading-open", open);
      for (const other of document.querySelectorAll("main, nav")) other.inert = covers;
    });
  }

  close() {
    if (this.node.hidden) return;
    this.toggle(false);
    this.from?.focus({ preventScroll: true });
    this.closed();
  }
}

// Does `change`, which lays the page out anew, and keeps what stands in the middle of the window where it was.
function inPlace(change) {
  const anchor = document.elementFromPoint(innerWidth * 0.25, innerHeight * 0.5)?.closest("article, .card, section");
  const before = anchor?.getBoundingClientRect().top;
  change();
  if (anchor) scrollBy({ top: anchor.getBoundingClientRect().top - before, behavior: "instant" });
}

// Everything known about a pair.
function pairNodes(scoring, pair) {
  return [el("div.badges", {}, badges(scoring, pair, true)), measures(scoring, pair), ...texts(scoring, pair),
    el("p.quiet.small", {}, `id ${scoring.ids[pair]}`, scoring.place[pair] >= 0 ? `, row ${whole(scoring.text(pair, "row"))} of the source` : "",
      scoring.text(pair, "source") ? `, from ${oneLine(scoring.text(pair, "source"))}` : "")];
}

function texts(scoring, pair) {
  if (scoring.place[pair] < 0) return [el("p.quiet", {}, "These logs hold no texts: make the report from the run folder to read the pairs.")];
  return [el("h4", {}, "Query"), el("div.text.query", {}, reading(scoring.text(pair, "query"))),
    el("h4", {}, "Answer"), el("div.text", {}, reading(scoring.text(pair, "answer")))];
}

function badges(scoring, pair, all) {
  const kind = scoring.noise?.[pair];
  const chosen = scoring.subsets.filter((subset) => subset.rank[pair] >= 0), others = scoring.subsets.filter((subset) => subset.rank[pair] < 0);
  return [kind && kind !== "clean" ? el("span.badge.noise", {}, `spoiled: ${kind}`) : null,
    ...chosen.map((subset) => el("span.badge.in", {}, all ? `selected by ${subset.label}, rank ${whole(subset.rank[pair] + 1)}` : subset.label)),
    all && others.length ? el("span.quiet.small", {}, `left out by ${others.map((subset) => subset.label).join(", ")}`) : null];
}

// The pair's values, each with its place among all pairs.
function measures(scoring, pair) {
  const value = (name) => scoring.columns[name]?.[pair] ?? NaN;
  const rows = scoring.measures.filter((name) => !Number.isNaN(value(name))).map((name) => {
    const share = scoring.percentile(pair, name), bar = el("span.place");
    bar.style.setProperty("--at", percent(share));
    return el("tr", {}, el("th", { scope: "row", title: MEASURES[name][1] }, MEASURES[name][0]), el("td.number", {}, number(value(name), 3)),
      el("td", {}, bar), el("td.quiet", {}, `above ${percent(share, 0)}`, el("span.more", {}, " of the pairs")));
  });
  const decile = Number.isNaN(value("decile")) ? [] : [el("p.quiet.small", {}, `decile ${value("decile") + 1} of 10 by PPL(Q)`)];
  return el("div", {}, el("table.measures", {}, el("tbody", {}, rows)), ...decile);
}

// A record that makes no pair, and why.
function refusedNodes(refused) {
  let text = refused.record ?? "";
  try {
    text = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // not JSON: that may be why it was refused; it is shown as it was found
  }
  return [el("div.badges", {}, el("span.badge.noise", {}, shown(refused.reason ?? "no reason"))), el("h4", {}, `Record at row ${whole(refused.row)}`),
    el("pre.code.wrapped", { tabIndex: 0 }, el("code", {}, coloured(text, "json")))];
}
