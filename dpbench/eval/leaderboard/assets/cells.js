// One row of a table as elements.
const cell = (attributes, ...children) => el("td", { role: "cell", ...attributes }, ...children);
const under = (text) => el("span", { class: "under" }, text);
const badge = (text, why, kind = "") => el("span", { class: `badge ${kind}`.trim(), "data-tip": why, title: why }, text);

// How many independent blocks and seeds the ranked number rests on.
const FEWEST_BLOCKS = 5;
const basisWords = (row, column, found) => {
  if (column !== ERROR || row.isBaseline) return null;
  const blocks = isNumber(found.blocks) ? plural(found.blocks, "block") : null;
  const told = [blocks, row.seeds ? plural(row.seeds.length, "seed") : null].filter(Boolean).join(" · ");
  return told ? under(told) : null;
};
const rankText = (row) => (row.rank === row.rankLast ? String(row.rank) : `${row.rank}–${row.rankLast}`);
const rankCell = (row) => {
  if (row.rank === null) return cell({ class: "num rank", title: "takes no rank" }, "–");
  const words = row.rank === row.rankLast ? `Rank ${row.rank}`
    : `Rank ${row.rank} to ${row.rankLast}: better than the rest of the table, or not, by more than chance`;
  return cell({ class: "num rank" },
    el("span", { class: `medal medal${Math.min(row.rank, 4)}`, title: words }, rankText(row)));
};
const modelCell = (row) => el("th", { role: "rowheader", scope: "row", class: "model" },
  el("button", { type: "button", class: "open", "aria-expanded": "false", "aria-controls": `details-${row.id}` }, row.name),
  el("span", { class: "under" }, el("bdi", {}, `trained on ${row.trained}`), " · ", el("code", {}, row.digest)),
  row.marks.map((mark) => badge(mark, "takes no rank", "warn")),
  row.badges.map(([text, why, kind]) => badge(text, why, kind)));

const intervalWords = (column, { low, high, blocks }) => {
  const few = isNumber(blocks) && blocks < FEWEST_BLOCKS ? `: ${plural(blocks, "independent block")} are too few` : "";
  const interval = isNumber(low) && isNumber(high) ? `95 % interval ${number(low)} to ${number(high)} ${column.unit}` : `no interval${few}`;
  return isNumber(blocks) && !few ? `${interval}, from ${plural(blocks, "independent block")}` : interval;
};
const numberCell = (row, column, largest) => {
  const found = cellOf(row, column);
  const label = { "data-label": labelled(column.head, column.unit), class: "num" };
  if (!found || found.value === null) return cell(label, el("span", { class: "value" }, "–"), noteLines(found));
  const { value, low, high } = found;
  const half = isNumber(low) && isNumber(high) ? (high - low) / 2 : null;
  const share = column === ERROR && largest > 0 && value <= largest ? (100 * value) / largest : null;
  const inner = [el("span", { class: "value" }, number(value)), half === null ? null : el("small", {}, `±${spreadText(value, half)}`)];
  return cell(label,
    row.isBaseline ? inner : el("a", { class: "cell", href: `#row=${row.id}&task=${column.task}`, tabindex: "-1",
      "data-open": row.id, "data-task": column.task, "data-tip": intervalWords(column, found) }, inner),
    basisWords(row, column, found), noteLines(found), share === null ? null : el("i", { class: "bar", style: `--share:${share.toFixed(1)}%` }));
};
const noteLines = (found) => (found?.note ? found.note.split("\n").map(under) : null);

const leakageCell = (row) => cell({ class: "leakage", "data-label": board.leakage[0], "data-tip": row.told },
  row.found.map((text) => el("span", { class: "badge warn" }, text)),
  row.found.length ? null : el("span", {}, row.rest), row.note ? under(row.note) : null);
const hardwareCell = (row) => cell({ class: "hardware", "data-label": "Runs on" },
  el("span", {}, `${row.backend} · ${row.precision}`), under(row.hardware));

const rowElement = (row, view, largest) => {
  const line = el("tr", { role: "row", id: `row-${row.id}`, class: row.rank === null ? "row unranked" : "row", "data-id": row.id },
    rankCell(row), modelCell(row), view.columns.map((column) => numberCell(row, column, largest)),
    leakageCell(row),
    view.isOverview ? cell({ class: "num", "data-label": "Params" }, counted(row.parameters)) : null,
    hardwareCell(row));
  return line;
};
const baselineElement = (baseline, view, largest) => {
  const row = { ...baseline, isBaseline: true };
  return el("tr", { role: "row", class: "row baseline" },
    cell({ class: "num rank", title: "A baseline takes no rank" }, "–"),
    el("th", { role: "rowheader", scope: "row", class: "model" }, el("span", { class: "name" }, baseline.name),
      under(`fitted on ${baseline.fittedOn}; zero forces`), badge("baseline", "What a model would score that sees which elements are there, but no geometry")),
    view.columns.map((column) => numberCell(row, column, largest)),
    cell({ class: "leakage", "data-label": board.leakage[0] }, "–"),
    view.isOverview ? cell({ class: "num", "data-label": "Params" }, counted(baseline.rank)) : null,
    cell({ class: "hardware", "data-label": "Runs on" }, "–"));
};
const publishedElement = (line, view, largest) => {
  const row = { ...line, isBaseline: true };
  return el("tr", { role: "row", class: "row baseline published" },
    cell({ class: "num rank", title: "Published, not measured here: takes no rank" }, "–"),
    el("th", { role: "rowheader", scope: "row", class: "model" }, el("span", { class: "name" }, line.name),
      under(clipped(line.told, 44)), badge("published", `Not measured here. ${line.told}`, "told")),
    view.columns.map((column) => numberCell(row, column, largest)),
    cell({ class: "leakage", "data-label": board.leakage[0] }, "–"),
    view.isOverview ? cell({ class: "num", "data-label": "Params" }, "–") : null,
    cell({ class: "hardware", "data-label": "Runs on" }, "–"));
};
const groupElement = (label, view) => el("tr", { role: "row", class: "group" },
  el("th", { role: "rowheader", scope: "rowgroup", colspan: view.width }, label));
const detailsElement = (row, view) => el("tr", { role: "row", class: "details", id: `details-${row.id}`, "data-details": row.id },
  el("td", { role: "cell", colspan: view.width }, el("div", { class: "panel", role: "region", "aria-label": `Record of ${row.name}` })));
