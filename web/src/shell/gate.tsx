import type { ReactNode } from "react";
import { Logo } from "./logo";

/** The frame of the pages before sign-in: one narrow column, with a ruler of ports as the only ornament. */
export function Gate({ title, lead, children }: { title: string; lead?: ReactNode; children: ReactNode }) {
  return (
    <main className="grid min-h-dvh place-items-center px-4 py-10">
      <div className="w-full max-w-sm">
        <div className="mb-6 flex items-center gap-3">
          <Logo className="size-9" />
          <span className="text-lg font-bold tracking-[-0.01em]">Portreeve</span>
        </div>
        <div className="sheet p-5">
          <h1 className="text-xl font-semibold tracking-[-0.01em]">{title}</h1>
          {lead && <div className="mt-1 text-ink-2">{lead}</div>}
          <div className="mt-5">{children}</div>
        </div>
      </div>
    </main>
  );
}
