// Follows a job's log: fetch instead of EventSource, because only fetch can send the key.

export async function follow(jobId, headers, signal, onEvent) {
  let last = 0, pause = 500;
  for (;;) {
    try {
      const answer = await fetch(`/v1/jobs/${jobId}/stream`, {
        headers: { ...headers, "last-event-id": String(last) }, signal,
      });
      if (answer.status >= 400 && answer.status < 500) return;
      if (!answer.ok) throw new Error(answer.statusText);
      pause = 500;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const frames = (rest + value).split("\n\n");
        rest = frames.pop();
        for (const frame of frames) {
          const field = Object.fromEntries(frame.split("\n").map((line) => split(line)));
          if (field.event === "end") return;
          if (field.event === "reset") last = 0;
          if (!field.id) continue;
          last = Number(field.id);
          onEvent(JSON.parse(field.data));
        }
      }
    } catch (fault) {
      if (signal.aborted) return;
      await new Promise((wake) => setTimeout(wake, pause));
      pause = Math.min(pause * 2, 10000);
    }
  }
}

function split(line) {
  const at = line.indexOf(": ");
  return [line.slice(0, at), line.slice(at + 2)];
}
