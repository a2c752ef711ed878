// A line chart over steps. Pointer or arrow keys read values; a table says the same in text.

import { el, newId, svg, table } from "./dom.js";
import { number } from "./format.js";
import { label, smoothed, stepTicks, thinned, ticks } from "./scale.js";

const TOP = 10, RIGHT = 12, BOTTOM = 24, LETTER = 6.6; // pixels
const ROWS = 500; // most rows of a chart's table

// What the charts of one view share: the step that is read, and how much is smoothed.
export class Reading extends EventTarget {
  step = null;
  smoothing = 0;
  change(what) {
    Object.assign(this, what);
    this.dispatchEvent(new Event("change"));
  }
}

export class Chart {
  constructor(title, unit, reading, { hide = null, height = 168 } = {}) {
    Object.assign(this, { title, unit, reading, hide, height, lines: new Map() });
    this.legend = el("ul", { class: "legend" });
    this.plot = el("div", {
      class: "plot", tabindex: 0, role: "slider", "aria-label": `${title} by step`, "aria-valuetext": "no value yet",
      onpointermove: (event) => this.point(event), onpointerdown: (event) => this.point(event),
      onpointerleave: () => reading.change({ step: null }), onblur: () => reading.change({ step: null }),
      onkeydown: (event) => this.key(event),
    });
    this.plot.style.height = `${height}px`;
    const id = newId("table");
    this.tableHost = el("div", { id, hidden: true });
    this.toggle = el("button", {
      type: "button", class: "quiet small", "aria-expanded": "false", "aria-controls": id,
      "aria-label": `${title} as a table`, onclick: () => this.showTable(this.tableHost.hidden),
    }, "Table");
    this.element = el("figure", { class: "chart", hidden: hide !== null },
      el("figcaption", {},
        el("span", { class: "chart-title" }, title), unit && el("span", { class: "unit" }, unit), this.toggle),
      this.legend, this.plot, this.tableHost);
    reading.addEventListener("change", () => this.later());
    new ResizeObserver(() => this.later()).observe(this.plot);
  }

  line(name, label = name) {
    if (!this.lines.has(name)) {
      const value = el("b", {});
      const place = this.lines.size;
      this.legend.append(el("li", { class: `series s${place}` }, el("span", { class: "swatch" }), `${label} `, value));
      this.lines.set(name, { label, value, place, points: new Map(), spread: new Map() });
    }
    return this.lines.get(name);
  }

  // A step reported again overwrites. spread: half the height of an error bar.
  add(name, label, step, value, spread = null) {
    if (value === null || value === undefined) return;
    const line = this.line(name, label);
    line.points.set(step, value);
    if (spread !== null) line.spread.set(step, spread);
    if (this.element.hidden && this.says(line, value)) this.element.hidden = false;
    this.sorted = null;
    this.later();
  }

  // Whether a chart that is left out while it says nothing has something to say.
  says(line, value) {
    if (this.hide === "zeros") return value !== 0;
    if (this.hide === "constant") return value !== line.points.values().next().value;
    return true;
  }

  later() {
    this.waiting ??= requestAnimationFrame(() => { this.waiting = undefined; this.draw(); });
  }

  order() {
    if (!this.sorted) {
      for (const line of this.lines.values()) line.sorted = [...line.points].sort((a, b) => a[0] - b[0]);
      this.sorted = [...new Set([...this.lines.values()].flatMap((line) => [...line.points.keys()]))].sort((a, b) => a - b);
    }
    return this.sorted;
  }

