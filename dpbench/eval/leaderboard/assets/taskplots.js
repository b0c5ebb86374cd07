// Plots of what tasks keep beside their numbers.
const survivalPlot = (samples) => {
  const lines = Object.entries(samples).filter(([, found]) => Array.isArray(found?.alive))
    .map(([ramp, { progress, alive }]) => ({ name: ramp.replaceAll("_", " "), points: progress.map((x, i) => [100 * x, 100 * alive[i]]) }));
  const ends = lines.map(({ name, points }) => `${name}: ${number(points[points.length - 1]?.[1])} % to the end`);
  return lines.length ? linePlot(lines, { label: "Part of the ramp, %" }, { label: "Runs that still hold, %", range: [0, 105] },
    `Survival curve; ${ends.join(", ")}`, { steps: true }) : null;
};
const failureGrid = (samples) => {
  const rows = Object.entries(samples).flatMap(([ramp, found]) => (Array.isArray(found?.systems) ? found.systems : []).flatMap((system, i) =>
    (system.runs ?? []).map((run) => [ramp, system.name ?? system.source ?? `structure ${i + 1}`, String(run.seed ?? "–"), run.failure_step === null ? "held" : `${run.status} at step ${counted(run.failure_step)}`, run.reason ?? "–"])));
  return rows.length ? grid(["Ramp", "Start", "Seed", "Outcome", "Why"], rows.slice(0, 60), 9) : null;
};
const energyPlot = (samples) => {
  const runs = (Array.isArray(samples.systems) ? samples.systems : []).flatMap((system) => (system.runs ?? []).filter((run) => run.energy_mev_per_atom));
  return runs.length ? linePlot(runs.slice(0, 6).map((run) => ({ name: `seed ${run.seed}`, points: run.time_fs.map((t, i) => [t / 1000, run.energy_mev_per_atom[i]]) })),
    { label: "Time, ps" }, { label: "Energy shift, meV/atom" }, `Total energy along ${plural(runs.length, "run")}`) : null;
};
const CURVES = { rdf: ["g(r)", "Distance, Å"], adf: ["Angles", "Angle, °"], vdos: ["Vibrations", "Frequency, THz"] };
const curvePlots = (samples) => {
  const curves = (Array.isArray(samples.systems) ? samples.systems : []).find((system) => system.curves)?.curves ?? {};
  return Object.entries(CURVES).filter(([name]) => curves[name]).map(([name, [title, label]]) => {
    const { x, reference, model } = curves[name];
    const line = (told, values) => ({ name: told, points: (values ?? []).map((v, i) => [x[i], v]) });
    return linePlot([line("model", model), line("reference", reference)], { label }, { label: title }, `${title}: model and reference`);
  });
};
const volumePlot = (samples) => {
  const lines = Object.entries(samples).filter(([, found]) => Array.isArray(found?.volume_ang3_per_atom))
    .map(([name, found]) => {
      const least = Math.min(...found.energy_ev_per_atom.filter(isNumber));
      return { name, points: found.volume_ang3_per_atom.map((v, i) => [v, 1000 * (found.energy_ev_per_atom[i] - least)]).sort(([a], [b]) => a - b) };
    });
  if (!lines.length) return null;
  const low = Math.min(...lines.flatMap(({ points }) => points.map(([v]) => v)));
  return linePlot(lines, { label: "Volume, Å³/atom", from: low }, { label: "Energy above minimum, meV/atom" }, `Energy against volume of ${plural(lines.length, "structure")}`, { dots: true });
};
const phononPlot = (samples) => {
  const found = Object.values(samples).filter((item) => Array.isArray(item?.reference_thz));
  const [reference, model] = ["reference_thz", "model_thz"].map((key) => found.flatMap((item) => item[key].flat()));
  return found.length ? parityPlot(reference, model, "frequency", "THz") : null;
};
const sizePlot = (samples) => {
  const lines = Object.entries(samples.families ?? {}).filter(([, family]) => family).map(([name, family]) => ({ name,
    points: family.sizes.filter((size) => size.levels?.md_us_per_atom_step).map((size) => [size.natoms, size.levels.md_us_per_atom_step.median]) }));
  return linePlot(lines, { label: "Atoms", kind: "log" }, { label: "µs/atom/step  (faster ↓)", kind: "log" }, `Cost of dynamics against atoms, ${plural(lines.length, "family").replace("familys", "families")}`, { dots: true });
};
const taskPlots = (samples) => [survivalPlot(samples), failureGrid(samples), energyPlot(samples), curvePlots(samples), volumePlot(samples), phononPlot(samples), sizePlot(samples)];

// Plots under a table: cost against atoms a machine, and what more data did.
const sizeFigures = (table, kept) => {
  const shown = new Set(kept.map((row) => row.id));
  const machines = new Map();
  for (const curve of table.sizes) {
    if (shown.has(curve.row)) machines.set(curve.hardware, [...(machines.get(curve.hardware) ?? []), curve]);
  }
  return [...machines].map(([hardware, curves]) => {
    const differ = (field) => new Set(curves.map((curve) => curve[field])).size > 1;
    const lines = curves.map((curve) => ({ points: curve.points,
      name: [curve.name, differ("backend") ? curve.backend : null, differ("family") ? curve.family : null].filter(Boolean).join(", ") }));
    const plot = linePlot(lines, { label: "Atoms", kind: "log" }, { label: "MD step, µs/atom/step  (faster ↓)", kind: "log" },
      `Cost per atom and step against atoms of ${plural(lines.length, "row")} on ${hardware}`, { width: 640, height: 360, dots: true });
    return plot ? figure("Cost against size", hardware, plot, { "data-hardware": hardware }) : null;
  }).filter(Boolean);
};
const dataFigures = (table, kept) => {
  const shown = new Set(kept.map((row) => row.id));
  return table.steps.filter((step) => shown.has(step.from.row) && shown.has(step.to.row)).map((step) => {
    const bars = [["all", ...step.all], ...step.elements].filter(([, a, b]) => isNumber(a) && isNumber(b)).map(([name, before, after]) => ({
      name, value: after - before, signed: true, kind: after > before ? "worse" : "better",
      tip: `${name}: ${number(before)} to ${number(after)} meV/Å` }));
    const told = bars.map((bar) => bar.tip).join("; ");
    const plot = barPlot(bars, `Change of the force RMSE from ${step.from.data} to ${step.to.data}: ${told}`, "Change of force RMSE, meV/Å");
    return plot ? figure(`${step.from.data} → ${step.to.data}`, `What the other data did to ${step.to.name}, by element`, plot, { class: "narrow" }) : null;
  }).filter(Boolean);
};
const sectionFigures = (table, rows) => [...paretoFigures(table, rows), ...sizeFigures(table, rows), ...dataFigures(table, rows)];
