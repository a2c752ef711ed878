// Picks the view by the address: #job-…, #compare=job-…,job-…, #submit, #submit=job-…,
// #playground, #playground=model,base, or the list.

import { get, key } from "./api.js";
import { compareView } from "./compare.js";
import { el } from "./dom.js";
import { jobView } from "./job.js";
import { jobsView } from "./jobs.js";
import { playgroundView } from "./playground.js";
import { signInView } from "./signin.js";
import { submitView } from "./submit.js";

const main = document.getElementById("main"), nav = document.getElementById("nav");
let leaving = new AbortController();
let said = null; // why the key was refused

const ROUTES = [
  [/^job-/, "Job", (host, found, signal) => jobView(host, found, signal)],
  [/^compare(=|$)/, "Compare", (host, found, signal) => compareView(host, ids(found), signal)],
  [/^submit(=|$)/, "New job", (host, found, signal) => submitView(host, ids(found)[0], signal)],
  [/^playground(=|$)/, "Playground", (host, found, signal) => playgroundView(host, ids(found), signal)],
  [/^/, "Jobs", (host, found, signal) => jobsView(host, signal)],
];
// The Ray dashboard shows every tenant's jobs: it is the operator's.
let known = null;
async function offerRay() {
  if (known === key.get()) return;
  known = key.get();
  const ray = document.getElementById("ray");
  ray.hidden = true;
  const me = await get("/v1/me").catch(() => null);
  ray.hidden = !me?.scopes.includes("admin");
}

// In a tab of its own, by a session that this key begins.
function openRay(event) {
  event.preventDefault();
  const form = el("form", { method: "post", action: "/ray/session", target: "_blank", rel: "noopener", hidden: true },
    el("input", { type: "hidden", name: "api_key", value: key.get() }));
  document.body.append(form);
  form.submit();
  form.remove();
}

const ids = (text) => (text.split("=")[1] ?? "").split(",").filter(Boolean);

async function route() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving, place = decodeURIComponent(location.hash.slice(1)), host = el("div", {});
  nav.hidden = !key.get();
  main.replaceChildren(host);
  if (!key.get()) {
    signInView(host, said, () => { said = null; route(); });
    return;
  }
  offerRay();
  const [, title, view] = ROUTES.find(([pattern]) => pattern.test(place));
  for (const link of nav.querySelectorAll("a")) {
    const here = link.dataset.view === title;
    if (here) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  document.title = `${title} · rlhf-service`;
  const busy = setTimeout(() => host.prepend(el("p", { class: "soft", role: "status", id: "busy" }, "Loading …")), 250);
  try {
    const name = await view(host, place, signal);
    if (name) document.title = `${name} · rlhf-service`;
  } catch (fault) {
    if (signal.aborted) return;
    host.replaceChildren(el("div", { class: "notice alarm", role: "alert" },
      el("p", {}, fault.message),
      el("p", { class: "actions" }, el("button", { type: "button", onclick: route }, "Try again"), el("a", { class: "button", href: "#" }, "All jobs"))));
  } finally {
    clearTimeout(busy);
    document.getElementById("busy")?.remove();
  }
  if (!signal.aborted) host.querySelector("h2")?.focus({ preventScroll: true });
}

addEventListener("hashchange", route);
addEventListener("signed-out", ({ detail }) => {
  if (!key.get()) return;
  key.forget();
  said = detail;
  route();
});
document.getElementById("ray").addEventListener("click", openRay);
document.getElementById("leave").addEventListener("click", () => { key.forget(); said = null; location.hash = ""; route(); });
document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
route();
