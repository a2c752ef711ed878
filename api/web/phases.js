// Where the time of a step goes, as shares of one bar: the mean of a stage's last steps.

import { el } from "./dom.js";
import { ratio } from "./figures.js";
import { duration, number, percent, words } from "./format.js";

const STEPS = 20;
const PHASES = ["generate", "judge", "annotate", "update", "publish", "wait"];
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
    if (!report.seconds || typeof report.seconds !== "object") return;
    this.newest.set(step, report.seconds);
    this.useful = ratio(report, "flops_per_second", "peak_flops_per_second");
    if (this.newest.size > STEPS) this.newest.delete(Math.min(...this.newest.keys()));
    this.waiting ??= requestAnimationFrame(() => { this.waiting = undefined; this.draw(); });
  }

  draw() {
    const all = [...this.newest.values()], mean = (name) => all.reduce((sum, s) => sum + (s[name] ?? 0), 0) / all.length;
    const total = mean("total") || PHASES.reduce((sum, name) => sum + mean(name), 0);
    if (!total) return;
    const known = PHASES.map((name) => [name, mean(name)]);
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

const place = (name) => (name === OTHER ? PHASES.length : PHASES.indexOf(name));
