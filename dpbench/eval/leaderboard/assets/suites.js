// Tables of suites: scores by frozen bounds, beside what others published.
const scoreCell = (row) => {
  if (row.score === null) return cell({ class: "num", "data-label": "Score", "data-tip": row.why }, "–",
    row.why ? el("small", {}, clipped(row.why, 44)) : null);
  const ends = isNumber(row.low) ? `${number(row.low)} with every number at the better end of its interval, ${number(row.high)} at the worse` : "no interval";
  return cell({ class: "num", "data-label": "Score", "data-tip": ends },
    el("span", { class: "value" }, number(row.score)),
    isNumber(row.low) ? el("small", {}, `${number(row.low)}–${number(row.high)}`) : null);
};
const suiteCell = (metric, [value, error, status, id]) => {
  const [name, task, data, part, weight, perfect, useless] = metric;
  const { title, unit } = metrics.get(name);
  const bounds = `${title} on ${data}:${part}; ${number(perfect)} ${unit} is perfect, ${number(useless)} useless; weight ${number(weight)}`;
  const shown = value === null ? (status === "failed" ? "failed" : "–") : number(value);
  const inner = el("span", { class: "value" }, shown);
  return cell({ class: "num", "data-label": labelled(`${title} (${data}:${part})`, unit), "data-tip": bounds },
    id && rowById.has(id) ? el("a", { class: "cell", href: `#row=${id}&task=${task}`, "data-open": id, "data-task": task }, inner) : inner,
    isNumber(error) ? el("i", { class: "bar", style: `--share:${(100 * error).toFixed(1)}%` }) : null);
};
const suiteRow = (suite, shown, row) => el("tr", { role: "row", class: row.rank === null ? "row unranked" : "row" },
  cell({ class: "num rank" }, row.rank === null ? "–" : el("span", { class: `medal medal${Math.min(row.rank, 4)}` }, rankText(row))),
  el("th", { role: "rowheader", scope: "row", class: "model" },
    el("span", { class: "name" }, row.name),
    under(row.told ? clipped(row.told, 44) : [`trained on ${row.trained}`, row.seeds > 1 ? plural(row.seeds, "seed") : null].filter(Boolean).join(" · ")),
    row.told ? badge("published", `Not measured here. ${row.told}`, "told") : under(`${row.runsOn} · ${row.hardware}`),
    row.told ? null : row.marks.map((mark) => badge(mark, "takes no rank", "warn")),
    row.leakage ? badge(row.leakage[0], row.leakage[1], "warn") : null),
  scoreCell(row),
  shown.map((i) => suiteCell(suite.metrics[i], row.cells[i])));

class SuiteSection {
  constructor(suite) {
    Object.assign(this, { suite, sort: { key: "rank", direction: "ascending" } });
    // Numbers of weight 0 are folded away as long as others count.
    this.order = suite.metrics.map((_, i) => i);
    this.counting = this.order.filter((i) => suite.metrics[i][4] > 0);
    const nfolded = this.counting.length ? this.order.length - this.counting.length : 0;
    this.shown = nfolded ? this.counting : this.order;
    this.head = el("thead", { role: "rowgroup" });
    this.body = el("tbody", { role: "rowgroup" });
    this.grid = el("table", { role: "table", class: "board suite", "aria-label": `Scores of the suite ${suite.label}` }, this.head, this.body);
    this.fold = nfolded ? el("button", { type: "button", class: "fold", "aria-pressed": "false" }, `${plural(nfolded, "number")} that do not count`) : null;
    this.fold?.addEventListener("click", () => this.toggle());
    this.frame = el("div", {}, this.grid);
    this.node = el("section", { class: "part-section suite-section", id: `suite-${suite.label}`, "aria-label": `Suite ${suite.label}` },
      el("div", { class: "title" }, el("h2", {}, suite.title, el("span", { class: "part" }, suite.label)),
        el("p", { class: "facts" }, `${plural(suite.rows.filter((row) => !row.told).length, "row")} measured`, " · file ", el("code", {}, shortDigest(suite.digest)))),
      el("p", { class: "note lead" }, suite.description),
      this.fold, this.frame);
    this.lay();
    this.rows = new RowWindow(null, this.body, null);
    this.grid.addEventListener("click", (event) => {
      const key = event.target.closest("[data-suite-sort]")?.dataset.suiteSort;
      if (key === undefined) return;
      const isUp = this.sort.key === key && this.sort.direction === "ascending";
      this.sort = { key, direction: isUp ? "descending" : "ascending" };
      this.show();
    });
  }

