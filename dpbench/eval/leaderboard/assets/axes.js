// Axes of the plots: scales, ticks, and the SVG that draws them.
const scale = (low, high, start, stop, kind = "linear") => {
  const inner = kind === "log" ? Math.log10 : (v) => v;
  const [from, to] = [inner(low), inner(high)];
  const at = (value) => {
    const share = to > from ? (inner(value) - from) / (to - from) : 0.5;
    return Math.round((start + share * (stop - start)) * 10) / 10;
  };
  return Object.assign(at, { low, high, start, stop, kind });
};
const linearTicks = (low, high) => {
  if (!(high > low)) return [low];
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((m) => m * power >= rough * 0.999) * power;
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i <= Math.floor(high / step + 1e-9); i += 1) ticks.push(i * step);
  return ticks;
};
const logTicks = (low, high) => {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const factors = last - first <= 3 ? [1, 2, 5] : [1];
  const ticks = [];
  for (let p = first; p <= last; p += 1) for (const m of factors) ticks.push(m * 10 ** p);
  return ticks.filter((v) => v >= low * 0.999 && v <= high * 1.001);
};
const ticksOf = (at) => {
  const ticks = at.kind === "log" ? logTicks(at.low, at.high) : [];
  return ticks.length >= 3 ? ticks : linearTicks(at.low, at.high);
};
const padded = (values, kind, share = 0.08) => {
  let [low, high] = [Infinity, -Infinity];
  for (const v of values) {
    low = Math.min(low, v);
    high = Math.max(high, v);
  }
  if (kind === "log") {
    const factor = Math.max((high / low) ** share, 1.25);
    return [low / factor, high * factor];
  }
  const air = (high - low) * share || Math.max(Math.abs(high), 1) * share;
  return [low - air, high + air];
};
const tickText = (value, ticks) => {
  if (value === 0) return "0";
  const gaps = ticks.slice(1).map((v, i) => Math.abs(v - ticks[i])).filter((gap) => gap > 0);
  const smallest = Math.min(...gaps, Math.abs(value));
  const digits = Math.max(0, -Math.floor(Math.log10(smallest) + 1e-9));
  if (Math.abs(value) >= 1e5 || digits > 4) return shortExponent(value.toExponential(0));
  return value.toFixed(digits).replace("-", "\u2212");
};
const leftMargin = (y) => {
  const ticks = ticksOf(y);
  return 36 + 6.8 * Math.max(0, ...ticks.map((tick) => tickText(tick, ticks).length));
};
const frame = (x, y, xLabel, yLabel) => {
  const parts = [];
  const [xTicks, yTicks] = [ticksOf(x), ticksOf(y)];
  for (const value of xTicks) {
    parts.push(shape("path", { d: `M${x(value)} ${y.start}V${y.stop}`, class: "grid" }),
      shape("text", { x: x(value), y: y.start + 16, class: "tick mid" }, tickText(value, xTicks)));
  }
  for (const value of yTicks) {
    parts.push(shape("path", { d: `M${x.start} ${y(value)}H${x.stop}`, class: "grid" }),
      shape("text", { x: x.start - 7, y: y(value) + 3.5, class: "tick end" }, tickText(value, yTicks)));
  }
  const [midX, midY] = [(x.start + x.stop) / 2, (y.start + y.stop) / 2];
  parts.push(shape("text", { x: midX, y: y.start + 35, class: "axis mid" }, xLabel),
    shape("text", { transform: `translate(14 ${midY}) rotate(-90)`, class: "axis mid" }, yLabel));
  return parts;
};
const picture = (width, height, label, kind, ...children) =>
  shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: `plot ${kind}`.trim() },
    shape("title", {}, label), ...children);
