// Follows a job's log: fetch instead of EventSource, because only fetch can send the key.
// After a break it goes on behind the last event it has seen.

import { headers } from "./api.js";

const FIRST_PAUSE = 500, LONGEST_PAUSE = 10_000; // milliseconds

// onEvent(stored event); onState("live" | "waiting" | "over" | "refused"); onReset() when the log starts again.
export async function follow(jobId, signal, { onEvent, onState, onReset }) {
  let last = 0, pause = FIRST_PAUSE;
  while (!signal.aborted) {
    try {
      const answer = await fetch(`/v1/jobs/${jobId}/stream`, {
        headers: { ...headers(), "last-event-id": String(last) }, signal,
      });
      if (answer.status >= 400 && answer.status < 500) return onState("refused");
      if (!answer.ok) throw new Error(answer.statusText);
      pause = FIRST_PAUSE;
      onState("live");
      for await (const { event, id, data } of frames(answer.body)) {
        if (event === "end") return onState("over");
        if (event === "reset") { last = JSON.parse(data).first - 1; onReset(); }
        if (!id) continue;
        last = Number(id);
        onEvent(JSON.parse(data));
      }
    } catch (fault) {
      if (signal.aborted) return;
      onState("waiting");
      await new Promise((wake) => setTimeout(wake, pause));
      pause = Math.min(pause * 2, LONGEST_PAUSE);
    }
  }
}

// Each server-sent frame of an answer, as { event, id, data }.
export async function* frames(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) yield Object.fromEntries(part.split("\n").map(field));
  }
}

function field(line) {
  const at = line.indexOf(": ");
  return [line.slice(0, at), line.slice(at + 2)];
}
