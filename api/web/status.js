// A job's status and progress in words and shapes.

import { el } from "./dom.js";
import { duration, words } from "./format.js";

export const ACTIVE = ["validating", "queued", "provisioning", "running", "recovering", "stalled", "pausing", "cancelling"];
export const OVER = ["cancelled", "succeeded", "failed"];

export const FILTERS = [
  ["all", "All", []],
  ["active", "Active", ACTIVE],
  ["paused", "Paused", ["paused"]],
  ["succeeded", "Succeeded", ["succeeded"]],
  ["failed", "Failed", ["failed"]],
  ["cancelled", "Cancelled", ["cancelled"]],
];

export const badge = (status) => el("span", { class: "badge", dataset: { status } }, words(status));

export function bar(label, value, most) {
  return el("progress", { value, max: Math.max(most, 1), "aria-label": label });
}

// One bar for the newest stage, and which of how many it is.
export function progress(job) {
  const { stage, step, steps, eta_seconds } = job.progress;
  if (!stage) return el("span", { class: "soft" }, "not started");
  const names = job.spec.stages.map((s) => s.name), place = names.indexOf(stage) + 1;
  const left = eta_seconds === null || OVER.includes(job.status) ? null : `${duration(eta_seconds)} left in this stage`;
  return el("div", { class: "progress" },
    el("div", {}, el("b", {}, stage), ` ${step} / ${steps}`, names.length > 1 && el("span", { class: "soft" }, ` · stage ${place} of ${names.length}`)),
    bar(`Steps of ${stage}`, step, steps),
    left && el("div", { class: "soft small" }, left));
}

// What can be asked of a job in this status.
export const can = {
  pause: (status) => ["queued", "provisioning", "running", "recovering", "stalled"].includes(status),
  resume: (status) => status === "paused",
  retry: (status) => status === "failed" || status === "cancelled",
  delete: (status) => OVER.includes(status),
  cancel: (status) => !OVER.includes(status) && status !== "cancelling",
};
