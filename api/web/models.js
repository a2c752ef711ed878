// The models that can be talked to, as choices of a select.

import { get } from "./api.js";
import { el } from "./dom.js";

export async function modelChoices(asked, signal) {
  const { data } = await get("/v1/models?limit=200", { signal });
  const jobs = data.filter((model) => model.owned_by !== "base"), base = data.filter((model) => model.owned_by === "base");
  const saved = await Promise.all(asked.filter((id) => id.startsWith("job-")).map((id) => checkpoints(id.split("/")[0], signal)));
  const groups = [
    ...jobs.map((model) => [`${model.name} …${model.id.slice(-4)}`, [
      [model.id, `${model.name}, finished`],
      ...(model.stages ?? []).slice(0, -1).filter((stage) => stage.model).map((stage) => [stage.model, `${model.name}, after ${stage.stage}`]),
      ...saved.flat().filter((one) => one.job_id === model.id).map((one) => [one.model, `${model.name}, ${one.stage} step ${one.step}`]),
    ]]),
    ...(base.length ? [["Base models", base.map((model) => [model.id, model.id])]] : []),
  ];
  return {
    count: data.length,
    first: data[0]?.id ?? "",
    options: () => groups.map(([label, models]) => el("optgroup", { label }, models.map(([value, text]) => el("option", { value }, text)))),
  };
}

// Those that can be talked to.
async function checkpoints(jobId, signal) {
  try {
    const { data } = await get(`/v1/jobs/${encodeURIComponent(jobId)}/checkpoints`, { signal });
    return data.filter((one) => one.model);
  } catch (fault) {
    if (signal.aborted) throw fault;
    return [];
  }
}
