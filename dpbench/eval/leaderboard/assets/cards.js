// The cards of one row's details.
const parityCards = (parity) => [
  ["Energy parity", parityPlot(parity.energy_reference, parity.energy_predicted, "energy", "eV/atom")],
  ["Force parity", parityPlot(parity.force_reference, parity.force_predicted, "force", "eV/Å")],
].filter(([, plot]) => plot).map(([title, plot]) => card(title, "", plot));

const THREE = [["energy_rmse_per_atom_mev", "Energy RMSE, meV/atom"],
  ["force_rmse_component_mev_per_ang", "Force RMSE, meV/Å"], ["force_rmse_relative_percent", "Force rel., %"]];
const byName = (list) => new Map(list.map((metric) => [metric.name, metric]));
const three = (list) => THREE.map(([name]) => number(byName(list).get(name)?.value));

const elementCard = (accuracy) => {
  const found = Object.entries(accuracy.by_element ?? {}).map(([symbol, list]) => [symbol, byName(list)]);
  if (!found.length) return null;
  const bars = found.map(([symbol, list]) => {
    const metric = list.get("force_rmse_component_mev_per_ang") ?? [...list.values()][0];
    return { name: symbol, value: metric?.value, low: metric?.ci_low, high: metric?.ci_high,
      tip: `${symbol}: ${withSpread(metric)} meV/Å` };
  });
  const names = [...new Set(found.flatMap(([, list]) => [...list.keys()]))].slice(0, 4);
  return card("Error by element", "",
    barPlot(bars, `Force RMSE by element: ${bars.map((bar) => `${bar.name} ${number(bar.value)}`).join(", ")} meV/Å`, "Force RMSE, meV/Å"),
    grid(["Element", ...names.map((name) => `${titleOf(name)}, ${metrics.get(name)?.unit ?? ""}`)],
      found.map(([symbol, list]) => [symbol, ...names.map((name) => withSpread(list.get(name)))]), 1));
};

const accuracyCard = (accuracy) => {
  const off = accuracy.fidelity;
  return card("Accuracy", "", metricGrid(accuracy.metrics),
    off ? note(`Against ${off.reference}, ${off.nframes} frames: force off by ` +
      `${number(off.force_mae_component_mev_per_ang)} meV/Å in the mean, ` +
      `${number(off.force_max_component_mev_per_ang)} at most; energy by ` +
      `${number(off.energy_max_per_atom_mev)} meV/atom at most.`) : null,
    accuracy.nonfinite_frames ? note(`No finite answer on ${plural(accuracy.nonfinite_frames, "frame")}.`) : null);
};

const sourceCard = (accuracy) => card(`By source (${counted(accuracy.nsources)})`, "wide",
  grid(["Source", "sha256", "Frames", ...THREE.map(([, head]) => head)],
    accuracy.by_source.map((item) => [item.source, item.sha256.slice(0, 12), counted(item.nframes), ...three(item.metrics)]), 2));

const stabilityCard = (stability) => {
  const protocol = stability.protocol;
  const outcome = (run) => (run.status === "completed" ? `${run.steps_done} steps` : `exploded at ${run.failure_step}: ${run.reason}`);
  const lines = stability.runs.map((run) => ({ name: `seed ${run.seed}`, points: run.time.map((t, i) => [t / 1000, run.energy[i]]) }));
  return card("Energy conservation", "",
    linePlot(lines, { label: "Time, ps" }, { label: "Energy shift, meV/atom" },
      `Total energy along ${lines.length} constant-energy runs: ${stability.runs.map(outcome).join("; ")}`),
    note(`${protocol.ensemble}, ${protocol.natoms} atoms, ${number(protocol.temperature)} K at the start, ` +
      `${number(protocol.timestep)} fs, ${protocol.steps} steps, first ${Math.round(100 * protocol.discard)} % dropped from the regression.`),
    grid(["Seed", "Outcome", "Drift, meV/atom/ps", "Closest, Å"],
      stability.runs.map((run) => [String(run.seed), outcome(run), number(run.drift), number(run.min_distance)]), 2));
};

