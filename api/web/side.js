// One model in the playground: its conversation, and its answer as it comes.

import { ask } from "./api.js";
import { el, newId } from "./dom.js";
import { duration, number } from "./format.js";
import { frames } from "./stream.js";

const BUSY = 1500, TRIES = 40; // milliseconds between two tries while other models answer

export class Side {
  constructor(label, choices, signal, optional = false) {
    Object.assign(this, { signal, turns: [], touched: false, onModel: () => {} });
    const id = newId("model");
    this.select = el("select", { id, onchange: () => { this.touched = true; this.clear(); this.onModel(this.model); } },
      optional && el("option", { value: "" }, "nothing: one model alone"), choices.options());
    this.talk = el("div", { class: "talk", role: "log", "aria-label": label, tabindex: 0 });
    this.empty = el("p", { class: "soft" }, "Nothing said yet.");
    this.element = el("section", { class: "talking", "aria-label": label },
      el("div", { class: "pick" }, el("label", { for: id }, label), this.select), this.talk);
    this.clear();
  }

  get model() { return this.select.value; }
  get said() { return this.turns.length > 0; }

  choose(model, touched = false) {
    if (touched) this.touched = true;
    // A model that is not in the list (an older job's, a checkpoint) is offered by its name.
    if (model && ![...this.select.options].some((option) => option.value === model)) this.select.append(el("option", { value: model }, model));
    this.select.value = model;
    this.clear();
    if (model) this.onModel(model);
  }

  clear() {
    this.stop();
    this.turns = [];
    this.talk.replaceChildren(this.empty);
    this.element.classList.toggle("unused", !this.model);
  }

  stop() { this.leaving?.abort(); }

  async ask(text, mode, options) {
    this.stop();
    const leaving = this.leaving = new AbortController();
    const answer = el("p", { class: "text answer" }), told = el("p", { class: "soft small" }, "Loading the model …");
    this.empty.remove();
    this.talk.append(el("div", { class: "turn" }, el("p", { class: "text user" }, text), el("div", { class: "reply", "aria-busy": "true" }, answer, told)));
    const reply = answer.parentElement;
    reply.scrollIntoView({ block: "nearest" });
    const turns = [...this.turns, { role: "user", content: text }];
    const begun = performance.now();
    let written = "", first = begun;
    const end = {};
    try {
      for await (const piece of this.pieces(turns, text, mode, options, leaving.signal, told)) {
        if (piece.text) {
          if (!written) { told.textContent = ""; first = performance.now(); }
          written += piece.text;
          answer.textContent = written;
          this.talk.scrollTop = this.talk.scrollHeight;
        }
        Object.assign(end, piece.end);
      }
      told.textContent = summary(end, first - begun, performance.now() - first, written);
    } catch (fault) {
      const stopped = leaving.signal.aborted;
      told.textContent = stopped ? "Stopped." : fault.message;
      told.classList.toggle("fault", !stopped);
    }
    reply.removeAttribute("aria-busy");
    // What was left unsaid is no part of the conversation.
    if (mode === "chat" && written) this.turns = [...turns, { role: "assistant", content: written }];
  }

  // { text } as it comes, { end } of what is known when it is over.
  async *pieces(turns, text, mode, options, signal, told) {
    const chat = mode === "chat";
    const path = chat ? "/v1/chat/completions" : "/v1/completions";
    const body = { model: this.model, ...options, stream: true, stream_options: { include_usage: true }, ...(chat ? { messages: turns } : { prompt: text }) };
    const answer = await this.patiently(path, body, signal, told);
    for await (const { data } of frames(answer.body)) {
      if (!data || data === "[DONE]") continue;
      const found = JSON.parse(data);
      if (found.error) throw new Error(found.error.message);
      const part = found.choices?.[0];
      if (found.usage) yield { end: { tokens: found.usage.completion_tokens } };
      if (part?.finish_reason) yield { end: { reason: part.finish_reason } };
      yield { text: chat ? part?.delta?.content : part?.text };
    }
  }

  // Where only one model may be loaded, the second waits for the first.
  async patiently(path, body, signal, told) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await ask(path, { method: "POST", body, signal });
      } catch (fault) {
        if (fault.status !== 429 || tries >= TRIES) throw fault;
        told.textContent = "Waiting for the other model …";
        await new Promise((wake, leave) => {
          const timer = setTimeout(wake, BUSY);
          signal.addEventListener("abort", () => { clearTimeout(timer); leave(signal.reason); }, { once: true });
        });
      }
    }
  }
}

// wait, talk: milliseconds until the first piece, and from it to the end.
function summary({ tokens, reason }, wait, talk, written) {
  const parts = written ? [] : ["It said nothing"];
  if (tokens !== undefined) parts.push(`${tokens} tokens, the first after ${duration(wait / 1000)}`);
  if (tokens > 2 && talk > 0) parts.push(`${number(1000 * (tokens - 1) / talk, 3)} tokens per second`);
  if (reason === "length") parts.push("cut off at the limit");
  return parts.join(" · ");
}
