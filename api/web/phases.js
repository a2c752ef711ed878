// Where the time of a step goes, as shares of one bar: the mean of a stage's last steps.

import { el } from "./dom.js";
import { ratio } from "./figures.js";
import { duration, number, percent, words } from "./format.js";

const STEPS = 20;
// Each has the colour that it has in the chart of a step's time.
const COLOURS = ["generate", "judge", "annotate", "update", "publish", "wait", "other", "decode tail", "optimizer"];
const ORDER = ["generate", "decode tail", "judge", "annotate", "update", "optimizer", "publish", "wait"];
const OTHER = "other";

export class Phases {
  constructor() {
    this.newest = new Map(); // step → seconds of each phase
    this.bar = el("div", { class: "shares", "aria-hidden": "true" });
    this.list = el("ul", { class: "legend" });
    this.title = el("span", { class: "unit" });
    this.element = el("figure", { class: "chart phases", hidden: true },
      el("figcaption", {}, el("span", { class: "chart-title" }, "Where a step's time goes"), this.title), this.bar, this.list);
  }

  take(step, report) {
    if (!report.seconds) return;
    this.newest.set(step, apart(report));
    this.useful = ratio(report, "flops_per_second", "peak_flops_per_second");
    if (this.newest.size > STEPS) this.newest.delete(Math.min(...this.newest.keys()));
    this.waiting ??= requestAnimationFrame(() => { this.waiting = undefined; this.draw(); });
  }

  draw() {
    const all = [...this.newest.values()], mean = (name) => all.reduce((sum, s) => sum + (s[name] ?? 0), 0) / all.length;
    const total = mean("total") || ORDER.reduce((sum, name) => sum + mean(name), 0);
    if (!total) return;
    const known = ORDER.map((name) => [name, mean(name)]);
    const rest = total - known.reduce((sum, [, value]) => sum + value, 0);
    const parts = [...known, [OTHER, rest]].filter(([, value]) => value > total / 1000);
    this.element.hidden = false;
    this.title.textContent = `${duration(total)} a step, mean of ${all.length}${this.useful ? ` · ${percent(this.useful)} of the measured peak is useful work` : ""}`;
    this.bar.replaceChildren(...parts.map(([name, value]) => {
      const part = el("span", { class: `share s${place(name)}`, title: `${words(name)} ${duration(value)}` });
      part.style.flexGrow = String(value / total);
      return part;
    }));
    this.list.replaceChildren(...parts.map(([name, value]) => el("li", { class: `series s${place(name)}` },
      el("span", { class: "swatch" }), `${name} `, el("b", {}, `${number(100 * value / total, 2)} %`), ` ${duration(value)}`)));
  }
}

// Seconds of parts that do not overlap: what is known of a phase's inside is taken out of it.
function apart(report) {
  const seconds = report.seconds;
  if (typeof seconds === "number") return { total: seconds, update: seconds - (report.optimizer_seconds ?? 0), optimizer: report.optimizer_seconds };
  const { decode_tail: tail = 0, optimizer = 0, ...phases } = seconds;
  const decoded = Math.min(tail, phases.generate ?? 0);
  return { ...phases, generate: (phases.generate ?? 0) - decoded, "decode tail": decoded, update: (phases.update ?? 0) - optimizer, optimizer };
}

const place = (name) => COLOURS.indexOf(name);
