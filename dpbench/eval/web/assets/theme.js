"use strict";
(() => {
  // Theme: the system's choice until the button is pressed.
  const themeButton = document.getElementById("theme");
  const systemDark = window.matchMedia("(prefers-color-scheme: dark)");
  const setTheme = (dark) => {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    themeButton.setAttribute("aria-pressed", String(dark));
    themeButton.textContent = dark ? "Light" : "Dark";
  };
  let chosen = false;
  setTheme(systemDark.matches);
  systemDark.addEventListener("change", (event) => chosen || setTheme(event.matches));
  themeButton.addEventListener("click", () => {
    chosen = true;
    setTheme(document.documentElement.dataset.theme !== "dark");
  });
})();