// A run tells its curve as columns or as a list of rows; either is drawn.
const learningCard = (run) => {
  const points = run?.curve?.points;
  if (!Array.isArray(points) || points.length < 2) return null;
  const series = (key, name) => ({ name, points: points.map((point) => [point.step, 1000 * point[key]]) });
  const plot = linePlot([series("rmse_f_validation", "validation"), series("rmse_f_train", "training")],
    { label: "Optimiser steps", kind: points[0].step > 0 ? "log" : undefined }, { label: "Force RMSE, meV/Å", kind: "log" },
    `Learning curve: force RMSE over ${points[points.length - 1].step} steps`);
  return plot ? card("Learning curve", "", plot) : null;
};

const speedCards = (throughput) => {
  const protocol = throughput.protocol;
  const rows = throughput.sizes.flatMap((size) => (size.status === "ok"
    ? Object.entries(size.quantities).map(([name, t]) => [counted(size.natoms), titleOf(name),
      `${number(t.median)} [${number(t.quartile_low)}, ${number(t.quartile_high)}]`, number(t.katom_step_per_s), number(t.ns_per_day), number(t.warmup_s)])
    : [[counted(size.natoms), size.status.replaceAll("_", " "), "–", "–", "–", "–"]]));
  const names = [...new Set(throughput.sizes.flatMap((size) => Object.keys(size.quantities)))];
  const lines = names.map((name) => ({ name: titleOf(name),
    points: throughput.sizes.filter((size) => size.quantities[name]).map((size) => [size.natoms, size.quantities[name].median]) }));
  const plot = throughput.sizes.length > 1 ? linePlot(lines, { label: "Atoms", kind: "log" }, { label: "µs/atom/step  (faster ↓)", kind: "log" },
    `Cost per atom and step against atoms, ${throughput.sizes.length} sizes`, { dots: true }) : null;
  return [
    plot ? card("Cost against size", "", plot) : null,
    card("Speed", "two",
      grid(["Atoms", "Quantity", "µs/atom/step [IQR]", "katom-step/s", `ns/day (${number(protocol.timestep)} fs)`, "Warm-up, s"], rows, 2),
      note(`${protocol.repeats} windows of about ${number(protocol.window_s)} s each, the quantities taking turns; warm-up left out. Raw samples are in the record.`)),
  ];
};

// Any other task: what it measured, how, and its curves.
const taskCard = (task, result) => {
  const facts = Object.entries(result.protocol ?? {}).filter(([, value]) => typeof value !== "object")
    .map(([key, value]) => [key.replaceAll("_", " "), String(value)]);
  return card(taskTitle(task), "",
    result.status === "ok" ? null : note(`${result.status.replaceAll("_", " ")}${result.reason ? `: ${result.reason}` : ""}`),
    taskPlots(result.samples ?? {}),
    result.metrics.length ? metricGrid(result.metrics) : null,
    facts.length ? el("details", {}, el("summary", {}, "Protocol"), factsList(facts)) : null,
    el("p", { class: "note" }, `code ${shortDigest(result.code)}, ${number(result.wall_time_s)} s`));
};

