import { Children, type ReactNode, useEffect, useState } from "react";
import { setCrumb } from "@/lib/crumb";
import { cx } from "@/lib/cx";
import { Button } from "./button";

interface PageProps {
  title: string;
  /** Shown instead of the title's text. */
  heading?: ReactNode;
  lead?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
}

/** A page: its heading with what can be done, and what is on it. */
export function Page({ title, heading, lead, actions, children }: PageProps) {
  useEffect(() => {
    document.title = `${title} · Portreeve`;
    setCrumb(title);
  }, [title]);
  return (
    <div className="flex min-w-0 flex-col gap-4">
      <header className="flex flex-wrap items-start justify-between gap-x-4 gap-y-2">
        <div className="min-w-0">
          <h1 className="text-xl font-semibold tracking-[-0.01em] foreign">{heading ?? title}</h1>
          {lead && <div className="mt-0.5 max-w-prose text-ink-2">{lead}</div>}
        </div>
        {actions && <div className="flex flex-wrap items-center gap-2">{actions}</div>}
      </header>
      {children}
    </div>
  );
}

interface SectionProps {
  title: ReactNode;
  note?: ReactNode;
  actions?: ReactNode;
  className?: string;
  bare?: boolean;
  children: ReactNode;
}

/** A sheet with a heading. */
export function Section({ title, note, actions, className, bare, children }: SectionProps) {
  return (
    <section className={cx("sheet min-w-0", className)}>
      <header className="flex min-h-11 flex-wrap items-center justify-between gap-x-3 gap-y-1 border-b border-line px-4 py-1.5">
        <div className="flex min-w-0 flex-wrap items-baseline gap-x-2.5">
          <h2 className="font-semibold">{title}</h2>
          {note && <span className="text-sm text-ink-3">{note}</span>}
        </div>
        {actions && <div className="flex flex-wrap items-center gap-1.5">{actions}</div>}
      </header>
      <div className={bare ? undefined : "px-4 py-3"}>{children}</div>
    </section>
  );
}

/** Facts as pairs of name and value. */
export function Facts({
  items,
  className,
}: {
  items: readonly [ReactNode, ReactNode][];
  className?: string;
}) {
  return (
    <dl className={cx("grid grid-cols-[repeat(auto-fill,minmax(10.5rem,1fr))] gap-x-5 gap-y-3", className)}>
      {items.map(([name, value], index) => (
        <div key={index} className="min-w-0">
          <dt className="label">{name}</dt>
          <dd className="foreign">{value ?? <span className="text-ink-3">–</span>}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Filters above a list, in one row that wraps; on a small screen the first, and the rest on demand. */
export function FilterBar({ label, children }: { label: string; children: ReactNode }) {
  const [first, ...rest] = Children.toArray(children);
  const [open, setOpen] = useState(false);
  return (
    <search aria-label={label} className="flex flex-wrap items-end gap-x-3 gap-y-2">
      {first}
      {rest.length > 0 && (
        <Button small className="sm:hidden" aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? "Fewer filters" : "More filters"}
        </Button>
      )}
      <div className={cx("flex flex-wrap items-end gap-x-3 gap-y-2", !open && "max-sm:hidden")}>{rest}</div>
    </search>
  );
}
