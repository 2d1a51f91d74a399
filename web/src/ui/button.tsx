import { LoaderCircle } from "lucide-react";
import type { ButtonHTMLAttributes, ReactNode, Ref } from "react";
import { cx } from "@/lib/cx";
import { Tip } from "./tip";

export type ButtonKind = "primary" | "plain" | "quiet" | "danger";

interface Props extends ButtonHTMLAttributes<HTMLButtonElement> {
  kind?: ButtonKind;
  small?: boolean;
  icon?: ReactNode;
  busy?: boolean;
  ref?: Ref<HTMLButtonElement>;
}

const kinds: Record<ButtonKind, string> = {
  primary: "bg-sea text-sea-ink border-transparent hover:brightness-110 active:brightness-95 font-semibold",
  plain: "bg-raised text-ink border-line-strong hover:bg-water-2 active:bg-water",
  quiet: "bg-transparent text-ink-2 border-transparent hover:bg-water-2 hover:text-ink active:bg-water",
  danger: "bg-raised text-critical border-critical hover:bg-critical-wash",
};

/** The look of a button, for links that act like one. */
export function buttonLook(kind: ButtonKind = "plain", small = false): string {
  return cx(
    "inline-flex shrink-0 items-center justify-center gap-1.5 rounded-md border whitespace-nowrap select-none",
    "disabled:opacity-55 disabled:pointer-events-none aria-disabled:opacity-55",
    small ? "h-7 px-2 text-sm" : "h-8 px-3",
    kinds[kind],
  );
}

export function Button({ kind = "plain", small, icon, busy, className, children, disabled, ...rest }: Props) {
  return (
    <button
      type="button"
      className={cx(buttonLook(kind, small), className)}
      disabled={disabled || busy}
      aria-busy={busy || undefined}
      {...rest}
    >
      {busy ? <LoaderCircle className="size-4 animate-spin" aria-hidden /> : icon}
      {children}
    </button>
  );
}

interface IconProps extends Omit<Props, "icon" | "children"> {
  label: string;
  keys?: string;
  children: ReactNode;
}

/** A button that shows an icon only; its label is its name and its tip. */
export function IconButton({
  label,
  keys,
  kind = "quiet",
  small,
  className,
  children,
  busy,
  ...rest
}: IconProps) {
  return (
    <Tip text={label} keys={keys}>
      <button
        type="button"
        aria-label={label}
        className={cx(buttonLook(kind, small), small ? "w-7 px-0!" : "w-8 px-0!", className)}
        {...rest}
      >
        {busy ? <LoaderCircle className="size-4 animate-spin" aria-hidden /> : children}
      </button>
    </Tip>
  );
}
