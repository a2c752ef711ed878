// Held-out results: means over the steps, and what a stage changed with its interval and p.

import { Chart } from "./chart.js";
import { el, svg, table } from "./dom.js";
import { number, signed } from "./format.js";

const WIDTH = 160, MIDDLE = 9;
const CERTAIN = 0.05;

export class Evaluation {
  constructor(reading) {
    this.reading = reading;
    this.stages = new Map();
    this.none = el("p", { class: "empty" }, "No evaluation yet. A stage with `evaluation` is measured on held-out prompts before, between and after.");
    this.element = el("div", {}, this.none);
  }

  take({ event }) {
    if (event.type !== "evaluation" && event.type !== "evaluation_compared") return;
    this.none.hidden = true;
    const stage = this.stages.get(event.stage) ?? this.open(event.stage);
    if (event.type === "evaluation") {
      const figures = [{ name: "reward", ...event }, ...event.metrics];
      stage.measured.set(event.step, figures);
      for (const { name, mean, standard_error } of figures) stage.chart(name).add(name, "mean ± standard error", event.step, mean, standard_error);
      this.list(stage);
    } else {
      stage.differences.replaceChildren(...differences(event));
    }
  }

  open(name) {
    const charts = new Map(), host = el("div", { class: "charts" });
    const stage = {
      measured: new Map(), differences: el("div", {}), means: el("div", {}),
      chart: (figure) => {
        if (!charts.has(figure)) {
          charts.set(figure, new Chart(`Held-out ${figure}`, "", this.reading));
          host.append(charts.get(figure).element);
        }
        return charts.get(figure);
      },
    };
    this.stages.set(name, stage);
    this.element.append(el("section", {}, el("h3", {}, name), stage.differences, host, stage.means));
    return stage;
  }

  list(stage) {
    const rows = [...stage.measured].sort((a, b) => a[0] - b[0]).flatMap(([step, figures]) => figures.map((f) =>
      [`step ${step}`, f.name, `${number(f.mean)} ± ${number(f.standard_error, 2)}`, String(f.n)]));
    const heads = ["Policy after", "Figure", { text: "Mean ± standard error", number: true }, { text: "Responses", number: true }];
    stage.means.replaceChildren(table("Every evaluation", heads, rows, { visible: true }));
  }
}

function differences(event) {
  const reach = event.differences.reduce((most, d) => Math.max(most, Math.abs(d.low), Math.abs(d.high)), 1e-12);
  const rows = event.differences.map((d) => [
    d.name, number(d.before), number(d.after), signed(d.difference), `${signed(d.low)} … ${signed(d.high)}`,
    interval(d, reach), number(d.p_value, 2), String(d.n), el("span", { class: `verdict ${verdict(d)}` }, verdict(d)),
  ]);
  const numeric = (text) => ({ text, number: true });
  const heads = ["Figure", numeric("Before"), numeric("After"), numeric("Difference"), numeric("95 % interval"), "", numeric("p"), numeric("Prompts"), "Verdict"];
  return [table("Before and after, on the same held-out prompts (paired bootstrap)", heads, rows, { visible: true })];
}

const verdict = (d) => (d.p_value >= CERTAIN ? "unclear" : d.difference > 0 ? "higher" : "lower");

// The interval as a line around zero, on the scale of the widest.
function interval(d, reach) {
  const x = (v) => WIDTH / 2 + (v / reach) * (WIDTH / 2 - 6);
  return svg("svg", { class: `interval ${verdict(d)}`, viewBox: `0 0 ${WIDTH} ${2 * MIDDLE}`, width: WIDTH, height: 2 * MIDDLE, "aria-hidden": "true" },
    svg("line", { class: "rule zero", x1: WIDTH / 2, x2: WIDTH / 2, y1: 0, y2: 2 * MIDDLE }),
    svg("line", { class: "reach", x1: x(d.low), x2: x(d.high), y1: MIDDLE, y2: MIDDLE }),
    svg("circle", { cx: x(d.difference), cy: MIDDLE, r: 4 }));
}
