// A table whose rows are in the document only while they are near the window. A small
// board keeps all of them there, so that the browser's own search finds everything.
const SMALL_BOARD = 200;
const isVirtual = allRows.length > SMALL_BOARD;
const MARGIN = 700;
const open = new Set();  // ids of unfolded rows

class RowWindow {
  constructor(table, body, view) {
    Object.assign(this, { table, body, view, items: [], nodes: new Map(), heights: new Map(), mean: 62, focused: null });
    body.addEventListener("focusin", (event) => { this.focused = event.target.closest("[data-id]")?.dataset.id ?? this.focused; });
    body.addEventListener("focusout", (event) => { if (!body.contains(event.relatedTarget)) this.focused = null; });
    body.addEventListener("filled", () => this.update());
  }

  // Items: {key, make} of every row to be shown, from top to bottom.
  show(items, view) {
    if (view !== this.view) this.nodes.clear();
    this.view = view;
    this.items = items;
    this.place = new Map(items.map((item, index) => [item.key, index]));
    this.largest = items.reduce((most, { row }) => Math.max(most, row ? valueOf(row, ERROR) ?? 0 : 0), 0);
    this.layout();
    this.shown = null;
    this.update();
  }

  layout() {
    this.offsets = new Float64Array(this.items.length + 1);
    this.items.forEach((item, index) => {
      this.offsets[index + 1] = this.offsets[index] + (this.heights.get(item.key) ?? this.mean);
    });
  }

  indexAt(height) {
    let [low, high] = [0, this.items.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.offsets[middle + 1] <= height) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // Places of the items that belong into the document now.
  wanted() {
    if (!isVirtual) return this.items.map((_, index) => index);
    const top = this.body.getBoundingClientRect().top;
    const [from, to] = [-top - MARGIN, window.innerHeight - top + MARGIN];
    const last = Math.min(this.indexAt(to) + 1, this.items.length);
    const found = [];
    for (let index = this.indexAt(Math.max(from, 0)); index < last && to > 0; index += 1) found.push(index);
    const held = this.place.get(this.focused);
    if (held !== undefined && !found.includes(held)) found.push(held);
    return found.sort((a, b) => a - b);
  }

  update() {
    for (let round = 0; round < 3; round += 1) {
      const wanted = this.wanted();
      const key = wanted.join();
      if (key !== this.shown) this.render(wanted);
      this.shown = key;
      if (!isVirtual || !this.measure(wanted)) return;
      this.layout();
      this.space(wanted);
    }
  }

  render(wanted) {
    const nodes = [];
    wanted.forEach((index) => {
      const item = this.items[index];
      nodes.push(this.nodeOf(item, index));
      if (item.row && open.has(item.key)) nodes.push(this.panelOf(item));
    });
    if (isVirtual) this.spacers = this.withSpacers(wanted, nodes);
    const keep = new Set(nodes);
    for (const child of [...this.body.children]) if (!keep.has(child)) child.remove();
    let cursor = this.body.firstChild;
    for (const node of nodes) {
      if (node === cursor) cursor = cursor.nextSibling;
      else this.body.insertBefore(node, cursor);
    }
    if (isVirtual && this.nodes.size > 600) this.forget(keep);
  }

  // Gaps of rows that are not there, as rows of their height. Changes `nodes`.
  withSpacers(wanted, nodes) {
    const gaps = new Map();
    let next = 0;
    for (const index of [...wanted, this.items.length]) {
      if (index > next) {
        const node = el("tr", { class: "spacer", "aria-hidden": "true" }, el("td", { colspan: this.view.width }));
        node.firstChild.style.height = `${this.offsets[index] - this.offsets[next]}px`;
        const before = index < this.items.length ? nodes.indexOf(this.nodes.get(this.items[index].key)) : nodes.length;
        nodes.splice(before, 0, node);
        gaps.set(node, [next, index]);
      }
      next = index + 1;
    }
    return gaps;
  }

  space() {
    for (const [node, [from, to]] of this.spacers ?? []) {
      node.firstChild.style.height = `${this.offsets[to] - this.offsets[from]}px`;
    }
  }

  // Take the true heights of what is shown; true if one was another than thought.
  measure(wanted) {
    let [isNew, sum] = [false, 0];
    for (const index of wanted) {
      const { key } = this.items[index];
      const node = this.nodes.get(key);
      const last = open.has(key) && node.nextSibling?.dataset.details === key ? node.nextSibling : node;
      const height = last.getBoundingClientRect().bottom - node.getBoundingClientRect().top + this.view.gap;
      if (Math.abs((this.heights.get(key) ?? this.mean) - height) > 0.5) isNew = true;
      this.heights.set(key, height);
      sum += height;
    }
    if (isNew && wanted.length > 4 && !open.size) this.mean = sum / wanted.length;
    return isNew;
  }

  forget(keep) {
    for (const [key, node] of this.nodes) if (!keep.has(node)) this.nodes.delete(key);
  }

  nodeOf(item, index) {
    let node = this.nodes.get(item.key);
    if (!node) {
      node = item.make(this.view, this.largest);
      this.nodes.set(item.key, node);
    }
    node.setAttribute("aria-rowindex", String(index + 2));
    node.querySelector(".open")?.setAttribute("aria-expanded", String(open.has(item.key)));
    return node;
  }

  panelOf(item) {
    const key = `panel ${item.key}`;
    let node = this.nodes.get(key);
    if (!node) {
      node = detailsElement(item.row, this.view);
      this.nodes.set(key, node);
    }
    fillDetails(item.row, node.querySelector(".panel"), item.task);
    return node;
  }

  toggle(row, isOpen) {
    if (isOpen) open.add(row.id);
    else open.delete(row.id);
    this.shown = null;
    this.heights.delete(row.id);
    this.update();
  }

  // Bring a row into the document and to the top of the window.
  reveal(row) {
    const index = this.place.get(row.id);
    if (index === undefined) return null;
    if (isVirtual) {
      const top = this.body.getBoundingClientRect().top + window.scrollY;
      window.scrollTo({ top: top + this.offsets[index] - 80, behavior: "instant" });
      this.update();
    }
    const node = this.nodes.get(row.id);
    node.scrollIntoView({ block: "start", behavior: "instant" });
    this.update();
    return node;
  }

  // Put the keyboard on the row `step` places on.
  step(id, step) {
    const goal = Math.max(0, Math.min(this.items.length - 1, this.place.get(id) + step));
    const way = Math.sign(step);
    const seek = (from, by) => {
      let index = from;
      while (this.items[index] && !this.items[index].row) index += by;
      return this.items[index];
    };
    const item = seek(goal, way) ?? seek(goal, -way);
    this.focused = item.key;
    this.update();
    this.nodes.get(item.key).querySelector(".open").focus({ preventScroll: true });
    this.nodes.get(item.key).scrollIntoView({ block: "nearest" });
  }
}
