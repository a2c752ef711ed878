// An event in one sentence.

import { bytes, duration, number, signed, words } from "./format.js";

const at = (e) => `${e.stage}, step ${e.step}`;

const SENTENCES = {
  status: (e) => `The job is ${e.status}${e.reason ? ` (${words(e.reason).toLowerCase()})` : ""}${e.message ? `: ${e.message}` : ""}`,
  stage_started: (e) => `Stage ${e.stage} (${e.kind}) begins${e.from_step ? ` again after step ${e.from_step}` : ""}; ${e.steps} steps planned`,
  stage_completed: (e) => `Stage ${e.stage} is done after ${duration(e.seconds)}; its model is in ${e.model_path}`,
  step: (e) => {
    const { report: r } = e;
    const figures = r.kind === "ppo" ? `reward ${number(r.score_mean)}, KL ${number(r.kl)}` : `loss ${number(r.loss)}`;
    return `${e.stage} ${e.step} / ${e.steps}: ${figures}${e.replayed ? " (repeated after a restart)" : ""}`;
  },
  samples: (e) => `${at(e)}: ${e.samples.length} samples`,
  evaluation: (e) => `${at(e)}: held-out reward ${number(e.mean)} ± ${number(e.standard_error, 2)} over ${e.n} responses`,
  evaluation_compared: (e) => `${e.stage}: ${e.differences.map((d) => `${d.name} ${signed(d.difference)} (p ${number(d.p_value, 2)})`).join(", ")}`,
  preflight: (e) => `${e.stage}: reward tried on ${e.n} responses, mean ${number(e.mean)}${e.warnings.length ? `; ${e.warnings.join("; ")}` : ""}`,
  alarm: (e) => `${at(e)}: ${words(e.alarm)} ${number(e.value, 3)} (threshold ${number(e.threshold, 3)}): ${e.advice}`,
  alarm_cleared: (e) => `${at(e)}: ${words(e.alarm)} is back within its threshold`,
  checkpoint: (e) => `${at(e)}: checkpoint in ${duration(e.seconds)}`,
  recovered: (e) => `${e.role} goes on: ${e.message}`,
  role_stopped: (e) => `${e.role} ${e.stalled ? "stalled" : "died"} in ${e.phase}: ${e.message}`,
  prompt_quarantined: (e) => `${at(e)}: prompt ${e.prompt} set aside: ${e.message}`,
  memory: (e) => `${e.role} ${e.process} held at most ${bytes(e.peak)}${e.gpu_peak ? `, ${bytes(e.gpu_peak)} on the GPU` : ""}`,
  log: (e) => e.message,
  job_stopped: (e) => `The attempt ended: ${words(e.reason).toLowerCase()}${e.message ? `: ${e.message}` : ""}`,
};

export const sentence = (event) => SENTENCES[event.type]?.(event) ?? words(event.type);

const GRAVE = { alarm: true, role_stopped: true, prompt_quarantined: true };
export const isGrave = (event) => Boolean(GRAVE[event.type]) || event.level === "error" || event.status === "failed" || event.status === "stalled";
