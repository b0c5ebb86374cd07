// The board: rows from arrays, records from compressed blocks.
const board = JSON.parse(byId("board-data").textContent);
const word = (index) => (index === null || index === undefined ? null : board.words[index]);
const metrics = new Map(Object.entries(board.metrics).map(
  ([name, [title, unit, meaning, polarity]]) => [name, { title, unit, meaning, polarity }]));
const columns = board.columns.map(([key, metric, head, group, task, isBase, isSpeed], index) => ({
  key, metric, head, group, task, index, isBase: isBase === 1, isSpeed: isSpeed === 1, ...metrics.get(metric),
}));
const columnOf = new Map(columns.map((column) => [column.key, column]));
const taskTitle = (task) => {
  const title = board.tasks[task] ?? task.replaceAll("_", " ");
  return title.charAt(0).toUpperCase() + title.slice(1);
};
const labelled = (name, unit) => (unit ? `${name}, ${unit}` : name);
const ERROR = columnOf.get("force_rmse_component_mev_per_ang");
const SPEED = columnOf.get("md_us_per_atom_step");

// A line of a table over its array; nothing is unpacked before somebody looks at it.
const place = Object.fromEntries(board.fields.map((field, index) => [field, index]));
const WORDS = new Set(["trained", "description", "kind", "backend", "precision", "hardware", "machine",
  "suite", "leakage", "rest", "note", "told", "training"]);
class Line {
  constructor(packed, table, index, position) {
    this.packed = packed;
    this.table = table;
    this.index = index;
    this.position = position;
  }
  get marks() { return this.packed[place.marks].map(word); }
  get found() { return this.packed[place.found].map(word); }
  get badges() { return this.packed[place.badges].map(([text, why, isGrave]) => [word(text), word(why), isGrave ? "warn" : ""]); }
  get trained() { return word(this.packed[place.trained]) ?? "unknown data"; }
}
for (const [field, at] of Object.entries(place)) {
  if (field in Line.prototype) continue;
  Object.defineProperty(Line.prototype, field,
    WORDS.has(field) ? { get() { return word(this.packed[at]); } } : { get() { return this.packed[at]; } });
}
// A cell is [column, value, low, high, blocks, note], what is missing at the end left out.
const valueOf = (line, column) => {
  for (const cell of line.cells) if (cell[0] === column.index) return cell[1] ?? null;
  return null;
};
const cellOf = (line, column) => {
  const packed = line.cells.find((cell) => cell[0] === column.index);
  if (!packed) return null;
  const [, value = null, low = null, high = null, blocks = null, note] = packed;
  return { value, low, high, blocks, note: word(note) };
};
const rowById = new Map();
let position = 0;
const unpackRow = (packed, table, index) => {
  const row = new Line(packed, table, index, position);
  position += row.seeds?.length ?? 1;
  for (const id of [row.id, ...(row.seeds ?? [])]) rowById.set(id, row);
  return row;
};
const tables = board.tables.map((table) => {
  table.rows = table.rows.map((packed, index) => unpackRow(packed, table, index));
  return table;
});
const allRows = tables.flatMap((table) => table.rows);
const searchText = (row) => {
  row.search ??= [row.name, row.trained, row.description, row.table.dataset, row.backend].join(" ").toLowerCase();
  return row.search;
};

// Records: block i holds the rows starts[i] .. starts[i + 1] - 1, in the board's order.
const starts = board.chunks.reduce((found, count) => [...found, found[found.length - 1] + count], [0]);
const blocks = new Map();
const KEPT_BLOCKS = 8;
const parsed = new Promise((done) => {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", done);
  else done();
});
const decode = async (text) => {
  const binary = atob(text);
  const bytes = Uint8Array.from(binary, (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
};
const blockOf = (place) => {
  let [low, high] = [0, starts.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (starts[middle] <= place) low = middle;
    else high = middle;
  }
  return low;
};
const recordsOf = async (place) => {
  const index = blockOf(place);
  let block = blocks.get(index);
  if (!block) {
    await parsed;  // blocks stand behind the script: the parser may not be there yet
    block = decode(byId(`chunk-${index}`).textContent);
    blocks.set(index, block);
    if (blocks.size > KEPT_BLOCKS) blocks.delete(blocks.keys().next().value);
  }
  return (await block)[place - starts[index]];
};
