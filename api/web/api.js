// Requests to the API. The key lives in this tab only.

const KEY = "key";

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

export const headers = () => ({ authorization: `Bearer ${key.get()}` });

// A refusal: its message, its field, and every fault when there are several.
export class Refusal extends Error {
  constructor(status, body) {
    super(body.detail ?? `the server answered ${status}`);
    this.status = status;
    this.faults = body.errors ?? [{ field: body.param ?? null, message: this.message }];
  }
}

export async function ask(path, { method = "GET", body, more = {}, signal } = {}) {
  const options = { method, signal, headers: { ...headers(), ...more } };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (fault) {
    if (fault.name === "AbortError") throw fault;
    throw new Error("The server cannot be reached. Is it running? This page tries again by itself.");
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    if (answer.status === 401) dispatchEvent(new CustomEvent("signed-out", { detail: said.detail }));
    throw new Refusal(answer.status, said);
  }
  return answer;
}

export const get = async (path, options) => (await ask(path, options)).json();
export const post = async (path, body, more) => (await ask(path, { method: "POST", body, more })).json();

// By which a request that is sent again makes no second thing. randomUUID is there on secure pages only.
export const newKey = () => crypto.randomUUID?.() ?? Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("-");
