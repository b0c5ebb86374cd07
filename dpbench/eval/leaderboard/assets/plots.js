// Plots: accuracy against speed, parity, lines over time or size, bars by element.
const NAMED_POINTS = 40;

// Points that no other beats in both speed and error, fastest first.
const paretoFront = (points) => {
  const front = [];
  const sorted = [...points].sort((a, b) => a.speed - b.speed || a.error - b.error);
  for (const point of sorted) {
    if (!front.length || point.error < front[front.length - 1].error) front.push(point);
  }
  return front;
};

// Points: {id, name, speed, error, low, high, isRanked, off}; all on one machine.
const paretoPlot = (points, label) => {
  const [width, height] = [640, 360];
  const front = paretoFront(points.filter((point) => point.isRanked));
  const best = [...points].sort((a, b) => a.error - b.error);
  const named = new Set([...front, ...best].slice(0, NAMED_POINTS));
  const heights = points.flatMap((p) => (named.has(p) ? [p.low, p.error, p.high] : [p.error]));
  const y = scale(...padded(heights.filter((v) => v > 0), "log"), height - 48, 14, "log");
  const x = scale(...padded(points.map((p) => p.speed), "log"), leftMargin(y), width - 16, "log");
  const rest = new Set(points.filter((p) => !named.has(p)).map((p) => `M${Math.round(x(p.speed))} ${Math.round(y(p.error))}h0`));
  const path = front.map((p, i) => (i ? `H${x(p.speed)}V${y(p.error)}` : `M${x(p.speed)} ${y.stop}V${y(p.error)}`));
  return picture(width, height, label, "pareto",
    frame(x, y, "MD step, µs/atom/step  (faster ←)", "Force RMSE, meV/Å  (better ↓)"),
    rest.size ? shape("path", { d: [...rest].join(""), class: "cloud rest" }) : null,
    front.length ? shape("path", { d: `${path.join("")}H${x.stop}`, class: "front" }) : null,
    [...named].map((point) => paretoMark(point, x, y)),
    pointLabels([...named], x, y, width));
};
const paretoMark = (point, x, y) => {
  const off = point.off ? `; ${point.off}` : "";
  const words = `${point.name}: ${number(point.error)} meV/Å, ${number(point.speed)} µs/atom/step${off}`;
  return shape("a", { href: `#row=${point.id}`, "data-open": point.id, "aria-label": words, "data-tip": words },
    shape("path", { d: `M${x(point.speed)} ${y(Math.max(point.low, y.low))}V${y(point.high)}`, class: "whisker" }),
    shape("circle", { cx: x(point.speed), cy: y(point.error), r: 5.5, class: point.isRanked ? "dot" : "dot hollow" }));
};
const pointLabels = (points, x, y, width) => {
  const placed = [];
  return [...points].sort((a, b) => y(a.error) - y(b.error)).slice(0, 16).map((point) => {
    const text = clipped(point.name, 28);
    const span = 7.2 * text.length;
    const isLeft = x(point.speed) + span + 12 > width;
    const start = isLeft ? x(point.speed) - 10 - span : x(point.speed) + 10;
    let at = y(point.error) - 8;
    while (placed.some(([left, right, other]) => Math.abs(at - other) < 18 && start < right && start + span > left)) at += 1;
    placed.push([start, start + span, at]);
    return shape("text", { x: isLeft ? start + span : start, y: at + 4, class: isLeft ? "name end" : "name" }, text);
  });
};

const parityPlot = (reference, predicted, quantity, unit) => {
  const pairs = reference.map((value, i) => [value, predicted[i]]).filter(([a, b]) => isNumber(a) && isNumber(b));
  if (!pairs.length) return null;
  const size = 340;
  const [low, high] = padded(pairs.flat(), "linear", 0.05);
  const y = scale(low, high, size - 46, 10);
  const x = scale(low, high, leftMargin(y), size - 10);
  const dots = new Set(pairs.map(([a, b]) => `M${Math.round(x(a))} ${Math.round(y(b))}h0`));
  return picture(size, size, `Parity plot of ${pairs.length} values of ${quantity}`, "",
    frame(x, y, `Reference ${quantity}, ${unit}`, `Predicted ${quantity}, ${unit}`),
    shape("path", { d: `M${x.start} ${y.start}L${x.stop} ${y.stop}`, class: "diagonal" }),
    shape("path", { d: [...dots].join(""), class: "cloud" }));
};

