"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const sections = all(".part-section");
  const filters = byId("filters");
  const rowsOf = (section) => all(".row", section);
  const headsOf = (section) => all(".board > thead th", section);
  const order = new Map(all(".row").map((row, index) => [row, index]));

  // Rows unfold.
  const setOpen = (row, open) => {
    const button = row.querySelector(".open");
    if (!button) return;
    button.setAttribute("aria-expanded", String(open));
    byId(row.dataset.details).hidden = !open || row.hidden;
  };
  const isOpen = (row) => row.querySelector(".open")?.getAttribute("aria-expanded") === "true";
  const reveal = (row) => {
    setOpen(row, true);
    row.classList.remove("found");
    void row.offsetWidth;
    row.classList.add("found");
    row.scrollIntoView({ block: "start" });
    row.querySelector(".open")?.focus({ preventScroll: true });
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-row]");
    if (link) {
      event.preventDefault();
      reveal(byId("row-" + link.dataset.row));
      return;
    }
    const row = event.target.closest(".row");
    const isSelecting = String(window.getSelection()) !== "";
    if (row && (!isSelecting || event.target.closest(".open"))) setOpen(row, !isOpen(row));
  });

  // Sorting: numbers as numbers, missing values last whichever way.
  const valueOf = (row, column) => {
    const text = row.children[column].dataset.value;
    if (text === undefined) return null;
    return text !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
  };
  const sortSection = (section, column, direction) => {
    const heads = headsOf(section);
    heads.forEach((head, index) =>
      head.setAttribute("aria-sort", index === column ? direction : "none"));
    const sign = direction === "ascending" ? 1 : -1;
    const body = section.querySelector(".board > tbody");
    const compare = (a, b) => {
      const [x, y] = [valueOf(a, column), valueOf(b, column)];
      if (x === null || y === null) {
        if (x !== y) return x === null ? 1 : -1;
      } else if (x !== y) {
        const numeric = typeof x === "number" && typeof y === "number";
        return sign * (numeric ? x - y : String(x).localeCompare(String(y), "en"));
      }
      return order.get(a) - order.get(b);
    };
    for (const row of rowsOf(section).sort(compare)) {
      body.append(row);
      if (row.dataset.details) body.append(byId(row.dataset.details));
    }
  };
  for (const section of sections) {
    headsOf(section).forEach((head, column) =>
      head.querySelector("button").addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "ascending";
        sortSection(section, column, up ? "descending" : "ascending");
      }));
  }
  byId("sort-by").addEventListener("change", (event) => {
    for (const section of sections) {
      const heads = headsOf(section);
      const column = heads.findIndex((head) => head.dataset.key === event.target.value);
      sortSection(section, column, "ascending");
    }
  });

  // Filters.
  const apply = () => {
    const words = byId("filter-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = Object.fromEntries(
      all("[data-filter]", filters).map((select) => [select.dataset.filter, select.value]));
    const fits = (element, name) => !wanted[name] || element.dataset[name] === wanted[name];
    let shown = 0;
    let total = 0;
    for (const section of sections) {
      const isWanted = fits(section, "dataset") && fits(section, "part");
      let models = 0;
      for (const row of rowsOf(section)) {
        const isBaseline = row.dataset.baseline !== undefined;
        const isFit = isWanted && (isBaseline ||
          (fits(row, "hardware") && fits(row, "precision") &&
            words.every((word) => row.dataset.search.includes(word))));
        row.hidden = !isFit;
        if (row.dataset.details) setOpen(row, isOpen(row));
        if (!isBaseline) {
          total += 1;
          models += Number(isFit);
        }
      }
      for (const figure of all("figure", section)) figure.hidden = !fits(figure, "hardware");
      section.hidden = models === 0;
      shown += models;
    }
    byId("nothing").hidden = shown !== 0;
    byId("status").textContent =
      shown === total ? "" : `${shown} of ${total} rows fit the filters`;
  };
  filters.addEventListener("input", apply);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(() => {
    for (const section of sections) sortSection(section, 0, "ascending");
    apply();
  }));

  if (location.hash.startsWith("#row-")) {
    const row = byId(location.hash.slice(1));
    if (row) reveal(row);
  }
})();
