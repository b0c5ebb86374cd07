// Elements and numbers. Text goes in as text: nothing here reads markup.
const byId = (id) => document.getElementById(id);
const dress = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(3)) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
  return node;
};
const el = (name, attributes = {}, ...children) =>
  dress(document.createElement(name), attributes, children);
const shape = (name, attributes = {}, ...children) =>
  dress(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

// Numbers as dpbench.eval.web.numbers writes them: three significant digits.
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const fixed = (value, digits) => {
  // Python rounds an exact half to the even neighbour, toFixed does not. Only a number
  // of few binary places can be such a half.
  const scaled = value * 10 ** digits;
  const isHalf = Math.abs(scaled % 1) === 0.5 && (value * 2 ** (digits + 1)) % 1 === 0;
  return isHalf ? ((2 * Math.round(scaled / 2)) / 10 ** digits).toFixed(digits) : value.toFixed(digits);
};
const decimals = (size) => {
  let digits = 0;
  while (digits < 7 && Number(fixed(size, digits)) < 10 ** (2 - digits)) digits += 1;
  return digits;
};
const shortExponent = (text) => text.replace("e+", "e");
const number = (value) => {
  if (!isNumber(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return shortExponent(value.toExponential(2));
  return fixed(value, decimals(size));
};
const spreadText = (value, half) => {
  const size = Math.abs(value);
  if (size >= 1e-4 && size < 1e6) {
    const text = fixed(half, decimals(size));
    if (Number(text) > 0 || half === 0) return text;
  }
  return half < 1e-4 ? shortExponent(half.toExponential(0)) : String(Number(half.toPrecision(1)));
};
const counted = (n) => (isNumber(n) ? String(n).replace(/\B(?=(\d{3})+$)/g, "\u2009") : "–");
const plural = (n, word) => `${counted(n)} ${word}${n === 1 ? "" : "s"}`;
const clipped = (text, length) => (text.length <= length ? text : text.slice(0, length - 1) + "…");

// A small table; columns from `numbersFrom` on are set right.
const grid = (heads, rows, numbersFrom) => {
  const kind = (index) => (index >= numbersFrom ? "num" : null);
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": heads.join(", ") },
    el("table", {},
      el("thead", {}, el("tr", {}, heads.map((text, i) => el("th", { scope: "col", class: kind(i) }, text)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell, i) => el("td", { class: kind(i) }, cell)))))));
};
const factsList = (facts) =>
  el("dl", {}, facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
