// What a job would need, before it starts: whether it fits, memory, time, and advice.

import { el, table } from "./dom.js";
import { bytes, duration, number } from "./format.js";

export function planView(plan) {
  const verdict = plan.fits === true ? ["fits", "It fits"] : plan.fits === false ? ["too-large", "It does not fit"] : ["unknown", "Whether it fits cannot be said"];
  return el("section", { class: "plan", "aria-label": "Plan" },
    el("p", { class: "line" }, el("b", { class: `verdict ${verdict[0]}` }, verdict[1]),
      plan.seconds.value === null ? el("span", { class: "soft", title: plan.seconds.unavailable }, "how long it takes is not known")
        : el("span", {}, "about ", el("b", {}, said(plan.seconds, duration)), " of training on ", plan.device)),
    plan.reasons.length > 0 && el("ul", { class: "faults" }, plan.reasons.map((text) => el("li", {}, text))),
    advice(plan.advice), stages(plan.stages), memory(plan.memory),
    el("details", {}, el("summary", {}, "What this takes for granted"),
      el("ul", { class: "faults" }, [...plan.assumptions, `Figures of the device: ${plan.source}`].map((text) => el("li", {}, text)))));
}

// A figure, at least a figure, or why there is none.
function said(estimate, write) {
  if (estimate.value === null) return el("span", { class: "soft", title: estimate.unavailable }, "unknown");
  return `${estimate.at_least ? "at least " : ""}${write(estimate.value)}`;
}

function advice(found) {
  if (!found.length) return null;
  return el("div", { class: "notice warning" }, el("p", {}, el("b", {}, "Worth another value")),
    el("ul", { class: "faults" }, found.map((one) => el("li", {}, el("code", {}, one.field), ` ${one.now} → `, el("b", {}, one.better), `: ${one.why}`))));
}

function stages(found) {
  const numeric = (text) => ({ text, number: true });
  const rows = found.map((stage) => [stage.stage, String(stage.steps), stage.parameters === null ? "unknown" : count(stage.parameters),
    said(stage.step, duration), said(stage.seconds, duration), phases(stage)]);
  return table("Time of each stage", ["Stage", numeric("Steps"), numeric("Weights"), numeric("A step"), numeric("In all"), "Of a step"], rows, { visible: true });
}

function phases(stage) {
  const known = Object.entries(stage.phases).filter(([, estimate]) => estimate.value);
  const sum = known.reduce((total, [, estimate]) => total + estimate.value, 0);
  return known.length > 1 ? known.map(([name, estimate]) => `${name} ${number(100 * estimate.value / sum, 2)} %`).join(", ") : "";
}

function memory(found) {
  const numeric = (text) => ({ text, number: true });
  const rows = found.map((role) => [role.role, String(role.processes), said(role.bytes, bytes), role.on === "cuda" ? "GPU" : "CPU",
    role.parts.map((part) => `${part.name} ${bytes(part.bytes)}`).join(", ")]);
  return table("Memory of each process", ["Process", numeric("How many"), numeric("Each needs"), "On", "For"], rows, { visible: true });
}

function count(weights) {
  for (const [unit, size] of [["B", 1e9], ["M", 1e6], ["k", 1e3]]) if (weights >= size) return `${number(weights / size, 3)} ${unit}`;
  return String(weights);
}