  // Lays the heads of the columns that are shown.
  lay() {
    const { suite, shown } = this;
    const heads = [["rank", "#", "", "By score; rows whose intervals overlap share ranks"], ["name", "Model", "", ""],
      ["score", "Score", "0 to 1, smaller is better", "Weighted geometric mean of the errors between the frozen bounds: 0 is perfect, 1 useless"],
      ...shown.map((i) => {
        const [name, , data, part, weight] = suite.metrics[i];
        const { title, unit, meaning } = metrics.get(name);
        return [String(i), title, [unit, `${data}:${part}`].filter(Boolean).join(" · "), `${meaning} Weight ${number(weight)}.`];
      })];
    this.head.replaceChildren(el("tr", { role: "row", "aria-rowindex": "1" }, heads.map(([key, title, unit, meaning]) => {
      const head = headCell(key, title, unit, meaning, key !== "name");
      delete head.firstChild.dataset.sort;
      head.firstChild.dataset.suiteSort = key;
      return head;
    })));
    this.view = { width: heads.length, gap: NARROW.matches ? 10 : 0 };
    this.grid.setAttribute("aria-colcount", String(heads.length));
    const wide = heads.length > 9 ? { class: "sideways", tabindex: "0", role: "region", "aria-label": "Scrolls sideways" } : {};
    for (const name of ["class", "tabindex", "role", "aria-label"]) {
      if (name in wide) this.frame.setAttribute(name, wide[name]);
      else this.frame.removeAttribute(name);
    }
  }

  toggle() {
    const isAll = this.shown.length === this.order.length;
    this.shown = isAll ? this.counting : this.order;
    this.fold.setAttribute("aria-pressed", String(!isAll));
    if (!this.shown.includes(Number(this.sort.key))) this.sort = { key: "rank", direction: "ascending" };
    this.lay();
    this.show();
  }

  show() {
    const { key, direction } = this.sort;
    for (const head of this.grid.querySelectorAll("thead th")) head.setAttribute("aria-sort", head.dataset.key === key ? direction : "none");
    const read = { rank: (row, i) => i, name: (row) => row.name, score: (row) => row.score }[key] ?? ((row) => row.cells[Number(key)][0]);
    const sign = direction === "descending" ? -1 : 1;
    // Speeds of two machines never stand in one list: machine by machine.
    const isSpeed = columns.some((column) => column.isSpeed && column.metric === this.suite.metrics[Number(key)]?.[0]);
    const known = this.suite.rows.map((row, i) => [read(row, i), i, row]);
    known.sort(([x, i, a], [y, j, b]) => {
      if (isSpeed && a.hardware !== b.hardware) return (a.hardware ?? "~") < (b.hardware ?? "~") ? -1 : 1;
      if (x === null || y === null) return x === y ? i - j : x === null ? 1 : -1;
      return x === y ? i - j : sign * (x < y ? -1 : 1);
    });
    this.grid.setAttribute("aria-rowcount", String(known.length + 1));
    this.rows.show(known.map(([, , row]) => ({ key: row.id, make: () => suiteRow(this.suite, this.shown, row) })), this.view);
  }

  filter(chosen) {
    this.node.hidden = Object.entries(chosen).some(([name, value]) => value && !(name === "suite" && value === this.suite.label));
    if (!this.node.hidden) this.rows.update();
  }

  update() {
    if (!this.node.hidden) this.rows.update();
  }
}
