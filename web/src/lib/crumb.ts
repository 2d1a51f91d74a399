import { useSyncExternalStore } from "react";

let crumb = "";
const listeners = new Set<() => void>();

/** Says what the page on screen is called. */
export function setCrumb(title: string): void {
  crumb = title;
  for (const listener of listeners) listener();
}

/** What the page on screen is called. */
export function useCrumb(): string {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => crumb,
  );
}
