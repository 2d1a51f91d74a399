import { useEffect, useRef } from "react";

export type Hotkeys = Record<string, (event: KeyboardEvent) => void>;

const SEQUENCE_MS = 900;

/** Name of a pressed key as used in `Hotkeys`: `k`, `?`, `mod+k`, `Escape`. */
export function keyName(event: Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "altKey">): string {
  if (event.altKey) return "";
  return event.ctrlKey || event.metaKey ? `mod+${event.key.toLowerCase()}` : event.key;
}

/** Whether keys belong to what is being typed in, not to the page. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
}

/**
 * Binds keys and two-key sequences (`"g d"`) while the component is mounted. Keys pressed in a form field
 * or under an open dialog are left alone, but for those with `mod`.
 */
export function useHotkeys(keys: Hotkeys, enabled = true): void {
  const current = useRef(keys);
  useEffect(() => {
    current.current = keys;
  });
  useEffect(() => {
    if (!enabled) return;
    let first = "";
    let since = 0;
    const onKey = (event: KeyboardEvent) => {
      const name = keyName(event);
      if (event.defaultPrevented || name === "" || name === "Shift") return;
      const busy = isTyping(event.target) || document.querySelector("dialog[open]") !== null;
      if (busy && !name.startsWith("mod+")) return;
      const sequence = first !== "" && event.timeStamp - since < SEQUENCE_MS ? `${first} ${name}` : name;
      const action = current.current[sequence] ?? current.current[name];
      first = name;
      since = event.timeStamp;
      if (!action) return;
      first = "";
      event.preventDefault();
      action(event);
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [enabled]);
}
