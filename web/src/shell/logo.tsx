/** A gate in a harbour wall, and the light in it. */
export function Logo({ className }: { className?: string }) {
  return (
    <svg viewBox="0 0 32 32" className={className} aria-hidden fill="none" strokeWidth="3">
      <path d="M4 28V15a12 12 0 0 1 24 0v13" className="stroke-sea" />
      <path d="M11 28V16a5 5 0 0 1 10 0v12" className="stroke-sea" />
      <circle cx="16" cy="25" r="3" className="fill-mark" />
    </svg>
  );
}