// Lines: {name, points: [[x, y]...], band: [[x, low, high]...], id}. Axes: {label, kind}.
const linePlot = (lines, xAxis, yAxis, label, { width = 340, height = 270, steps = false, dots = false } = {}) => {
  const isFit = ([a, b]) => isNumber(a) && isNumber(b) && (xAxis.kind !== "log" || a > 0) && (yAxis.kind !== "log" || b > 0);
  const kept = lines.map((line) => ({ ...line, points: line.points.filter(isFit) })).filter((line) => line.points.length > (dots ? 0 : 1));
  if (!kept.length) return null;
  const key = kept.length > 1 ? 20 * Math.ceil(kept.length / 2) + 6 : 0;
  const all = kept.flatMap((line) => line.points);
  const wide = all.map(([, b]) => b).concat(yAxis.range ?? []);
  const y = scale(...(yAxis.range ?? padded(wide, yAxis.kind)), height - 46, 10, yAxis.kind);
  const xs = all.map(([a]) => a);
  const x = scale(...(xAxis.kind === "log" ? padded(xs, "log") : [Math.min(xAxis.from ?? 0, ...xs), Math.max(...xs)]), leftMargin(y), width - 12, xAxis.kind);
  const draw = ({ points }) => points.map(([a, b], i) => (i && steps ? `H${x(a)}V${y(b)}` : `${i ? "L" : "M"}${x(a)} ${y(b)}`)).join("");
  const parts = kept.map((line, i) => [
    line.points.length > 1 ? shape("path", { d: draw(line), class: `line line${i % 6}` }) : null,
    dots ? line.points.map(([a, b]) => shape("circle", { cx: x(a), cy: y(b), r: 3, class: `mark mark${i % 6}`, "data-tip": `${line.name}: ${number(b)} at ${number(a)}` })) : null,
  ]);
  const names = key ? kept.map((line, i) => {
    const [left, top] = [x.start + (i % 2) * ((width - x.start) / 2), height + 12 + 20 * Math.floor(i / 2)];
    return [shape("path", { d: `M${left} ${top}h16`, class: `line line${i % 6}` }),
      shape("text", { x: left + 21, y: top + 4 }, clipped(line.name, Math.floor((width - x.start) / 14)))];
  }) : null;
  return picture(width, height + key, label, "", frame(x, y, xAxis.label, yAxis.label), parts, names);
};

// Bars: [{name, value, low, high, tip}], from the zero line.
const barPlot = (bars, label, unit) => {
  const shown = bars.filter((bar) => isNumber(bar.value)).slice(0, 24);
  if (!shown.length) return null;
  const [width, line, left] = [340, 26, 58];
  const ends = shown.flatMap((bar) => [0, bar.value, bar.low ?? bar.value, bar.high ?? bar.value]);
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const x = scale(low, high === low ? low + 1 : high, left, width - 62);
  const parts = shown.map((bar, i) => {
    const top = 8 + i * line;
    const [from, to] = [x(0), x(bar.value)].sort((a, b) => a - b);
    return shape("g", { "data-tip": bar.tip ?? null },
      shape("text", { x: left - 8, y: top + 13, class: "end name" }, clipped(bar.name, 7)),
      shape("rect", { x: from, y: top + 2, width: Math.max(to - from, 1), height: 14, rx: 3, class: `bar-shape ${bar.kind ?? ""}` }),
      isNumber(bar.low) && isNumber(bar.high) ? shape("path", { d: `M${x(bar.low)} ${top + 9}H${x(bar.high)}`, class: "whisker over" }) : null,
      shape("text", { x: x(Math.max(bar.value, bar.high ?? bar.value, 0)) + 6, y: top + 13 }, `${bar.value > 0 && bar.signed ? "+" : ""}${number(bar.value)}`));
  });
  const height = 8 + shown.length * line + 22;
  return picture(width, height, label, "bars", shape("path", { d: `M${x(0)} 4V${height - 24}`, class: "zero" }), parts,
    shape("text", { x: left, y: height - 6, class: "axis" }, unit));
};
