import type { ReactNode } from "react";
import { cx } from "@/lib/cx";

/*
 * Every mark differs by shape as well as by colour: octagon, triangle, diamond, ring for severities;
 * dotted ring, half disc, tick, cross, bar for states; plus, minus, tilde for changes.
 */

export type Severity = "critical" | "high" | "medium" | "low" | "info";

const severities: Record<Severity, { colour: string; wash: string; shape: ReactNode; name: string }> = {
  critical: {
    name: "Critical",
    colour: "text-critical",
    wash: "bg-critical-wash",
    shape: (
      <>
        <path d="M5.2 1.5h5.6l3.7 3.7v5.6l-3.7 3.7H5.2l-3.7-3.7V5.2z" fill="currentColor" />
        <path d="M8 4.3v4.4M8 10.4v1.4" stroke="var(--panel)" strokeWidth="1.7" fill="none" />
      </>
    ),
  },
  high: {
    name: "High",
    colour: "text-high",
    wash: "bg-high-wash",
    shape: (
      <>
        <path d="M8 1.8 15 14.2H1z" fill="currentColor" />
        <path d="M8 6v3.8M8 11.2v1.4" stroke="var(--panel)" strokeWidth="1.5" fill="none" />
      </>
    ),
  },
  medium: {
    name: "Medium",
    colour: "text-medium",
    wash: "bg-medium-wash",
    shape: <path d="M8 1.5 14.5 8 8 14.5 1.5 8z" fill="currentColor" />,
  },
  low: {
    name: "Low",
    colour: "text-info",
    wash: "bg-info-wash",
    shape: <rect x="3" y="3" width="10" height="10" fill="none" stroke="currentColor" strokeWidth="2" />,
  },
  info: {
    name: "Info",
    colour: "text-info",
    wash: "bg-info-wash",
    shape: <circle cx="8" cy="8" r="5.5" fill="none" stroke="currentColor" strokeWidth="2" />,
  },
};

export function isSeverity(text: string): text is Severity {
  return text in severities;
}

export function severityName(severity: Severity): string {
  return severities[severity].name;
}

/** A severity as shape, colour and, unless told otherwise, word. */
export function SeverityMark({ severity, bare }: { severity: string; bare?: boolean }) {
  const look = severities[isSeverity(severity) ? severity : "info"];
  return (
    <span className={cx("inline-flex items-center gap-1.5 whitespace-nowrap", look.colour)}>
      <Glyph label={bare ? look.name : undefined}>{look.shape}</Glyph>
      {!bare && <span className="font-semibold">{look.name}</span>}
    </span>
  );
}

const states: Record<string, { colour: string; shape: ReactNode; name: string; live?: boolean }> = {
  planned: {
    name: "Planned",
    colour: "text-ink-3",
    shape: (
      <circle
        cx="8"
        cy="8"
        r="5.5"
        fill="none"
        stroke="currentColor"
        strokeWidth="2"
        strokeDasharray="2 2.3"
      />
    ),
  },
  running: {
    name: "Running",
    colour: "text-mark",
    live: true,
    shape: (
      <>
        <circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" strokeWidth="1.5" />
        <path d="M8 2a6 6 0 0 1 0 12z" fill="currentColor" />
      </>
    ),
  },
  completed: {
    name: "Completed",
    colour: "text-good",
    shape: <path d="m2.5 8.5 3.7 3.7L13.5 4.5" fill="none" stroke="currentColor" strokeWidth="2.2" />,
  },
  failed: {
    name: "Failed",
    colour: "text-critical",
    shape: <path d="m3.5 3.5 9 9m0-9-9 9" fill="none" stroke="currentColor" strokeWidth="2.2" />,
  },
  cancelled: {
    name: "Cancelled",
    colour: "text-ink-2",
    shape: (
      <>
        <circle cx="8" cy="8" r="5.5" fill="none" stroke="currentColor" strokeWidth="1.6" />
        <path d="M4.2 11.8 11.8 4.2" stroke="currentColor" strokeWidth="1.6" />
      </>
    ),
  },
  online: {
    name: "Online",
    colour: "text-good",
    shape: <circle cx="8" cy="8" r="5" fill="currentColor" />,
  },
  offline: {
    name: "Offline",
    colour: "text-critical",
    shape: <circle cx="8" cy="8" r="4.5" fill="none" stroke="currentColor" strokeWidth="2" />,
  },
  waiting: {
    name: "Awaiting first check-in",
    colour: "text-ink-3",
    shape: (
      <circle
        cx="8"
        cy="8"
        r="5.5"
        fill="none"
        stroke="currentColor"
        strokeWidth="2"
        strokeDasharray="2 2.3"
      />
    ),
  },
  open: {
    name: "Open",
    colour: "text-ink-2",
    shape: <circle cx="8" cy="8" r="5.2" fill="none" stroke="currentColor" strokeWidth="2" />,
  },
  in_progress: {
    name: "In progress",
    colour: "text-sea",
    shape: (
      <>
        <circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" strokeWidth="1.5" />
        <path d="M8 2a6 6 0 0 1 0 12z" fill="currentColor" />
      </>
    ),
  },
  resolved: {
    name: "Resolved",
    colour: "text-good",
    shape: <path d="m2.5 8.5 3.7 3.7L13.5 4.5" fill="none" stroke="currentColor" strokeWidth="2.2" />,
  },
};

