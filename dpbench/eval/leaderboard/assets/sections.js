// Sections, one a table: head, rows in their order, plots.
const NARROW = window.matchMedia("(max-width: 1180px)");
const inGroup = (column, group) => (group === "overview"
  ? column.isBase && column.metric !== "energy_rmse_per_atom_mev"
  : column.group === group);
const WIDEST = 12;  // columns that a window holds
const groupView = (group, isThere = () => true, published = new Set()) => {
  const isOverview = group === "overview";
  const shown = columns.filter((column) => inGroup(column, group) && (isOverview || isThere(column)));
  // What others published stands in the first view, beside the ranked error.
  const extra = isOverview ? columns.filter((column) => published.has(column.index) && !shown.includes(column)) : [];
  shown.splice(shown.indexOf(ERROR), 0, ...extra);
  return { group, isOverview, columns: shown, width: shown.length + (isOverview ? 5 : 4), gap: NARROW.matches ? 10 : 0 };
};

const headCell = (key, title, unit, meaning, isNumeric) => el("th",
  { role: "columnheader", scope: "col", "data-key": key, class: isNumeric ? "num" : null, "aria-sort": "none" },
  el("button", { type: "button", "data-sort": key, title: meaning }, el("span", {}, title), unit ? el("small", {}, unit) : null));
const tableHead = (view) => el("thead", { role: "rowgroup" }, el("tr", { role: "row", "aria-rowindex": "1" },
  headCell("rank", "#", "", "Rank by force RMSE; rows that the data cannot tell apart share ranks", true),
  headCell("model", "Model", "", "A click on a row opens its record", false),
  view.columns.map((column) => headCell(column.key, column.head, column.unit, column.meaning, true)),
  headCell("leakage", board.leakage[0], "of test frames", board.leakage[1], false),
  view.isOverview ? headCell("parameters", "Params", "", "Trainable numbers", true) : null,
  headCell("hardware", "Runs on", "", "Backend, precision, hardware", false)));

// What a sort compares: numbers as numbers, missing values last whichever way.
const sortValue = (key) => {
  if (key === "model") return (row) => row.name;
  if (key === "leakage") return (row) => row.severity;
  if (key === "parameters" || key === "hardware") return (row) => row[key];
  const column = columnOf.get(key);
  return column ? (row) => valueOf(row, column) : null;
};
const inOrder = (rows, key, direction) => {
  const read = sortValue(key);
  if (!read) return direction === "descending" ? [...rows].reverse() : [...rows];
  const sign = direction === "descending" ? -1 : 1;
  const known = new Map(rows.map((row) => [row, read(row) ?? null]));
  const collate = new Intl.Collator("en").compare;
  return [...rows].sort((a, b) => {
    const [x, y] = [known.get(a), known.get(b)];
    if (x === null || y === null) {
      if (x !== y) return x === null ? 1 : -1;
    } else if (x !== y) {
      return sign * (typeof x === "number" && typeof y === "number" ? x - y : collate(String(x), String(y)));
    }
    return a.index - b.index;
  });
};

// Speeds of two machines never stand in one list: each machine has its own.
const itemsOf = (table, rows, sort) => {
  const asItem = (row) => ({ key: row.id, row, make: (view, largest) => rowElement(row, view, largest) });
  const lines = [...table.baselines.map((line) => [line, baselineElement]), ...table.published.map((line) => [line, publishedElement])];
  const baselines = rows.length ? lines.map(([line, make]) => ({ key: line.id,
    make: (view, largest) => make(line, view, largest) })) : [];
  const column = columnOf.get(sort.key);
  const machines = new Map(rows.map((row) => [row.machine, row.hardware]));
  if (column?.isSpeed && machines.size > 1) {
    const labels = [...machines.values()];
    const sorted = [...machines].sort(([, a], [, b]) => (a < b ? -1 : Number(a > b)));
    return sorted.flatMap(([machine, label]) => {
      const isTwice = labels.filter((other) => other === label).length > 1;
      const words = `On ${label}${isTwice ? ` (${machine.slice(0, 6)})` : ""}`;
      const own = rows.filter((row) => row.machine === machine);
      return [{ key: `group ${machine}`, make: (view) => groupElement(words, view) },
        ...inOrder(own, sort.key, sort.direction).map(asItem)];
    }).concat(baselines);
  }
  if (sort.key === "rank") return [...inOrder(rows, sort.key, sort.direction).map(asItem), ...baselines];
  // A baseline is sorted in, as a row of its own.
  const mixed = [...rows, ...lines.map(([line], i) => ({ ...line, index: rows.length + i + 1e6 }))];
  const made = new Map(baselines.map((item) => [item.key, item]));
  return rows.length ? inOrder(mixed, sort.key, sort.direction).map((row) => made.get(row.id) ?? asItem(row)) : [];
};

