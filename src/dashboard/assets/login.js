/** Asks for the key of the administrators. */

import { ask } from "./api.js";
import { fill, h, sentence } from "./dom.js";

const INTROS = {
  out: "Log in with the key of the administrators: admin.key of the configuration, or what the gateway printed when it started.",
  ended: "The session has ended. Log in again to go on where you were.",
};

/** @param {string} state `out`, `ended`, or `no_key` */
export function login(main, state, done) {
  if (state === "no_key") {
    fill(main, card("The dashboard is closed", h("p", {}, "This gateway has no key for administrators, so nobody can log in. Set one and reload this page:"), h("pre", {}, 'admin: { key: "${BARTIZAN_ADMIN_KEY}" }')));
    return;
  }
  const key = h("input", { type: "password", id: "key", name: "key", autocomplete: "current-password", required: true, "aria-describedby": "wrong" });
  const wrong = h("p", { class: "wrong", id: "wrong", role: "alert" });
  const button = h("button", { class: "primary" }, "Log in");
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      await ask("/logs/api/session", { method: "POST", body: { key: key.value }, quiet: true });
      done();
    } catch (error) {
      wrong.textContent = sentence(error.message);
      key.select();
    } finally {
      button.disabled = false;
    }
  };
  const form = h("form", { onsubmit: submit }, h("label", { for: "key" }, "Key"), key, wrong, button);
  fill(main, card("bartizan", h("p", {}, INTROS[state]), form));
  key.focus();
}

function card(title, ...children) {
  return h("div", { class: "login" }, h("h1", {}, title), ...children);
}
