// What a row unfolds to: its commands, and cards with plots, numbers and provenance.
const card = (title, span, ...children) =>
  el("section", { class: `card ${span}`.trim(), "data-card": title }, el("h4", {}, title), ...children);
const note = (text) => el("p", { class: "note" }, text);
const titleOf = (name) => metrics.get(name)?.title ?? name;
const withSpread = (metric) => {
  if (!metric || !isNumber(metric.value)) return "–";
  const half = isNumber(metric.ci_low) && isNumber(metric.ci_high) ? (metric.ci_high - metric.ci_low) / 2 : null;
  return half === null ? number(metric.value) : `${number(metric.value)} ± ${spreadText(metric.value, half)}`;
};
const metricGrid = (list) => grid(["Metric", "Value", "n"],
  list.map((metric) => [titleOf(metric.name), `${withSpread(metric)} ${metrics.get(metric.name)?.unit ?? metric.unit}`, counted(metric.n)]), 1);
const shortDigest = (digest) => String(digest).split(":").pop().slice(0, 12);

// Words as a shell reads them, so that a copied command means what it says.
const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
const commandLine = (words) => words.map((text) => quoted(String(text))).join(" ");
const command = (title, text) => el("div", { class: "command" },
  el("span", { class: "what" }, title),
  el("code", { tabindex: "0" }, text),
  el("button", { type: "button", class: "copy", "data-copy": text, "aria-label": `Copy: ${text}` }, "Copy"));

const commandCard = (row, found) => {
  const tasksOf = new Map();
  for (const [task, digest] of Object.entries(found.tasks)) {
    tasksOf.set(digest, [...(tasksOf.get(digest) ?? []), task]);
  }
  const parts = [...tasksOf].flatMap(([digest, tasks]) => {
    const typed = found.records[digest].payload.command;
    const words = tasks.join(", ").replaceAll("_", " ");
    return [command(`Reproduce ${words}`, `dpbench reproduce ${shortDigest(digest)}`),
      typed.length ? command("As it was run", commandLine(typed)) : null];
  });
  return card("Commands", "wide", parts, el("p", { class: "note" },
    el("button", { type: "button", class: "copy", "data-copy-link": row.id }, "Copy link to this row")));
};

const partsOf = (row, found) => {
  const at = (task) => found.records[found.tasks[task]];
  const newest = Object.values(found.records).map((item) => item.payload)
    .reduce((a, b) => (b.created_at > a.created_at ? b : a));
  const own = at("accuracy")?.payload ?? newest;
  const others = Object.keys(found.tasks)
    .map((task) => [task, at(task).payload.tasks?.[task]]).filter(([, result]) => result);
  return { at, newest, own, others, accuracy: at("accuracy")?.payload.accuracy,
    stability: at("stability")?.payload.stability, throughput: at("throughput")?.payload.throughput };
};
const detailCards = (row, found) => {
  const parts = partsOf(row, found);
  const { accuracy, stability, throughput, newest, own } = parts;
  return el("div", { class: "cards" },
    commandCard(row, found),
    accuracy ? parityCards(accuracy.parity) : null,
    accuracy ? elementCard(accuracy) : null,
    stability ? stabilityCard(stability) : null,
    accuracy ? accuracyCard(accuracy) : null,
    learningCard(newest.provenance.run),
    throughput ? speedCards(throughput) : null,
    parts.others.map(([task, result]) => taskCard(task, result)),
    accuracy?.by_source?.length ? sourceCard(accuracy) : null,
    provenanceCard(row, found, own),
    recordCard(newest, found));
};

// One panel; or, of a training with several seeds, one a seed below what they share.
const rowPanels = async (row) => [detailCards(row, await recordsOf(row.position))];
const seedPanels = async (row) => {
  const found = await Promise.all(row.seeds.map((_, i) => recordsOf(row.position + i)));
  const shown = columns.filter((column) => cellOf(row, column)).slice(0, 8);
  const seedOf = (item) => Object.values(item.records)[0].payload.provenance.run?.seed;
  const values = (item) => {
    const parts = partsOf(row, item);
    const list = [parts.accuracy, parts.stability, parts.throughput, ...parts.others.map(([, result]) => result)];
    const known = byName(list.filter(Boolean).flatMap((result) => result.metrics));
    return shown.map((column) => withSpread(known.get(column.metric)));
  };
  const names = found.map((item) => `Seed ${seedOf(item) ?? "not told"}`);
  return [
    el("div", { class: "cards" }, card("Seeds", "wide",
      grid(["Seed", ...shown.map((column) => labelled(column.head, column.unit))],
        [...found.map((item, i) => [names[i], ...values(item)]),
          ["All", ...shown.map((column) => {
            const { value, low, high } = cellOf(row, column);
            return withSpread({ value, ci_low: low, ci_high: high });
          })]], 1),
      note("The line of the table is the mean over the seeds; its interval knows of the frames and of the seeds."))),
    ...found.map((item, i) => {
      const panel = el("details", { class: "seed", open: i === 0 }, el("summary", {}, names[i]));
      const fill = () => { if (panel.open && panel.children.length === 1) panel.append(detailCards(row, item)); };
      fill();
      panel.addEventListener("toggle", fill);
      return panel;
    }),
  ];
};

// Fill a row's panel; what was decoded once is there at once.
const fillDetails = async (row, panel, task) => {
  if (panel.dataset.filled !== undefined) return;
  panel.dataset.filled = "";
  panel.append(el("p", { class: "note" }, "Reading the record …"));
  try {
    if (typeof DecompressionStream === "undefined") {
      throw new Error("this browser cannot decompress; a newer one can, and dpbench results show");
    }
    panel.replaceChildren(...await (row.seeds ? seedPanels(row) : rowPanels(row)));
  } catch (error) {
    panel.replaceChildren(el("p", { class: "note" }, `The record cannot be shown: ${error.message}`));
  }
  panel.dispatchEvent(new CustomEvent("filled", { bubbles: true, detail: { task } }));
};