class Section {
  constructor(table) {
    this.table = table;
    const split = table.split ? [" · split ", el("code", {}, shortDigest(table.split))] : " · whole version";
    this.body = el("tbody", { role: "rowgroup" });
    this.grid = el("table", { role: "table", class: "board", "aria-label": `Models on ${table.dataset}:${table.part}, ranked by force RMSE` }, this.body);
    this.frame = el("div", {}, this.grid);
    this.figures = el("div", { class: "figures" });
    this.node = el("section", { class: "part-section", id: `table-${table.id}`, "aria-label": `${table.dataset}:${table.part}` },
      el("div", { class: "title" },
        el("h2", {}, el("bdi", {}, table.dataset), el("span", { class: "part" }, table.part)),
        el("p", { class: "facts" }, `${plural(table.nframes, "frame")}, ${plural(table.natoms, "atom")}`, split)),
      this.frame, this.figures);
    this.rows = new RowWindow(table, this.body, null);
    this.views = new Map();
  }

  // Columns of a group, less those that no row of this table has a number for.
  viewOf(group) {
    this.measured ??= new Set(this.table.rows.flatMap((row) => row.cells.map(([index]) => index)));
    const key = `${group} ${NARROW.matches}`;
    const published = new Set(this.table.published.flatMap((line) => line.cells.map(([index]) => index)));
    if (!this.views.has(key)) this.views.set(key, groupView(group, (column) => this.measured.has(column.index), published));
    return this.views.get(key);
  }

  // Show the rows that fit, in an order. Returns how many there are.
  show(fits, sort, group) {
    const view = this.viewOf(group);
    if (view !== this.view) {
      this.grid.querySelector("thead")?.remove();
      this.grid.prepend(tableHead(view));
      this.grid.setAttribute("aria-colcount", String(view.width));
      this.view = view;
      const isWide = view.width > WIDEST;
      this.frame.className = isWide ? "sideways" : "";
      if (isWide) dress(this.frame, { tabindex: "0", role: "region", "aria-label": "Table that scrolls sideways" }, []);
      else for (const name of ["tabindex", "role", "aria-label"]) this.frame.removeAttribute(name);
    }
    const kept = this.table.rows.filter(fits);
    for (const head of this.grid.querySelectorAll("thead th")) {
      head.setAttribute("aria-sort", head.dataset.key === sort.key ? sort.direction : "none");
    }
    this.node.hidden = kept.length === 0;
    const items = itemsOf(this.table, kept, sort);
    this.grid.setAttribute("aria-rowcount", String(items.length + 1));
    this.kept = kept;
    this.areFiguresOld = true;
    this.rows.show(items, view);
    this.update();
    return kept.length;
  }

  // Called on every scroll: rows in and out, plots once they come near.
  update() {
    if (this.node.hidden) return;
    this.rows.update();
    if (!this.areFiguresOld) return;
    const top = this.figures.getBoundingClientRect().top;
    if (isVirtual && (top > window.innerHeight + MARGIN || top < -4 * MARGIN)) return;
    this.areFiguresOld = false;
    this.figures.replaceChildren(...sectionFigures(this.table, this.kept));
  }
}

// Figures under a table; accuracy against speed, one plot a machine.
const figure = (title, words, plot, attributes = {}) => el("figure", attributes,
  el("figcaption", {}, el("strong", {}, title), words ? under(words) : null), plot);
const toldApart = (row, rows) => {
  const others = rows.filter((other) => other.name === row.name);
  const differ = (field) => new Set(others.map((other) => other[field])).size > 1;
  return [row.name, differ("backend") ? row.backend : null, differ("precision") ? row.precision : null].filter(Boolean).join(" ");
};
const paretoFigures = (table, rows) => {
  const machines = new Map();
  for (const row of rows) {
    const [error, speed] = [cellOf(row, ERROR), cellOf(row, SPEED)];
    if (!(error?.value > 0) || !(speed?.value > 0)) continue;
    const points = machines.get(row.machine) ?? machines.set(row.machine, []).get(row.machine);
    points.push({ id: row.id, row, speed: speed.value, error: error.value, low: error.low ?? error.value,
      high: error.high ?? error.value, isRanked: row.rank !== null, off: speed.note?.split("\n")[1] });
  }
  return [...machines].sort(([a], [b]) => (a < b ? -1 : 1)).map(([machine, points]) => {
    const label = points[0].row.hardware;
    const isMany = points.length > NAMED_POINTS;
    for (const point of points) point.name = isMany ? point.row.name : toldApart(point.row, rows);
    return figure("Accuracy against speed", label,
      paretoPlot(points, `Force RMSE against MD cost of ${plural(points.length, "row")} on ${label}`), { "data-hardware": label });
  });
};
