// Why a job failed and what to do about it.

import { get } from "./api.js";
import { el } from "./dom.js";
import { words } from "./format.js";

const WHAT_TO_DO = {
  invalid_spec: "Mend the field that is named, and submit the copy.",
  invalid_data: "Mend the row or file that is named, and submit the copy.",
  invalid_model: "Point the model at a folder with safetensors weights and its tokenizer, and submit the copy.",
  gate_failed: "The checks before the first update did not hold: the message says which. They compare sampler and trainer; a different precision or model folder is the usual cause.",
  non_finite_loss: "A loss or gradient became infinite. Lower the learning rate, clip gradients harder, or use fp32; then submit the copy.",
  reward_failed: "The reward could not score. Mend it, or choose what happens to responses without a score (`drop`, `retry` or `penalty`).",
  unhealthy: "An alarm stopped the job, as its `health.action` says. Follow the alarm's advice, or let it only warn.",
  storage_failed: "Free space on the service's storage, or bring it back; then submit the copy.",
  stalled: "A part stopped making progress too often. The message says which and the driver's log where; if its work is merely long raise `recovery.request_timeout` (actors) or `recovery.stall_timeout` (learners).",
  out_of_memory: "A process was killed for memory. Lower `micro_batch_size`, `prompts_per_step` or the context, use a higher ZeRO stage, or offload the optimiser.",
  attempts_exhausted: "It died more often than `recovery.max_attempts` allows. The log of the last attempt says why.",
  launch_failed: "The cluster would not start it. Look whether Ray is up and has the resources the job asks for, and whether its workers have what the message misses.",
  internal_error: "This is a fault of the service. The log has the details; the copy may be submitted again.",
};

export function failure(job) {
  if (job.status !== "failed") return null;
  return el("section", { class: "notice alarm failure", "aria-label": "Why it failed" },
    el("p", {}, el("b", {}, words(job.reason ?? "failed"))),
    job.message && el("p", { class: "message" }, job.message),
    el("p", { class: "advice" }, el("b", {}, "What to do: "), WHAT_TO_DO[job.reason] ?? "Read the log of the last attempt."),
    el("p", { class: "actions" },
      el("a", { class: "button", href: `#submit=${job.id}` }, "Edit and submit a copy"),
      logButton(job.id)));
}

// Shows the end of what the driver printed.
export function logButton(jobId) {
  const shown = el("pre", { class: "log", tabindex: 0, hidden: true, "aria-label": "Log of the newest attempt" });
  const button = el("button", { type: "button", "aria-expanded": "false", onclick: async () => {
    const open = shown.hidden;
    shown.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    if (!open) return;
    shown.textContent = "…";
    try {
      const { text } = await get(`/v1/jobs/${jobId}/logs`);
      shown.textContent = text.split("\n").slice(-200).join("\n") || "The driver has printed nothing.";
      shown.scrollTop = shown.scrollHeight;
    } catch (fault) {
      shown.textContent = fault.message;
    }
  } }, "Log");
  return [button, shown];
}
