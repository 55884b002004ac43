/** Makes elements. Whatever is shown comes in as text: nothing here, or anywhere else, makes HTML of it. */

/**
 * An element. `properties` are attributes, but for `on…` (listeners), `class`, `text` and `value`.
 * @param {string} tag
 * @param {Object} [properties]
 * @param {...(Node|string|number|null|undefined|false|Array)} children
 * @returns {HTMLElement}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = value;
    else if (name === "value") element.value = value;
    else if (name === "checked" || name === "disabled" || name === "hidden") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...flat(children));
  return element;
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Puts `children` in the place of what is in `element`. */
export function fill(element, ...children) {
  element.replaceChildren(...flat(children));
  return element;
}

/** Text that somebody else has written, whose direction stays its own. */
export function foreign(text, otherwise = "–") {
  return text === null || text === undefined || text === "" ? h("span", { class: "none" }, otherwise) : h("bdi", {}, text);
}

/** A link within the dashboard. */
export function link(href, ...children) {
  return h("a", { href }, ...children);
}

/** Says something to those who can't see it appear, and shows it for a while. */
export function say(text) {
  const said = document.getElementById("said");
  said.textContent = text;
  said.classList.add("shown");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => said.classList.remove("shown"), 4000);
}

/** What is shown where there is nothing, with what to do about it. */
export function empty(title, ...rest) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), h("p", {}, ...rest));
}

/** What is shown of something that has failed; `again` tries it again. */
export function failed(error, again) {
  const hint = error.kind === "network" ? "The gateway can't be reached. It may have been stopped, or the network is away." : null;
  return h(
    "div",
    { class: "failed", role: "alert" },
    h("p", { class: "empty-title" }, hint ?? sentence(error.message)),
    again && h("button", { type: "button", onclick: again }, "Try again"),
  );
}

export function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

/** Copies a text, and says so. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https browsers have no clipboard to write to.
    const area = h("textarea", { class: "offscreen", value: text });
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(`${what} copied.`);
}
