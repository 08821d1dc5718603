// Light, dark, or as the system says; kept for the next visit.
export type Theme = "system" | "light" | "dark";
const order: Theme[] = ["system", "light", "dark"];

export function savedTheme(): Theme {
  const saved = localStorage.getItem("lathe.theme");
  return order.find((theme) => theme === saved) ?? "system";
}

export function applyTheme(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
  localStorage.setItem("lathe.theme", theme);
}

export function nextTheme(theme: Theme): Theme {
  return order[(order.indexOf(theme) + 1) % order.length] ?? "system";
}
