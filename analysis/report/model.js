// What the file holds, unpacked, and the questions the page asks of it.

async function unpack() {
  const packed = Uint8Array.from(atob(document.getElementById("data").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

// The measures a person can sort, plot and read by: column -> its name, what it is, and how many digits.
const MEASURES = {
  rmi: ["RMI", "log PPL(Q) − log PPL(Q|A), nats per token: how much the answer helps to predict the query"],
  rank: ["stratified rank", "rank of RMI inside its decile of PPL(Q), 0 lowest, 1 highest"],
  ifd: ["IFD", "NLL(A|Q) / NLL(A): how hard the answer stays once the query is known"],
  log_ppl_q: ["log PPL(Q)", "nats per token: how surprising the query is by itself"],
  log_ppl_q_given_a: ["log PPL(Q|A)", "nats per token: how surprising the query is after the answer"],
  log_ppl_a: ["log PPL(A)", "nats per token: how surprising the answer is by itself"],
  log_ppl_a_given_q: ["log PPL(A|Q)", "nats per token: how surprising the answer is after the query"],
  weak_rmi: ["RMI, weak model", "the weak model's RMI, nats per token"],
  weak_rank: ["stratified rank, weak model", "the weak model's rank of RMI inside its decile"],
  diff: ["Diff", "strong less weak stratified rank: high where only the strong model sees that query and answer belong together"],
  sum: ["Sum", "strong plus weak stratified rank: low where neither model does, high where both do"],
};

class Scoring {
  constructor(raw, data) {
    Object.assign(this, raw);
    this.count = raw.ids.length;
    const column = (values) => Float64Array.from(values, (value) => value ?? NaN);
    this.columns = Object.fromEntries(Object.entries(raw.columns).map(([name, values]) => [name, column(values)]));
    if (this.columns.rank && this.columns.weak_rank) {
      const { rank, weak_rank: weak } = this.columns;
      this.columns.diff = rank.map((value, i) => value - weak[i]);
      this.columns.sum = rank.map((value, i) => value + weak[i]);
    }
    this.measures = Object.keys(MEASURES).filter((name) => this.columns[name]);
    this.texts = data?.pairs ?? null;
    this.quarantine = data?.quarantine ?? [];
    const places = new Map(this.texts?.id.map((id, i) => [id, i]));
    this.place = raw.ids.map((id) => places.get(id) ?? -1);
    this.position = new Map(raw.ids.map((id, i) => [id, i]));
    this.subsets = raw.subsets.map((subset) => {
      const rank = new Int32Array(this.count).fill(-1);
      subset.order.forEach((pair, i) => { rank[pair] = i; });
      return { ...subset, rank };
    });
    this.sources = [...new Set(this.texts?.source ?? [])].filter((source) => source !== null).sort();
    this.kinds = [...new Set(this.noise ?? [])].sort();
    this.sorted = {};
  }

  text(pair, column) { return this.place[pair] < 0 ? "" : this.texts[column][this.place[pair]]; }

  // Share of the pairs whose value is lower.
  percentile(pair, name) {
    this.sorted[name] ??= this.columns[name].filter((value) => !Number.isNaN(value)).sort();
    return below(this.sorted[name], this.columns[name][pair]) / this.sorted[name].length;
  }

  lower(pair) {
    this.lowered ??= new Array(this.count);
    return (this.lowered[pair] ??= `${this.text(pair, "query")}\n${this.text(pair, "answer")}\n${this.ids[pair]}`.toLowerCase());
  }

  // The pairs a list shows, in its order.
  listed(asked) {
    const words = wordsOf(asked.search), subset = this.subsets[asked.subset], column = this.columns[asked.sort];
    const found = [];
    for (let pair = 0; pair < this.count; pair++) {
      if (subset && asked.kept !== "all" && (subset.rank[pair] >= 0) !== (asked.kept === "selected")) continue;
      if (asked.noise !== "" && this.noise?.[pair] !== asked.noise) continue;
      if (asked.source !== "" && this.text(pair, "source") !== asked.source) continue;
      if (asked.range && !within(this.columns[asked.range.column][pair], asked.range)) continue;
      if (words.length && !words.every((word) => this.lower(pair).includes(word))) continue;
      found.push(pair);
    }
    const value = asked.sort === "chosen" && subset ? (pair) => (subset.rank[pair] < 0 ? NaN : subset.rank[pair])
      : asked.sort === "row" ? (pair) => this.text(pair, "row") : (pair) => column[pair];
    return ordered(found, value, asked.descending);
  }

  // The pairs with the lowest and with the highest values of a measure.
  extremes(name, kept, subset) {
    const there = [];
    for (let pair = 0; pair < this.count; pair++) {
      if (!Number.isNaN(this.columns[name][pair]) && (kept !== "selected" || this.subsets[subset].rank[pair] >= 0)) there.push(pair);
    }
    const up = ordered(there, (pair) => this.columns[name][pair], false);
    return [up, [...up].reverse()];
  }
}

// By value, missing ones last, ties in the order they came.
function ordered(pairs, value, descending) {
  const sign = descending ? -1 : 1, held = new Map(pairs.map((pair) => [pair, value(pair)]));
  return pairs.sort((a, b) => {
    const [x, y] = [held.get(a), held.get(b)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return sign * (x - y);
  });
}

const within = (value, range) => value >= range.low && (value < range.high || (range.last && value <= range.high));

// Words of a search, lower case; "words in quotes" are one.
function wordsOf(search) {
  return [...search.toLowerCase().matchAll(/"([^"]+)"|(\S+)/g)].map((found) => found[1] ?? found[2]);
}

// Number of values in the ascending `sorted` that are lower than `value`.
function below(sorted, value) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function quantile(sorted, share) {
  const at = share * (sorted.length - 1), low = Math.floor(at);
  return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

// Spearman's rank correlation of two columns, over the pairs that have both.
function spearman(x, y) {
  const there = [...x.keys()].filter((i) => !Number.isNaN(x[i] + y[i]));
  const [first, second] = [x, y].map((values) => {
    const sorted = Float64Array.from(there, (i) => values[i]).sort();
    const ranks = there.map((i) => below(sorted, values[i]));
    const mean = ranks.reduce((sum, rank) => sum + rank, 0) / ranks.length;
    return ranks.map((rank) => rank - mean);
  });
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  return dot(first, second) / Math.sqrt(dot(first, first) * dot(second, second));
}
