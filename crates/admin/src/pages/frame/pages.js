
"use strict";
// Refreshes a page in place: what has not changed is not touched, so that focus, scroll positions,
// open details and text that is being typed stay. Everything else works without a script.
(() => {
  // In a narrow window, the navigation is one line that scrolls.
  const nav = document.querySelector("header nav"), here = nav && nav.querySelector("[aria-current]");
  if (here && nav.scrollWidth > nav.clientWidth) nav.scrollLeft = here.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2;

  const bar = document.getElementById("refresh");
  const every = document.getElementById("refresh-every");
  const now = document.getElementById("refresh-now");
  const shown = document.getElementById("refresh-shown");
  const told = document.getElementById("refresh-told");
  if (!bar || document.querySelector("[data-once]")) return;
  const KEY = "refresh-every";
  let timer = 0, busy = false, failing = false;

  const stored = () => { try { return localStorage.getItem(KEY); } catch { return null; } };
  const store = (value) => { try { localStorage.setItem(KEY, value); } catch { /* not allowed: for this page only */ } };

  const keyOf = (node) => node.nodeType === 1 ? node.getAttribute("data-key") : null;

  // Makes `old` equal to `fresh`, keeping elements.
  function morph(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== 1) { if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue; return; }
    for (const { name } of [...old.attributes])
      if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes)
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const keyed = new Map();
    for (const child of old.childNodes) { const key = keyOf(child); if (key !== null) keyed.set(key, child); }
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const key = keyOf(child);
      const known = key === null ? undefined : keyed.get(key);
      if (known) {
        keyed.delete(key);
        if (known === at) at = at.nextSibling; else old.insertBefore(known, at);
        morph(known, child);
      } else if (key === null && at && keyOf(at) === null && at.nodeName === child.nodeName) {
        const next = at.nextSibling;
        morph(at, child);
        at = next;
      } else {
        old.insertBefore(document.importNode(child, true), at);
      }
    }
    while (at) { const next = at.nextSibling; at.remove(); at = next; }
    for (const left of keyed.values()) if (left.parentNode === old) left.remove();
  }

  // The element whose place in the window is kept: the focused one, else the first row in sight.
  function anchor() {
    const focused = document.activeElement;
    const inSight = (element) => { const { top, bottom } = element.getBoundingClientRect(); return bottom > 0 && top < innerHeight; };
    if (focused && focused !== document.body && inSight(focused)) return focused;
    if (scrollY === 0) return null;
    return [...document.querySelectorAll("main [data-key]")].find(inSight) || null;
  }

  function apply(text) {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    const main = fresh.getElementById("content");
    if (!main) throw new Error("the answer is another page");
    const focused = document.activeElement;
    const fixed = anchor();
    const top = fixed && fixed.getBoundingClientRect().top;
    morph(document.getElementById("content"), main);
    document.title = fresh.title;
    if (fixed && fixed.isConnected) scrollBy(0, fixed.getBoundingClientRect().top - top);
    // An element that was moved has lost it.
    if (focused && focused.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
  }

  function show(text, isBad) {
    shown.textContent = text;
    shown.className = isBad ? "bad" : "updated";
  }

  async function refresh(asked) {
    if (busy) return;
    busy = true;
    clearTimeout(timer);
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(20000) });
      if (!answer.ok) throw new Error("status " + answer.status);
      apply(await answer.text());
      const time = new Date().toLocaleTimeString();
      show("Updated " + time, false);
      if (asked || failing) told.textContent = "Updated " + time;
      failing = false;
    } catch (error) {
      const problem = "Not refreshed: " + (error.name === "TypeError" ? "no answer" : error.message);
      show(problem, true);
      if (asked || !failing) told.textContent = problem;
      failing = true;
    } finally {
      busy = false;
      plan();
    }
  }

  function plan() {
    clearTimeout(timer);
    const seconds = Number(every.value);
    if (seconds > 0 && !document.hidden) timer = setTimeout(() => refresh(false), seconds * 1000);
  }

  const before = stored();
  if (before !== null && [...every.options].some((option) => option.value === before)) every.value = before;
  every.addEventListener("change", () => { store(every.value); plan(); });
  now.addEventListener("click", () => refresh(true));
  document.addEventListener("visibilitychange", () => { if (document.hidden) clearTimeout(timer); else if (Number(every.value) > 0) refresh(false); });
  // A choice in a form of filters takes effect at once; without a script there is a button.
  for (const select of document.querySelectorAll("select[data-submits]"))
    select.addEventListener("change", () => select.form.requestSubmit());
  bar.hidden = false;
  plan();
})();
