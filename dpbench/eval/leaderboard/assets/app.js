// The page: filters, permalinks, keyboard, tooltips, copying.
const FILTERS = ["suite", "dataset", "part", "hardware", "backend", "precision", "trained", "leakage"];
const TABLE_FIELDS = new Set(["dataset", "part"]);
const form = byId("filters");
const fieldOf = (row, name) => (TABLE_FIELDS.has(name) ? row.table[name] : row[name]);
const state = { words: "", filters: {}, group: "overview", sort: { key: "rank", direction: "ascending" }, row: null };
let view = groupView("overview");
const sections = tables.map((table) => new Section(table));
const suiteSections = board.suites.map((suite) => new SuiteSection(suite));
const sectionOf = new Map(sections.map((section) => [section.table, section]));

// Choices of a filter: what occurs, and what a link asks for.
const fillSelects = () => {
  for (const name of FILTERS) {
    const select = byId(`filter-${name}`);
    const found = new Set(name === "dataset" || name === "part" ? tables.map((table) => table[name])
      : allRows.map((row) => fieldOf(row, name)).filter((value) => value !== null));
    const values = name === "part" ? [...found] : [...found].sort();
    select.append(el("option", { value: "" }, "All"), ...values.slice(0, 1000).map((value) => el("option", { value }, value)));
    const isSplit = allRows.some((row) => fieldOf(row, name) === null);
    select.parentElement.hidden = values.length + isSplit < 2;
  }
  byId("columns").append(...board.groups.map(([key, title]) => el("option", { value: key }, title)));
  byId("columns").parentElement.hidden = board.groups.length < 2;
};
const fillSort = () => {
  byId("sort-by").replaceChildren(el("option", { value: "rank" }, "Rank"),
    ...view.columns.map((column) => el("option", { value: column.key }, column.head)),
    el("option", { value: "model" }, "Model"), el("option", { value: "leakage" }, board.leakage[0]));
  byId("sort-by").value = state.sort.key;
};

const show = () => {
  if (state.group !== view.group || view.gap !== (NARROW.matches ? 10 : 0)) view = groupView(state.group);
  const known = ["rank", "model", "leakage", "parameters", "hardware", ...sections.flatMap((section) => section.viewOf(state.group).columns.map((column) => column.key))];
  if (!known.includes(state.sort.key)) state.sort = { key: "rank", direction: "ascending" };
  fillSort();
  const words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = Object.entries(state.filters).filter(([, value]) => value);
  const fits = (row) => chosen.every(([name, value]) => fieldOf(row, name) === value)
    && words.every((text) => searchText(row).includes(text));
  const shown = sections.reduce((sum, section) => sum + section.show(fits, state.sort, state.group), 0);
  for (const section of suiteSections) section.filter({ ...state.filters, words: state.words });
  byId("nothing").hidden = shown !== 0;
  byId("status").textContent = shown === allRows.length ? "" : `${counted(shown)} of ${plural(allRows.length, "row")} fit the filters`;
};

// The address says what is shown, so that it can be sent to somebody.
const fragment = () => {
  const told = new URLSearchParams();
  if (state.words) told.set("q", state.words);
  for (const [name, value] of Object.entries(state.filters)) if (value) told.set(name, value);
  if (state.group !== "overview") told.set("columns", state.group);
  const { key, direction } = state.sort;
  if (key !== "rank" || direction !== "ascending") told.set("sort", direction === "ascending" ? key : `${key}:desc`);
  if (state.row) told.set("row", state.row);
  return told.toString();
};
const writeAddress = () => {
  const text = fragment();
  if (text !== location.hash.slice(1)) history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
};
const readAddress = () => {
  const text = location.hash.slice(1);
  const told = new URLSearchParams(text.startsWith("row-") ? `row=${text.slice(4)}` : text);
  state.words = told.get("q") ?? "";
  state.filters = Object.fromEntries(FILTERS.map((name) => [name, told.get(name) ?? ""]));
  const group = told.get("columns");
  state.group = board.groups.some(([key]) => key === group) ? group : "overview";
  const [key, way] = (told.get("sort") ?? "rank").split(":");
  state.sort = { key, direction: way === "desc" ? "descending" : "ascending" };
  state.row = rowById.has(told.get("row")) ? told.get("row") : null;
  return told.get("task");
};
const writeForm = () => {
  byId("filter-text").value = state.words;
  byId("columns").value = state.group;
  for (const name of FILTERS) {
    const select = byId(`filter-${name}`);
    const value = state.filters[name] ?? "";
    if (value && ![...select.options].some((option) => option.value === value)) select.append(el("option", { value }, value));
    select.value = value;
    if (value) select.parentElement.hidden = false;
  }
};

// Rows unfold.
const showCard = (row, task) => {
  const panel = document.getElementById(`details-${row.id}`);
  const title = task ? taskTitle(task) : null;
  const target = title ? [...(panel?.querySelectorAll(".card") ?? [])].find((item) => item.dataset.card === title) : null;
  if (!target) return;
  target.scrollIntoView({ block: "center", behavior: "instant" });
  target.classList.add("found");
};
const openRow = (row, task = null) => {
  const section = sectionOf.get(row.table);
  state.row = row.id;
  const waiting = !document.getElementById(`details-${row.id}`);
  section.rows.toggle(row, true);
  const node = section.rows.reveal(row);
  if (!node) return;
  node.classList.remove("found");
  void node.offsetWidth;
  node.classList.add("found");
  node.querySelector(".open").focus({ preventScroll: true });
  if (waiting) section.body.addEventListener("filled", () => showCard(row, task), { once: true });
  else showCard(row, task);
  writeAddress();
};
const toggleRow = (row) => {
  const isOpen = !open.has(row.id);
  state.row = isOpen ? row.id : null;
  sectionOf.get(row.table).rows.toggle(row, isOpen);
  writeAddress();
};

