// Shows a job's report: fetched with the key, which a link cannot carry, and set in place of this page.
// The report has its own styles, which this page's policy allows, and no scripts, which it does not.

import { ask, key } from "./api.js";

const jobId = location.hash.slice(1), said = document.getElementById("said");
try {
  if (!key.get()) throw new Error("Sign in on the page of the service first, and open the report from there.");
  const text = await (await ask(`/v1/jobs/${encodeURIComponent(jobId)}/report.html`)).text();
  const found = new DOMParser().parseFromString(text, "text/html");
  for (const policy of found.querySelectorAll("meta[http-equiv]")) policy.remove(); // this page's is as strict
  document.replaceChild(document.adoptNode(found.documentElement), document.documentElement);
} catch (fault) {
  said.textContent = fault.message;
}
