import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";
import { type AlertEvent, applyEvents, type LiveEvent } from "./live";

export type StreamState = "connecting" | "live" | "lost";

const NAMES = ["scan", "port", "alert", "agent", "resync"] as const;
const FLUSH_MS = 120;

let state: StreamState = "connecting";
const listeners = new Set<() => void>();

function setState(next: StreamState): void {
  if (next === state) return;
  state = next;
  for (const listener of listeners) listener();
}

/** Whether live events arrive. */
export function useStreamState(): StreamState {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => state,
  );
}

/** Keeps the event stream open while mounted; events are applied in small groups, so that bursts stay cheap. */
export function useEventStream(onAlert: (alert: AlertEvent) => void): void {
  const queries = useQueryClient();
  useEffect(() => {
    let waiting: LiveEvent[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    let wasLost = false;
    const source = new EventSource("/api/events");
    source.addEventListener("open", () => {
      setState("live");
      // What happened in between was not sent to us.
      if (wasLost) void queries.invalidateQueries();
      wasLost = false;
    });
    source.addEventListener("error", () => {
      wasLost = true;
      setState("lost");
    });
    const flush = () => {
      timer = undefined;
      const events = waiting;
      waiting = [];
      applyEvents(queries, events);
    };
    for (const name of NAMES) {
      source.addEventListener(name, (message: MessageEvent<string>) => {
        const event = { name, data: JSON.parse(message.data || "{}") } as LiveEvent;
        waiting.push(event);
        timer ??= setTimeout(flush, FLUSH_MS);
        if (event.name === "alert") onAlert(event.data);
      });
    }
    return () => {
      clearTimeout(timer);
      source.close();
      setState("connecting");
    };
  }, [queries, onAlert]);
}
