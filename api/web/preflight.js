// What the reward pays for, as it was found before the first step.

import { el, table } from "./dom.js";
import { number, percent, words } from "./format.js";

export class Preflight {
  constructor() {
    this.none = el("p", { class: "empty" }, "No preflight yet. Before a policy stage trains, its reward is tried on sampled responses.");
    this.element = el("div", {}, this.none);
  }

  take({ event }) {
    if (event.type !== "preflight") return;
    this.none.hidden = true;
    const facts = [
      ["Responses", String(event.n)], ["Mean score", number(event.mean)], ["Standard deviation", number(event.standard_deviation)],
      ["Quartiles", event.quartiles.map((q) => number(q, 3)).join(" · ") || "–"],
      ["Equal groups", percent(event.equal_groups)], ["Scores per second", number(event.scores_per_second, 3)],
      ["Failures", Object.entries(event.failures).map(([kind, count]) => `${words(kind)} ${count}`).join(", ") || "none"],
    ];
    const trivial = Object.entries(event.trivial).map(([answer, mean]) => {
      const pays = mean !== null && event.mean !== null && mean > event.mean;
      return [answer, number(mean), pays ? el("span", { class: "verdict lower" }, "pays more than sampling") : "pays no more"];
    });
    this.element.append(el("section", {}, el("h3", {}, event.stage),
      event.warnings.map((text) => el("div", { class: "notice warning" }, el("p", {}, text))),
      el("dl", { class: "facts" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
      trivial.length > 0 && table("Answers that say nothing", ["Answer", { text: "Mean score", number: true }, "Against the samples' mean"], trivial, { visible: true })));
  }
}
