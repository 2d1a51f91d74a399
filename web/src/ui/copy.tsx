import { Check, Copy } from "lucide-react";
import { useState } from "react";
import { cx } from "@/lib/cx";
import { IconButton } from "./button";

/** Puts a text on the clipboard. */
export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const [copied, setCopied] = useState(false);
  return (
    <IconButton
      small
      label={copied ? "Copied" : label}
      onClick={() => {
        void navigator.clipboard.writeText(text).then(() => {
          setCopied(true);
          setTimeout(() => setCopied(false), 2000);
        });
      }}
    >
      {copied ? (
        <Check className="size-3.5 text-good" aria-hidden />
      ) : (
        <Copy className="size-3.5" aria-hidden />
      )}
    </IconButton>
  );
}

/** Something to be copied as it stands: a command, a key. */
export function CopyBlock({ text, label, className }: { text: string; label: string; className?: string }) {
  return (
    <div
      className={cx(
        "flex items-start gap-1 rounded-md border border-line bg-well py-1.5 pr-1.5 pl-3",
        className,
      )}
    >
      <code className="figures min-w-0 flex-1 py-0.5 whitespace-pre-wrap foreign">{text}</code>
      <CopyButton text={text} label={label} />
    </div>
  );
}
