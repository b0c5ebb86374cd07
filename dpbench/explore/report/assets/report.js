"use strict";
(() => {
  // The page is read anew while the exploration runs, and stays as it was left.
  const state = document.getElementById("state");
  const key = "dpbench-explore-" + location.pathname;
  const remember = (name, value) => {
    try { sessionStorage.setItem(key + name, value); } catch { /* not allowed */ }
  };
  const recall = (name) => {
    try { return sessionStorage.getItem(key + name); } catch { return null; }
  };
  const button = document.getElementById("theme");
  if (recall("theme") && recall("theme") !== document.documentElement.dataset.theme) {
    button.click();
  }
  button.addEventListener("click", () =>
    remember("theme", document.documentElement.dataset.theme));
  const details = [...document.querySelectorAll("details[id]")];
  const open = new Set((recall("open") || "").split(" "));
  for (const one of details) one.open = open.has(one.id);
  addEventListener("pagehide", () =>
    remember("open", details.filter((d) => d.open).map((d) => d.id).join(" ")));
  if (!state || state.dataset.state !== "running") return;
  const written = Date.parse(state.dataset.written);
  const stale = document.getElementById("stale");
  const tell = () => {
    const minutes = (Date.now() - written) / 60000;
    stale.hidden = minutes < 10;
    stale.textContent = `No news for ${Math.floor(minutes)} minutes: a long task, or ` +
      "it was ended. The same command goes on from there.";
  };
  tell();
  setInterval(() => {
    tell();
    // Not while somebody selects text, or looks elsewhere.
    if (document.visibilityState !== "visible" || String(getSelection())) return;
    location.reload();
  }, 1000 * Number(state.dataset.every));
})();
