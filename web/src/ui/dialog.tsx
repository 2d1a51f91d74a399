import { X } from "lucide-react";
import { type ReactNode, useEffect, useId, useRef } from "react";
import { cx } from "@/lib/cx";
import { Button } from "./button";

interface Props {
  title: ReactNode;
  onClose: () => void;
  children: ReactNode;
  footer?: ReactNode;
  wide?: boolean;
  /** At the side of the page instead of over its middle. */
  side?: boolean;
}

/**
 * A modal dialog on the platform's own element: it holds the focus, closes with Escape, hides what is
 * under it from assistive technology, and needs no inline style.
 */
export function Dialog({ title, onClose, children, footer, wide, side }: Props) {
  const ref = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  useEffect(() => {
    const dialog = ref.current;
    if (dialog && !dialog.open) dialog.showModal();
    dialog?.querySelector<HTMLElement>("form :is(input, select, textarea)")?.focus();
    const root = document.documentElement;
    root.classList.add("overflow-hidden");
    return () => {
      root.classList.remove("overflow-hidden");
      dialog?.close();
    };
  }, []);
  return (
    <dialog
      ref={ref}
      aria-labelledby={titleId}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onMouseDown={(event) => event.target === ref.current && onClose()}
      className={cx(
        "flex-col border border-line-strong bg-panel p-0 open:flex",
        side
          ? "mt-0 mr-0 mb-0 ml-auto h-dvh max-h-none w-full max-w-xl"
          : "m-auto max-h-[92dvh] w-[calc(100vw-1.5rem)] rounded-lg",
        !side && (wide ? "max-w-3xl" : "max-w-lg"),
      )}
    >
      <header className="flex items-center justify-between gap-3 border-b border-line py-2 pr-2 pl-4">
        <h2 id={titleId} className="min-w-0 text-lg font-semibold foreign">
          {title}
        </h2>
        {/* Without a tip: an open tip would take the Escape that is meant for the dialog. */}
        <Button kind="quiet" aria-label="Close" className="w-8 px-0!" onClick={onClose}>
          <X className="size-4" aria-hidden />
        </Button>
      </header>
      <div className="min-h-0 flex-1 overflow-y-auto p-4">{children}</div>
      {footer && <footer className="flex justify-end gap-2 border-t border-line px-4 py-3">{footer}</footer>}
    </dialog>
  );
}

interface ConfirmProps {
  title: string;
  action: string;
  busy?: boolean;
  error?: string | undefined;
  onConfirm: () => void;
  onClose: () => void;
  children: ReactNode;
}

/** Asks before something that cannot be undone. */
export function Confirm({ title, action, busy, error, onConfirm, onClose, children }: ConfirmProps) {
  return (
    <Dialog
      title={title}
      onClose={onClose}
      footer={
        <>
          <Button onClick={onClose}>Keep it</Button>
          <Button kind="danger" busy={busy} onClick={onConfirm}>
            {action}
          </Button>
        </>
      }
    >
      <div className="flex flex-col gap-3">{children}</div>
      {error && (
        <p role="alert" className="mt-3 text-critical foreign">
          {error}
        </p>
      )}
    </Dialog>
  );
}
