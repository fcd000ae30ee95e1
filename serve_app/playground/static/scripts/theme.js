// Before anything is drawn: the theme that was chosen here, lest the page flash in the other one. A classic script, so
// that the browser waits for it.
try {
  const { theme } = JSON.parse(localStorage.getItem("easel-appearance") ?? "{}");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // then as the system has it
}
