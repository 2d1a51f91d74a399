import {
  createContext,
  type InputHTMLAttributes,
  type ReactNode,
  type Ref,
  type SelectHTMLAttributes,
  type TextareaHTMLAttributes,
  use,
  useId,
  useMemo,
} from "react";
import { cx } from "@/lib/cx";
import { ChevronDown, TriangleAlert } from "lucide-react";

interface FieldIds {
  id: string;
  describedBy: string | undefined;
  invalid: boolean;
  required: boolean;
}

const FieldContext = createContext<FieldIds | null>(null);

interface FieldProps {
  label: ReactNode;
  hint?: ReactNode;
  error?: string | undefined;
  required?: boolean;
  className?: string;
  children: ReactNode;
}

/** A label, a control, what to know about it, and what is wrong with it. */
export function Field({ label, hint, error, required = false, className, children }: FieldProps) {
  const id = useId();
  const describedBy = cx(hint != null && `${id}-hint`, error && `${id}-error`) || undefined;
  const invalid = Boolean(error);
  const ids = useMemo(() => ({ id, describedBy, invalid, required }), [id, describedBy, invalid, required]);
  return (
    <FieldContext value={ids}>
      <div className={cx("flex min-w-0 flex-col gap-1", className)}>
        <label
          htmlFor={id}
          className="text-sm font-semibold text-ink in-[search]:text-xs in-[search]:font-normal in-[search]:text-ink-3"
        >
          {label}
        </label>
        {children}
        {error && (
          <p
            id={`${id}-error`}
            role="alert"
            className="flex items-start gap-1.5 text-sm text-critical foreign"
          >
            <TriangleAlert className="mt-0.5 size-3.5 shrink-0" aria-hidden />
            {error}
          </p>
        )}
        {hint != null && (
          <div id={`${id}-hint`} className="text-sm text-ink-3">
            {hint}
          </div>
        )}
      </div>
    </FieldContext>
  );
}

function useControl(id: string | undefined) {
  const field = use(FieldContext);
  return {
    id: id ?? field?.id,
    "aria-describedby": field?.describedBy,
    "aria-invalid": field?.invalid || undefined,
    required: field?.required || undefined,
  };
}

const control =
  "w-full min-w-0 rounded-md border border-line-strong bg-raised px-2.5 text-ink aria-invalid:border-critical disabled:opacity-60";

interface InputProps extends InputHTMLAttributes<HTMLInputElement> {
  figures?: boolean;
  ref?: Ref<HTMLInputElement>;
}

export function Input({ figures, className, id, ...rest }: InputProps) {
  return (
    <input {...useControl(id)} className={cx(control, "h-8", figures && "figures", className)} {...rest} />
  );
}

interface SelectProps extends SelectHTMLAttributes<HTMLSelectElement> {
  options: readonly { value: string; label: string }[];
}

export function Select({ options, className, id, ...rest }: SelectProps) {
  return (
    <span className={cx("relative block", className)}>
      <select {...useControl(id)} className={cx(control, "h-8 appearance-none truncate pr-8")} {...rest}>
        {options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.label}
          </option>
        ))}
      </select>
      <ChevronDown className="pointer-events-none absolute top-2 right-2.5 size-4 text-ink-3" aria-hidden />
    </span>
  );
}

interface AreaProps extends TextareaHTMLAttributes<HTMLTextAreaElement> {
  figures?: boolean;
}

export function Textarea({ figures, className, id, ...rest }: AreaProps) {
  return (
    <textarea
      {...useControl(id)}
      rows={3}
      className={cx(control, "py-1.5", figures && "figures", className)}
      {...rest}
    />
  );
}

interface CheckProps extends Omit<InputHTMLAttributes<HTMLInputElement>, "type"> {
  label: ReactNode;
  hint?: ReactNode;
}

export function Check({ label, hint, className, ...rest }: CheckProps) {
  const id = useId();
  return (
    <div className={cx("flex items-start gap-2", className)}>
      <input
        id={id}
        type="checkbox"
        className="mt-0.5 size-4 shrink-0"
        aria-describedby={hint == null ? undefined : `${id}-hint`}
        {...rest}
      />
      <div className="min-w-0">
        <label htmlFor={id}>{label}</label>
        {hint != null && (
          <div id={`${id}-hint`} className="text-sm text-ink-3">
            {hint}
          </div>
        )}
      </div>
    </div>
  );
}

interface ChoiceProps<T extends string> {
  label: string;
  value: T;
  options: readonly { value: T; label: ReactNode }[];
  onChange: (value: T) => void;
  className?: string;
}

/** A few exclusive choices side by side. */
export function Choice<T extends string>({ label, value, options, onChange, className }: ChoiceProps<T>) {
  const name = useId();
  return (
    <fieldset className={cx("inline-flex max-w-full min-w-0", className)}>
      <legend className="sr-only">{label}</legend>
      <div className="inline-flex overflow-x-auto rounded-md border border-line-strong bg-raised p-px">
        {options.map((option) => (
          <label
            key={option.value}
            className={cx(
              "flex h-7 cursor-pointer items-center gap-1.5 rounded-sm px-2.5 text-sm whitespace-nowrap has-focus-visible:outline-2 has-focus-visible:-outline-offset-2 has-focus-visible:outline-mark",
              option.value === value ? "bg-water font-semibold text-ink" : "text-ink-2 hover:bg-water-2",
            )}
          >
            <input
              type="radio"
              name={name}
              value={option.value}
              checked={option.value === value}
              onChange={() => onChange(option.value)}
              className="sr-only"
            />
            {option.label}
          </label>
        ))}
      </div>
    </fieldset>
  );
}
