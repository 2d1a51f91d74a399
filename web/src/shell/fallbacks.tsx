import { type ErrorComponentProps, Link, useRouter } from "@tanstack/react-router";
import { errorText } from "@/api/error";
import { Button, buttonLook } from "@/ui/button";
import { Skeleton } from "@/ui/states";

/** While a page's code or first data come. */
export function Waiting() {
  return <Skeleton rows={6} className="max-w-xl p-4" />;
}

/** A page that could not be shown. */
export function Broken({ error }: ErrorComponentProps) {
  const router = useRouter();
  return (
    <div role="alert" className="sheet mx-auto my-10 flex max-w-lg flex-col items-start gap-3 p-5">
      <h1 className="text-lg font-semibold">This page could not be shown</h1>
      <p className="foreign text-ink-2">{errorText(error)}</p>
      <Button kind="primary" onClick={() => void router.invalidate()}>
        Try again
      </Button>
    </div>
  );
}

/** An address that leads nowhere. */
export function Missing() {
  return (
    <div className="sheet mx-auto my-10 flex max-w-lg flex-col items-start gap-3 p-5">
      <h1 className="text-lg font-semibold">There is no such page</h1>
      <p className="text-ink-2">The link may be old, or mistyped.</p>
      <Link to="/" className={buttonLook("primary")}>
        To the dashboard
      </Link>
    </div>
  );
}
