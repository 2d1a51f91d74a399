import { useSyncExternalStore } from "react";

export type Theme = "light" | "dark" | "system";

const KEY = "portreeve-theme";
const listeners = new Set<() => void>();

/** The stored choice; "system" where there is none. */
export function storedTheme(): Theme {
  const value = localStorage.getItem(KEY);
  return value === "light" || value === "dark" ? value : "system";
}

/** Whether a text names a theme. */
export function isTheme(text: string): text is Theme {
  return text === "light" || text === "dark" || text === "system";
}

/** Shows a theme and remembers it on this device. */
export function setTheme(theme: Theme): void {
  if (theme === "system") localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, theme);
  applyTheme();
  for (const listener of listeners) listener();
}

/** Puts the stored choice on the page; called once before the first paint. */
export function applyTheme(): void {
  const theme = storedTheme();
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

export function useTheme(): [Theme, (theme: Theme) => void] {
  const theme = useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, storedTheme);
  return [theme, setTheme];
}
