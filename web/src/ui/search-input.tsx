import { X } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { Input } from "./field";

const WAIT_MS = 250;

interface Props {
  value: string;
  onChange: (value: string) => void;
  placeholder?: string;
  id?: string;
}

/** A text filter that takes effect shortly after typing stops; `/` goes into the first on a page. */
export function SearchInput({ value, onChange, placeholder, id }: Props) {
  const [text, setText] = useState(value);
  const [synced, setSynced] = useState(value);
  const change = useRef(onChange);
  useEffect(() => {
    change.current = onChange;
  });
  if (synced !== value) {
    setSynced(value);
    setText(value);
  }
  useEffect(() => {
    if (text === value) return;
    const timer = setTimeout(() => change.current(text.trim()), WAIT_MS);
    return () => clearTimeout(timer);
  }, [text, value]);
  return (
    <span className="relative block">
      <Input
        {...(id ? { id } : {})}
        figures
        data-search
        value={text}
        placeholder={placeholder}
        spellCheck={false}
        autoComplete="off"
        className="pr-8"
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter") change.current(text.trim());
          if (event.key === "Escape") event.currentTarget.blur();
        }}
      />
      {text !== "" && (
        <button
          type="button"
          aria-label="Clear"
          className="absolute top-1 right-1 grid size-6 place-items-center rounded-sm text-ink-3 hover:text-ink"
          onClick={() => {
            setText("");
            change.current("");
          }}
        >
          <X className="size-3.5" aria-hidden />
        </button>
      )}
    </span>
  );
}