  draw() {
    const steps = this.order(), width = this.plot.clientWidth, { height } = this;
    if (!steps.length || !width) return;
    const lines = [...this.lines.values()];
    const values = lines.flatMap((line) => line.sorted.flatMap(([step, v]) => {
      const half = line.spread.get(step) ?? 0;
      return [v - half, v + half];
    }));
    const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
    const marks = ticks(low, high, 3), first = steps[0], last = steps.at(-1);
    const texts = label(marks), left = Math.max(...texts.map((text) => text.length)) * LETTER + 10;
    this.x = (step) => left + ((step - first) / (last - first || 1)) * (width - left - RIGHT);
    const y = (v) => height - BOTTOM - ((v - marks[0]) / (marks.at(-1) - marks[0])) * (height - TOP - BOTTOM);
    const rules = marks.flatMap((mark, i) => [
      svg("line", { class: mark === 0 ? "rule zero" : "rule", x1: left, x2: width - RIGHT, y1: y(mark), y2: y(mark) }),
      svg("text", { x: left - 6, y: y(mark) + 4, "text-anchor": "end" }, texts[i]),
    ]);
    const labels = stepTicks(first, last, Math.max(2, Math.floor(width / 70))).map((step) =>
      svg("text", { x: this.x(step), y: height - 6, "text-anchor": "middle" }, String(step)));
    const drawn = lines.flatMap((line) => this.curve(line, y, width));
    this.plot.replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
      rules, labels, drawn, this.cursor(lines, y)));
    this.tell(lines, first, last);
    if (!this.tableHost.hidden) this.fillTable();
  }

  curve(line, y, width) {
    const kind = `series s${line.place}`, weight = this.reading.smoothing;
    const path = (points, more) => {
      const seen = thinned(points, Math.max(200, 2 * width));
      const way = seen.map(([step, v]) => `${this.x(step).toFixed(1)} ${y(v).toFixed(1)}`).join("L");
      return svg("path", { class: `${kind} ${more}`, d: `M${way}` });
    };
    const drawn = weight ? [path(line.sorted, "faint"), path(smoothed(line.sorted, weight), "")] : [path(line.sorted, "")];
    for (const [step, half] of line.spread) {
      const at = this.x(step), value = line.points.get(step);
      drawn.push(svg("path", { class: `${kind} bar`, d: `M${at} ${y(value - half)}V${y(value + half)}` }));
    }
    const dots = line.sorted.length <= 12 ? line.sorted : line.sorted.slice(-1);
    return [...drawn, ...dots.map(([step, v]) => svg("circle", { class: kind, cx: this.x(step), cy: y(v), r: 3 }))];
  }

  // The nearest step this chart has to the one that is read.
  read() {
    const { step } = this.reading, steps = this.sorted;
    if (step === null || !steps?.length || step < steps[0] || step > steps.at(-1)) return null;
    return steps.reduce((best, s) => (Math.abs(s - step) < Math.abs(best - step) ? s : best));
  }

  cursor(lines, y) {
    const step = this.read();
    if (step === null) return [];
    const at = this.x(step), end = at > this.plot.clientWidth / 2;
    return [
      svg("line", { class: "cursor", x1: at, x2: at, y1: TOP, y2: this.height - BOTTOM }),
      ...lines.filter((l) => l.points.has(step)).map((line) =>
        svg("circle", { class: `series s${line.place} read`, cx: at, cy: y(line.points.get(step)), r: 4 })),
      svg("text", { class: "cursor-label", x: at + (end ? -6 : 6), y: TOP + 8, "text-anchor": end ? "end" : "start" }, `step ${step}`),
    ];
  }

  tell(lines, first, last) {
    const step = this.read() ?? last;
    for (const line of lines) {
      const known = line.sorted.findLast(([s]) => s <= step);
      line.value.textContent = number(known?.[1]);
    }
    const said = lines.map((line) => `${line.label} ${line.value.textContent}`).join(", ");
    const range = { "aria-valuemin": first, "aria-valuemax": last, "aria-valuenow": step, "aria-valuetext": `step ${step}: ${said}` };
    for (const [name, value] of Object.entries(range)) this.plot.setAttribute(name, value);
  }

  point(event) {
    const steps = this.sorted;
    if (!steps?.length || !this.x) return;
    const at = event.clientX - this.plot.getBoundingClientRect().left;
    this.reading.change({ step: steps.reduce((best, s) => (Math.abs(this.x(s) - at) < Math.abs(this.x(best) - at) ? s : best)) });
  }

  key(event) {
    const steps = this.sorted ?? [], at = steps.indexOf(this.read() ?? steps.at(-1));
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, PageDown: at - 10, PageUp: at + 10, Home: 0, End: steps.length - 1 }[event.key];
    if (event.key === "Escape") this.reading.change({ step: null });
    if (to === undefined || !steps.length) return;
    event.preventDefault();
    this.reading.change({ step: steps[Math.max(0, Math.min(steps.length - 1, to))] });
  }

  showTable(shown) {
    this.tableHost.hidden = !shown;
    this.toggle.setAttribute("aria-expanded", String(shown));
    if (shown) this.fillTable();
  }

  fillTable() {
    const steps = this.order().slice(-ROWS), lines = [...this.lines.values()];
    const heads = ["Step", ...lines.map((line) => ({ text: line.label, number: true }))];
    const rows = steps.toReversed().map((step) => [String(step), ...lines.map((line) => number(line.points.get(step)))]);
    const cut = this.sorted.length > ROWS ? `, newest ${ROWS} steps` : "";
    this.tableHost.replaceChildren(table(`${this.title} by step${cut}`, heads, rows));
  }
}