/** The state of a scan, an agent or an alert. */
export function StateMark({ state, label, bare }: { state: string; label?: string; bare?: boolean }) {
  const look = states[state] ?? { name: state, colour: "text-ink-3", shape: states.planned?.shape };
  const name = label ?? look.name;
  return (
    <span className={cx("inline-flex items-center gap-1.5 whitespace-nowrap", look.colour)}>
      <Glyph label={bare ? name : undefined} className={look.live ? "pulse-mark" : undefined}>
        {look.shape}
      </Glyph>
      {!bare && name}
    </span>
  );
}

export type ChangeKind = "added" | "removed" | "changed";

const changes: Record<ChangeKind, { colour: string; path: string; name: string }> = {
  added: { name: "Opened", colour: "text-good", path: "M8 2.5v11M2.5 8h11" },
  removed: { name: "Closed", colour: "text-critical", path: "M2.5 8h11" },
  changed: { name: "Changed", colour: "text-medium", path: "M2 9.8c2-4.2 4-4.2 6-1.8s4 2.4 6-1.8" },
};

export function ChangeMark({
  kind,
  label,
  bare = true,
}: {
  kind: ChangeKind;
  label?: string;
  bare?: boolean;
}) {
  const look = changes[kind];
  return (
    <span className={cx("inline-flex items-center gap-1.5 whitespace-nowrap", look.colour)}>
      <Glyph label={bare ? (label ?? look.name) : undefined}>
        <path d={look.path} fill="none" stroke="currentColor" strokeWidth="2.2" />
      </Glyph>
      {!bare && (label ?? look.name)}
    </span>
  );
}

function Glyph({
  label,
  className,
  children,
}: {
  label: string | undefined;
  className?: string | undefined;
  children: ReactNode;
}) {
  return (
    <svg
      viewBox="0 0 16 16"
      className={cx("size-3.5 shrink-0", className)}
      role={label ? "img" : undefined}
      aria-label={label}
      aria-hidden={label ? undefined : true}
    >
      {children}
    </svg>
  );
}

/** A small word beside a value. */
export function Tag({
  tone = "plain",
  children,
}: {
  tone?: "plain" | "good" | "warn" | "bad" | "mark";
  children: ReactNode;
}) {
  const tones = {
    plain: "bg-well text-ink-2",
    good: "bg-good-wash text-good",
    warn: "bg-medium-wash text-medium",
    bad: "bg-critical-wash text-critical",
    mark: "bg-mark-wash text-mark",
  };
  return (
    <span className={cx("inline-block rounded-sm px-1.5 text-xs whitespace-nowrap", tones[tone])}>
      {children}
    </span>
  );
}
