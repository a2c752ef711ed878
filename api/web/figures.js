// Which figures of a step's report stand in which chart.

const chart = (group, title, unit, lines, more = {}) => ({ group, title, unit, lines, ...more });
const USEFUL = chart("Speed", "Useful work", "share of the peak", {}, { ratios: { useful: ["flops_per_second", "peak_flops_per_second", "whole step"], useful_update: ["update_flops_per_second", "peak_flops_per_second", "update"] }, hide: "zeros" });
const quiet = { hide: "zeros" }; // shown once a figure is not 0
const steady = { hide: "constant" }; // shown once a figure changes
const arithmetic = (more = {}) => chart("Speed", "Arithmetic", "operations per second",
  { flops_per_second: "whole step", ...more, peak_flops_per_second: "measured peak" }, quiet);

export const FIGURES = {
  supervised: [
    chart("Objective", "Loss", "nats per token", { loss: "training", validation_loss: "held out" }),
    chart("Update", "Learning rate", "", { learning_rate: "learning rate" }),
    chart("Update", "Gradient norm", "before clipping", { grad_norm: "norm" }),
    chart("Speed", "Throughput", "tokens per second", { tokens_per_second: "trained" }),
    USEFUL,
    arithmetic(),
  ],
  preference: [
    chart("Objective", "Loss", "−log σ(margin)", { loss: "training" }),
    chart("Objective", "Accuracy", "share of pairs", { accuracy: "training", validation_accuracy: "held out" }),
    chart("Objective", "Margin", "chosen − rejected", { margin: "mean" }),
    chart("Update", "Learning rate", "", { learning_rate: "learning rate" }),
    chart("Update", "Gradient norm", "before clipping", { grad_norm: "norm" }),
    chart("Speed", "Throughput", "pairs per second", { pairs_per_second: "trained" }),
    USEFUL,
    arithmetic(),
  ],
  ppo: [
    chart("Objective", "Reward", "mean over responses", { score_mean: "score", return_mean: "return" }),
    chart("Objective", "Reward components", "mean", {}, { each: "components" }),
    chart("Objective", "Reward range", "within a step", { score_max: "highest", score_min: "lowest", score_std: "deviation" }),
    chart("Policy", "KL to the reference", "nats per response", { kl: "k1", kl_k3: "k3" }),
    chart("Policy", "Entropy", "nats per token", { entropy: "entropy" }),
    chart("Policy", "Response length", "tokens", { response_length_mean: "mean", response_length_max: "longest" }),
    chart("Policy", "Truncated responses", "share", { truncated_fraction: "truncated" }, quiet),
    chart("Update", "Policy loss", "", { policy_loss: "loss" }),
    chart("Update", "Change of the policy", "approximate KL", { approx_kl: "KL" }),
    chart("Update", "Clipped tokens", "share", { clip_fraction_low: "below", clip_fraction_high: "above" }, quiet),
    chart("Update", "Learning rate", "", { learning_rate: "policy", critic_learning_rate: "critic" }),
    chart("Update", "Gradient norm", "before clipping", { policy_grad_norm: "policy", critic_grad_norm: "critic" }),
    chart("Update", "KL coefficient", "β", { kl_coef: "β" }, steady),
    chart("Update", "Advantage", "before whitening", { advantage_mean: "mean", advantage_std: "deviation" }),
    chart("Critic", "Value loss", "", { value_loss: "loss" }, quiet),
    chart("Critic", "Explained variance", "1 is perfect", { explained_variance: "share" }, quiet),
    chart("Critic", "Clipped values", "share", { value_clip_fraction: "clipped" }, quiet),
    chart("Health", "Equal groups", "share of prompts", { equal_groups_fraction: "all the same" }, quiet),
    chart("Health", "Repetition", "share of trigrams", { repetition: "seen before" }, quiet),
    chart("Health", "Score against length", "correlation", { length_correlation: "correlation" }, quiet),
    chart("Health", "Set aside", "prompts", { quarantined: "no score", groups_passed_over: "not learnt from" }, quiet),
    chart("Health", "Sampler difference", "|Δ log-prob|", { sampler_difference_mean: "mean", sampler_difference_max: "most" }, quiet),
    chart("Health", "Staleness", "versions between sampling and learning", { staleness_mean: "mean", staleness_max: "most" }, quiet),
    chart("Health", "Importance weight", "largest", { importance_weight_max: "weight" }),
    chart("Speed", "Throughput", "tokens per second", { tokens_per_second: "whole step", generate_tokens_per_second: "sampling" }),
    USEFUL,
    chart("Speed", "Time of a step", "seconds", {
      "seconds.generate": "generate", "seconds.judge": "judge", "seconds.annotate": "annotate",
      "seconds.update": "update", "seconds.publish": "publish", "seconds.wait": "wait", "seconds.other": "between them",
      "seconds.decode_tail": "of generate: decode tail", "seconds.optimizer": "of update: optimizer",
    }),
    chart("Speed", "Ahead of the step", "seconds", { "ahead_seconds.generate": "generate", "ahead_seconds.judge": "judge" }, quiet),
    arithmetic({ update_flops_per_second: "update" }),
    chart("Speed", "Temperature", "of sampling", { temperature: "temperature" }, steady),
  ],
};

export const GROUPS = ["Objective", "Policy", "Update", "Critic", "Health", "Speed"];

// Of one chart and one report: [name, label, value] of every figure that was measured.
export function measured(spec, report) {
  const named = Object.entries(spec.lines).map(([name, label]) => [name, label, at(report, name)]);
  const each = spec.each ? Object.entries(report[spec.each] ?? {}).map(([name, value]) => [name, name, value]) : [];
  const ratios = Object.entries(spec.ratios ?? {}).map(([name, [over, under, label]]) => [name, label, ratio(report, over, under)]);
  return [...named, ...each, ...ratios].filter(([name, , value]) => typeof value === "number" && !(isCritics(name) && !hasCritic(report)));
}

// Of one chart: [name, label] of every line that is known before there is a report.
export const linesOf = (spec) => [...Object.entries(spec.lines), ...Object.entries(spec.ratios ?? {}).map(([name, [, , label]]) => [name, label])];

const isCritics = (name) => name.startsWith("critic_");
const hasCritic = (report) => report.critic_grad_norm !== 0;

// Null where a report does not have both.
export const ratio = (report, over, under) => (at(report, over) > 0 && at(report, under) > 0 ? at(report, over) / at(report, under) : null);

const at = (report, path) => path.split(".").reduce((value, name) => value?.[name], report);

// What is said at a glance while a stage runs.
export const HEADLINES = {
  supervised: [["Loss", "loss"], ["Held-out loss", "validation_loss"], ["Tokens per second", "tokens_per_second"]],
  preference: [["Loss", "loss"], ["Accuracy", "accuracy"], ["Held-out accuracy", "validation_accuracy"]],
  ppo: [["Reward", "score_mean"], ["KL", "kl"], ["Entropy", "entropy"], ["Response length", "response_length_mean"], ["Tokens per second", "tokens_per_second"]],
};
