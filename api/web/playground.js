// One prompt to two models side by side: a finished one and what it began from, or any others.

import { get } from "./api.js";
import { el, newId } from "./dom.js";
import { choice } from "./tabs.js";
import { modelChoices } from "./models.js";
import { Side } from "./side.js";

export async function playgroundView(host, asked, signal) {
  const choices = await modelChoices(asked, signal);
  host.append(el("h2", { tabindex: -1 }, "Playground"));
  if (!choices.count) {
    host.append(el("div", { class: "empty" }, el("p", {}, "No model yet. A job leaves one when it succeeds; base models are named by the operator."),
      el("a", { class: "button", href: "#submit" }, "New job")));
    return;
  }
  const left = new Side("Model", choices, signal), right = new Side("Compared with", choices, signal, true);
  const sides = [left, right];
  const state = { mode: "chat" };
  const modes = el("div", {}), hint = el("p", { class: "soft small", role: "status" });
  const settings = sampling();
  const id = newId("prompt");
  const prompt = el("textarea", { id, rows: 3, class: "prompt-box", placeholder: "Ask both models something", onkeydown: (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  } });
  const send = el("button", { type: "submit", class: "primary" }, "Send");
  const stop = el("button", { type: "button", hidden: true, onclick: () => sides.forEach((side) => side.stop()) }, "Stop");
  const clear = el("button", { type: "button", class: "quiet", onclick: () => { sides.forEach((side) => side.clear()); prompt.focus(); } }, "Clear");
  const form = el("form", { class: "ask", onsubmit: (event) => { event.preventDefault(); ask(); } },
    el("label", { for: id, class: "hidden-text" }, "Prompt"), prompt,
    el("div", { class: "actions" }, send, stop, clear, el("span", { class: "soft small keys" }, "Enter sends, Shift + Enter is a new line")));

  function speak(mode) {
    state.mode = mode;
    modes.replaceChildren(choice("How the prompt is given", [["chat", "Chat"], ["text", "Continue text"]], mode, speak));
    hint.textContent = mode === "chat" ? "Each model keeps its own conversation, written by its chat template, or a line each."
      : "The prompt as it is; the model goes on from its last character.";
    prompt.placeholder = mode === "chat" ? "Ask something" : "A text to go on from";
    sides.forEach((side) => side.clear());
  }

  async function ask() {
    const text = state.mode === "chat" ? prompt.value.trim() : prompt.value;
    const talking = sides.filter((side) => side.model);
    if (!text || !talking.length || send.disabled) return;
    if (state.mode === "chat") prompt.value = "";
    send.disabled = true;
    stop.hidden = false;
    const options = settings.read();
    await Promise.all(talking.map((side) => side.ask(text, state.mode, options)));
    send.disabled = false;
    stop.hidden = true;
  }

  host.append(
    el("div", { class: "toolbar" }, modes, settings.element), hint,
    el("div", { class: "talks" }, left.element, right.element), form);
  signal.addEventListener("abort", () => sides.forEach((side) => side.stop()));

  // What it began from is the natural other side, until somebody chooses another.
  left.onModel = async (model) => {
    const known = await described(model, signal);
    if (!known || left.model !== model) return;
    if (!right.touched) right.choose(known.base ?? "");
    if (!left.said && known.chat !== null) speak(known.chat ? "chat" : "text");
  };
  speak("chat");
  right.choose(asked[1] ?? "", Boolean(asked[1]));
  left.choose(asked[0] ?? choices.first);
  prompt.focus();
  return "Playground";
}

// The model, or for a stage's or a checkpoint's its job's.
async function described(model, signal) {
  for (const name of [model, model.split("/")[0]]) {
    try {
      return await get(`/v1/models/${encodeURI(name)}`, { signal });
    } catch (fault) {
      if (fault.status !== 404) return null;
    }
  }
  return null;
}

// How answers are drawn; the same for both sides, seed included.
function sampling() {
  const field = (label, props) => {
    const input = el("input", { type: "number", ...props });
    return [input, el("label", { class: "pick" }, el("span", {}, label), input)];
  };
  const [length, lengthField] = field("At most", { min: 1, max: 4096, step: 1, value: 128 });
  const [heat, heatField] = field("Temperature", { min: 0, max: 2, step: 0.1, value: 0.7 });
  const [seed, seedField] = field("Seed", { min: 0, max: 2 ** 31 - 1, step: 1, placeholder: "random" });
  lengthField.append(el("span", { class: "soft" }, "tokens"));
  return {
    element: el("div", { class: "sampling" }, lengthField, heatField, seedField),
    read: () => ({
      max_tokens: Math.max(1, Math.round(length.valueAsNumber || 128)),
      temperature: Number.isFinite(heat.valueAsNumber) ? heat.valueAsNumber : 1,
      // One draw for both, so that what differs is the models.
      seed: Number.isFinite(seed.valueAsNumber) ? seed.valueAsNumber : Math.floor(Math.random() * 2 ** 31),
    }),
  };
}
