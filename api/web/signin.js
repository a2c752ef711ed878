// Asks for the API key.

import { get, key } from "./api.js";
import { el, newId } from "./dom.js";

export function signInView(host, said, onSignedIn) {
  const id = newId("key"), fault = el("p", { class: "fault", role: "alert" }, said ?? "");
  const input = el("input", { id, type: "password", autocomplete: "off", required: true, placeholder: "rlhf_…" });
  host.append(el("form", { class: "sign-in", onsubmit: async (event) => {
    event.preventDefault();
    fault.textContent = "";
    key.set(input.value.trim());
    try {
      await get("/v1/jobs?limit=1");
      onSignedIn();
    } catch (trouble) {
      fault.textContent = trouble.status === 401 ? `This key opens nothing: ${trouble.message}.` : trouble.message;
      key.forget();
      input.focus();
    }
  } },
    el("h2", { tabindex: -1 }, "Sign in"),
    el("p", { class: "soft" }, "The service printed a key when it first started. It stays in this tab and is gone when you close it."),
    el("label", { for: id }, "API key"), input,
    el("button", { class: "primary" }, "Open"), fault));
  input.focus();
}