const provenanceCard = (row, found, record) => {
  const run = record.provenance.run ?? {};
  const chain = [
    ["Row", Object.entries(found.tasks).map(([task, digest]) => [`record, ${task}`, digest])],
    ["Run", runFacts(run)],
    ["Model", [["digest", record.model.digest], ["file", record.model.path], ["kind", record.model.kind]]],
    ["Split", splitFacts(row, record)],
    ["Dataset", datasetFacts(record)],
  ];
  if (record.foreign) chain.splice(1, 0, ["Backend", backendFacts(record)]);
  const sources = record.provenance.sources;
  const more = record.provenance.nsources - sources.length;
  return card("Where the row comes from", "wide", el("ol", { class: "chain" },
    chain.map(([name, facts]) => el("li", {}, el("strong", {}, name), factsList(facts))),
    el("li", {}, el("strong", {}, `Source files (${counted(record.provenance.nsources)})`),
      grid(["Path", "sha256", "Format", "Code", "Frames"], sources.map((s) => [s.path, s.sha256, s.format,
        s.code_version ? `${s.code} ${s.code_version}` : s.code, counted(s.nframes)]), 4),
      more > 0 ? note(`and ${counted(more)} more`) : null)));
};
const runFacts = (run) => {
  const known = ["run_id", "seed", "steps", "engine", "precision", "wall_time_s", "device"]
    .filter((key) => run[key] !== null && run[key] !== undefined).map((key) => [key.replaceAll("_", " "), String(run[key])]);
  if (Array.isArray(run.command)) known.push(["command", commandLine(run.command)]);
  else if (run.command) known.push(["command", String(run.command)]);
  return known.length ? known : [["run", "not known to the model file"]];
};
const splitFacts = (row, record) => {
  const split = record.split;
  const facts = split ? [["digest", split.digest], ["made by", `${split.strategy}, seed ${split.seed}`],
    ["frames", Object.entries(split.parts).map(([name, count]) => `${name} ${count}`).join(", ")]]
    : [["split", "none: the whole version was evaluated"]];
  return [...facts, ["leakage", row.told]];
};
const datasetFacts = (record) => {
  const training = record.provenance.training_dataset;
  const facts = [["evaluated on", `${record.dataset.label}:${record.part}`], ["digest", record.dataset.digest]];
  if (training && training.digest !== record.dataset.digest) facts.push(["trained on", training.label], ["digest", training.digest]);
  const keys = record.provenance.theory_conflicts ?? [];
  if (keys.length) facts.push(["level of theory", `differs from that of the training frames in ${keys.join(", ")}`]);
  return facts;
};
const backendFacts = (record) => {
  const program = record.foreign;
  const facts = [["program", `${record.backend}, ${program.licence}`],
    ["versions", Object.entries(program.versions).map(([name, version]) => `${name} ${version}`).join(", ")]];
  if (program.converted) facts.push(["model file", program.converted]);
  facts.push(["sandbox", program.sandbox]);
  if (record.failure) facts.push(["failed in", record.failure]);
  if (program.calls) facts.push(["asking it", `${program.calls} calls, ${number(program.worker_s)} s of its own, ${number((1e6 * program.overhead_s) / program.calls)} µs a call beside them`]);
  return facts;
};

const recordCard = (record, found) => {
  const { hardware, software } = record;
  const commit = software.commit ? ` (${software.commit.slice(0, 10)}${software.dirty ? ", with changes" : ""})` : "";
  const facts = [["made", record.created_at], ["mode", record.mode], ["hardware", hardware.label],
    ["cores", `${hardware.cores} physical, ${hardware.logical} usable`], ["memory", `${hardware.memory_gib} GiB`],
    ["load before", hardware.load === null ? "–" : String(hardware.load)], ["system", `${hardware.os} ${hardware.machine}`],
    ["dpbench", `${software.dpbench}${commit}`], ["python", software.python],
    ...Object.entries(software.packages), ...Object.entries(software.environment)];
  return card("Record", "wide", factsList(facts), Object.entries(found.records).map(([digest, { payload, cut }]) => {
    const short = Object.entries(cut).map(([name, count]) => `${name} (${counted(count)})`).join(", ");
    const text = el("pre", { tabindex: "0" });
    const whole = el("details", {}, el("summary", {}, `Record ${digest.slice(0, 12)} as JSON`),
      short ? note(`Shortened here: ${short}. dpbench results show ${digest.slice(0, 12)} --json prints all.`) : null, text);
    whole.addEventListener("toggle", () => { text.textContent ||= JSON.stringify(payload, null, 1); });
    return whole;
  }));
};