const copyText = async (button, text) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea", { class: "hidden" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const said = button.textContent;
  button.textContent = "Copied";
  byId("status").textContent = `Copied: ${text}`;
  setTimeout(() => { button.textContent = said === "Copied" ? "Copy" : said; }, 1500);
};

document.addEventListener("click", (event) => {
  const at = (selector) => event.target.closest(selector);
  const button = at("[data-copy], [data-copy-link]");
  if (button) {
    const link = `${location.href.split("#")[0]}#row=${button.dataset.copyLink}`;
    copyText(button, button.dataset.copy ?? link);
    return;
  }
  const sorted = at("[data-sort]");
  if (sorted) {
    const key = sorted.dataset.sort;
    const isUp = state.sort.key === key && state.sort.direction === "ascending";
    state.sort = { key, direction: isUp ? "descending" : "ascending" };
    show();
    writeAddress();
    return;
  }
  const link = at("[data-open]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    openRow(rowById.get(link.dataset.open), link.dataset.task);
    return;
  }
  const row = rowById.get(at(".row")?.dataset.id);
  const isSelecting = String(window.getSelection()) !== "";
  if (row && !link && (!isSelecting || at(".open"))) toggleRow(row);
});

// Arrows walk through the rows and, left and right, through a row's numbers.
document.addEventListener("keydown", (event) => {
  const line = event.target.closest?.(".row[data-id]");
  if (!line || event.ctrlKey || event.altKey || event.metaKey) return;
  const rows = sectionOf.get(rowById.get(line.dataset.id).table).rows;
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12, Home: -Infinity, End: Infinity };
  if (event.key in steps) {
    event.preventDefault();
    const far = rows.items.length;
    rows.step(line.dataset.id, Math.max(-far, Math.min(far, steps[event.key])));
  } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    const stops = [...line.querySelectorAll(".open, a.cell")];
    const next = stops[stops.indexOf(event.target.closest(".open, a.cell")) + (event.key === "ArrowRight" ? 1 : -1)];
    if (next) {
      event.preventDefault();
      next.focus();
    }
  }
});

// Tooltips, for the mouse and for the keyboard.
const tip = byId("tip");
const showTip = (target) => {
  tip.hidden = !target;
  if (!target) return;
  tip.textContent = target.dataset.tip;
  const [box, own] = [target.getBoundingClientRect(), tip.getBoundingClientRect()];
  const left = Math.max(8, Math.min(box.left + box.width / 2 - own.width / 2, window.innerWidth - own.width - 8));
  const above = box.top - own.height - 8;
  Object.assign(tip.style, { left: `${left}px`, top: `${above > 4 ? above : box.bottom + 8}px` });
};
const tipOf = (event) => event.target.closest?.("[data-tip]") ?? null;
document.addEventListener("mouseover", (event) => showTip(tipOf(event)));
document.addEventListener("focusin", (event) => showTip(event.target.matches(":focus-visible") ? tipOf(event) : null));
document.addEventListener("focusout", () => showTip(null));
document.addEventListener("keydown", (event) => { if (event.key === "Escape") showTip(null); });

// Filters.
const readForm = () => {
  state.words = byId("filter-text").value;
  state.group = byId("columns").value || "overview";
  for (const name of FILTERS) state.filters[name] = byId(`filter-${name}`).value;
  const key = byId("sort-by").value;
  if (key && key !== state.sort.key && NARROW.matches) state.sort = { key, direction: "ascending" };
  show();
  writeAddress();
};
form.addEventListener("input", readForm);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(() => {
  Object.assign(state, { words: "", filters: {}, group: "overview", sort: { key: "rank", direction: "ascending" } });
  writeForm();
  show();
  writeAddress();
}));

let isWaiting = false;
const updateSoon = () => {
  if (isWaiting) return;
  isWaiting = true;
  requestAnimationFrame(() => {
    isWaiting = false;
    for (const section of [...suiteSections, ...sections]) section.update();
  });
};
window.addEventListener("scroll", () => { showTip(null); updateSoon(); }, { passive: true });
window.addEventListener("resize", updateSoon);
NARROW.addEventListener("change", show);
window.addEventListener("hashchange", () => {
  if (!location.hash.includes("=") && !location.hash.startsWith("#row-") && location.hash !== "") return;
  start();
});

const start = () => {
  const task = readAddress();
  writeForm();
  show();
  const row = rowById.get(state.row);
  if (row) openRow(row, task);
};
fillSelects();
byId("tables").replaceChildren(...[...suiteSections, ...sections].map((section) => section.node));
for (const section of suiteSections) section.show();
start();
performance.mark("board-ready");
// For tests: numbers as this page writes them.
window.dpbenchNumbers = (values) => values.map((value) => `${number(value)} ${spreadText(value, 0.02)}`);
