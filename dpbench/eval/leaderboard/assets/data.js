// The board: rows from arrays, records from compressed blocks.
const board = JSON.parse(byId("board-data").textContent);
const word = (index) => (index === null || index === undefined ? null : board.words[index]);
const metrics = new Map(Object.entries(board.metrics).map(
  ([name, [title, unit, meaning, polarity]]) => [name, { title, unit, meaning, polarity }]));
const columns = board.columns.map(([key, metric, head, group, task, isBase, isSpeed], index) => ({
  key, metric, head, group, task, index, isBase: isBase === 1, isSpeed: isSpeed === 1, ...metrics.get(metric),
}));
const columnOf = new Map(columns.map((column) => [column.key, column]));
const ERROR = columnOf.get("force_rmse_component_mev_per_ang");
const SPEED = columnOf.get("md_us_per_atom_step");

const cellsOf = (packed) => {
  const cells = new Array(columns.length).fill(null);
  for (const [index, value = null, low = null, high = null, n = null, blocks = null, note] of packed) {
    cells[index] = { value, low, high, n, blocks, note: word(note) };
  }
  return cells;
};
const WORDS = ["trained", "description", "kind", "backend", "precision", "hardware", "machine",
  "suite", "leakage", "rest", "note", "told", "training"];
const rowById = new Map();
let position = 0;
const unpackRow = (packed, table, index) => {
  const row = { table, index, position };
  board.fields.forEach((field, place) => { row[field] = packed[place]; });
  position += row.seeds?.length ?? 1;
  for (const field of WORDS) row[field] = word(row[field]);
  row.trained ??= "unknown data";
  row.marks = row.marks.map(word);
  row.found = row.found.map(word);
  row.badges = row.badges.map(([text, why]) => [word(text), word(why)]);
  row.cells = cellsOf(row.cells);
  for (const id of [row.id, ...(row.seeds ?? [])]) rowById.set(id, row);
  return row;
};
const tables = board.tables.map((table) => {
  table.rows = table.rows.map((packed, index) => unpackRow(packed, table, index));
  for (const baseline of table.baselines) baseline.cells = cellsOf(baseline.cells);
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
